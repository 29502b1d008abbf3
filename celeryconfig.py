"""Where messages and results live, and how they are handled."""

# CELERY_BROKER_URL and CELERY_RESULT_BACKEND in the environment override these two.
broker_url = "amqp://myuser:mypassword@localhost:5672//"
result_backend = "redis://localhost:6379/0"

# JSON only: whoever can send a message must not be able to run code.
task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]

# One clock for every machine.
timezone = "UTC"
enable_utc = True

# A result is kept for an hour (in seconds), then Redis forgets it.
result_expires = 3600

# A message leaves the queue when its prediction is done, not when it begins: a worker that dies loses nothing.
task_acks_late = True
# It comes again, then. If its result is stored already, because only the acknowledgement was lost, it is not run again.
worker_deduplicate_successful_tasks = True
# A pool process that is killed gives its message back too.
task_reject_on_worker_lost = True
worker_lost_wait = 1  # seconds that its last word may take
# guard.py, beside this file: what cannot be a task, or has ended its process 3 times, goes to the queue dead.
imports = ["guard"]
worker_consumer = "guard:Consumer"
# A prediction may take 2 minutes: then SoftTimeLimitExceeded is raised in it, and half a minute later its process ends.
task_soft_time_limit = 120
task_time_limit = 150

# A process holds the message that it works on, and no more: the others wait where you can see them, in the queue.
worker_prefetch_multiplier = 1

# A worker that starts before its broker waits for it.
broker_connection_retry_on_startup = True
broker_transport_options = {
    # RabbitMQ: delay() returns when the broker has confirmed the message; 5 seconds of silence are an error.
    "confirm_publish": True,
    "read_timeout": 5,
    # Redis as broker: the same. What a dead worker held comes back after 5 minutes: no prediction takes longer.
    "socket_timeout": 5,
    "visibility_timeout": 300,
}
# After an error, delay() tries once more. More often could mean more copies, where only the confirmation was lost.
task_publish_retry_policy = {"max_retries": 1}
# A worker keeps its result until Redis is there to take it; a producer asks three times, and says so.
result_backend_always_retry = True
result_backend_transport_options = {"retry_policy": {"max_retries": 3}}
