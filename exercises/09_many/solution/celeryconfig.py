"""Where messages live, and how they are handled."""

broker_url = "amqp://myuser:mypassword@localhost:5672//"

task_serializer = "json"
accept_content = ["json"]
timezone = "UTC"
enable_utc = True

# A worker takes one message ahead for each process, and no more: the others wait where you can see them, in the queue.
worker_prefetch_multiplier = 1
