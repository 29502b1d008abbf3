"""Where messages live, and how they are handled."""

broker_url = "amqp://myuser:mypassword@localhost:5672//"

task_serializer = "json"
accept_content = ["json"]
timezone = "UTC"
enable_utc = True

# TODO exercise 09: worker_prefetch_multiplier, how many messages a worker takes ahead for each process (4 by default)
