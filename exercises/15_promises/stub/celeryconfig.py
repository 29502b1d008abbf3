"""Where messages and results live, and how they are handled."""

broker_url = "amqp://myuser:mypassword@localhost:5672//"
result_backend = "redis://localhost:6379/0"

task_serializer = "json"
accept_content = ["json"]
timezone = "UTC"
enable_utc = True

# A process holds the message that it works on, and few more: the others wait where you can see them, in the queue.
worker_prefetch_multiplier = 1

# A message leaves the queue when its prediction is done, not when it begins: a worker that dies loses nothing.
task_acks_late = True
# A pool process that is killed gives its message back too.
task_reject_on_worker_lost = True

# TODO exercise 15: broker_transport_options, a dictionary with confirm_publish and read_timeout (in seconds)
