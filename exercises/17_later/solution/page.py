"""What a web page should say: `python page.py send TEXT` sends a prediction, `python page.py TASK_ID` asks for it."""

import sys

from celery import uuid
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from my_ml_app import app, predict

# Nobody waits for a page: it asks once, and a store that says nothing for 3 seconds is away.
app.conf.update(
    redis_socket_timeout=3,
    result_backend_always_retry=False,
    result_backend_transport_options={"retry_policy": {"max_retries": 1}},
)


def send(text):
    """Send a prediction, and return its id."""
    task_id = uuid()
    # First the mark, then the message: a worker may have stored the result before the next line runs.
    app.backend.store_result(task_id, None, "SENT")
    predict.apply_async([{"message": text}], task_id=task_id)
    return task_id


def say(task_id):
    """A sentence for whoever comes back with this id. It begins with unknown, waiting, running, done or failed."""
    result = app.AsyncResult(task_id)
    match result.state:
        case "PENDING":
            return "unknown: it was never sent, or its result is not kept any more."
        case "SENT" | "RETRY":
            return "waiting: your prediction has not begun. Come back later."
        case "STARTED":
            return "running: a worker makes your prediction now."
        case "SUCCESS":
            return f"done: {result.result}"
        case _:
            return f"failed: {result.result}"


try:
    match sys.argv[1:]:
        case ["send", text]:
            print(f"Sent as task {send(text)}")
        case [task_id]:
            print(say(task_id))
        case _:
            print(__doc__)
except (OperationalError, RedisError):
    print("not now: a server does not answer. Try again in a minute.")
