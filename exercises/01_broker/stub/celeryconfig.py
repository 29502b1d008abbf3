"""Where messages live, and how they are handled."""

# TODO exercise 01: broker_url, the address of RabbitMQ: amqp://user:password@machine:port/virtual_host

task_serializer = "json"
accept_content = ["json"]
timezone = "UTC"
enable_utc = True
