"""What a web page should say: `python page.py send TEXT` sends a prediction, `python page.py TASK_ID` asks for it."""

import sys

from my_ml_app import app, predict

# Nobody waits for a page: it asks once, and a store that says nothing for 3 seconds is away.
app.conf.update(
    redis_socket_timeout=3,
    result_backend_always_retry=False,
    result_backend_transport_options={"retry_policy": {"max_retries": 1}},
)


def send(text):
    """Send a prediction, and return its id."""
    # TODO exercise 17: leave a mark under the id, so that say() can tell that it was sent
    return predict.delay({"message": text}).id


def say(task_id):
    """A sentence for whoever comes back with this id. It begins with unknown, waiting, running, done or failed."""
    result = app.AsyncResult(task_id)
    # TODO exercise 17: a sentence for each result.state
    if result.state == "PENDING":
        return "waiting: your prediction has not begun. Come back later."
    return f"done: {result.get()}"


# TODO exercise 17: if a server is away, say "not now: ..."
match sys.argv[1:]:
    case ["send", text]:
        print(f"Sent as task {send(text)}")
    case [task_id]:
        print(say(task_id))
    case _:
        print(__doc__)
