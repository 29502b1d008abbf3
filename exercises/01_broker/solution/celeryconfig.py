"""Where messages live, and how they are handled."""

broker_url = "amqp://myuser:mypassword@localhost:5672//"

task_serializer = "json"
accept_content = ["json"]
timezone = "UTC"
enable_utc = True
