"""Does a message, sent through the student's app, reach a worker, and is it done there?"""

import json
from contextlib import suppress

from lab.desk import NoWorker, OtherApp, OtherQueue
from lab.fault import Wrong
from lab.observe import ManagementAway, waiting
from lab.student import TASK, in_printed_line

SLOW = 2  # seconds after which a prediction that runs is left to run
ARRIVAL = 3  # seconds in which a message reaches a worker that is not busy


class Stranded(Wrong):
    """{waiting} in the queue {queue!r}, from which no worker takes: {worker} takes from {queues}."""

    next = """Send with `predict.delay(payload)`, which needs no name of a queue. What waits there, a second worker
        takes: `celery -A my_ml_app worker -n w2@%h -Q {queue}`"""


class Refused(Wrong):
    """Your message left the queue {queue!r}, and {worker} has not begun it: whoever took it threw it away."""

    next = """See what terminal 2 printed last. `Refusing to deserialize` means that it is not JSON: leave the
        format to celeryconfig.py, with `@app.task` alone in my_ml_app.py, and start the worker again"""


class Busy(Wrong):
    """{worker} is busy: your message waits behind others, {waiting} in the queue {queue!r}."""

    passes = True
    next = "Wait until terminal 2 has got through them, and check again: `python -m lab check 5`"


class Failing(Wrong):
    """{worker} took your message, and predict failed: {error}."""

    next = "Correct that line, start the worker in terminal 2 again, and check again"


RECOGNISES = (NoWorker, OtherApp, OtherQueue, Stranded, Refused, Busy, Failing)


def check(desk):
    yield from desk.ready()
    yield desk.worker_fact()
    taken = {queue for worker in desk.online for queue in worker.queues}
    if stranded := queues_with_predictions(desk, taken):
        waits, queues = desk.messages_wait(stranded[0]), ", ".join(map(repr, desk.worker.queues))
        raise Stranded(waiting=waits, queue=stranded[0], worker=desk.worker.name, queues=queues)
    with desk.predictions() as [one]:
        yield f"sent: a message to the queue {desk.queue!r}"
        received = desk.wait(lambda: one.event("task-received"), "a worker to take the message", ARRIVAL)
        if not received:
            is_waiting = waiting(desk.app, desk.queue)
            raise (Busy if is_waiting else Refused)(
                worker=desk.worker.name, queue=desk.queue, waiting=desk.messages_wait()
            )
        worker, seconds = received["hostname"], one.after("task-received")
        yield f"received: by {worker}, process {received['pid']}, after {seconds:.1f} s"
        desk.wait(lambda: one.is_over, "the prediction to end", SLOW)
        if failed := one.event("task-failed"):
            raise Failing(worker=worker, error=in_printed_line(failed["traceback"] or failed["exception"]))
        if done := one.event("task-succeeded"):
            yield f"done: after {one.after('task-succeeded'):.1f} s, predict returned {done['result']}"
        else:
            yield f"not done within {SLOW} s: a slow prediction, which this check does not wait for"
    yield f"queue {desk.queue!r}: {desk.messages_wait()}"


def is_abandoned(queue):
    """Whether a queue on the dashboard has no consumer, and messages of which one can be looked at and put back."""
    return not queue.get("consumers") and not queue["exclusive"] and queue.get("type") != "stream"


def queues_with_predictions(desk, taken):
    """Names of the queues not in taken whose first message is for predict."""
    found = []
    with desk.app.connection_for_read() as connection:
        channel = connection.default_channel
        if desk.broker.is_redis:
            for key in channel.client.scan_iter(_type="list"):
                with suppress(ValueError, AttributeError):  # not every list is a queue
                    headers = json.loads(channel.client.lindex(key, 0)).get("headers", {})
                    if key.decode() not in taken and headers.get("task") == TASK:
                        found.append(key.decode())
        elif desk.broker.is_rabbitmq:
            queues = []
            with suppress(ManagementAway):
                queues = desk.on_dashboard(desk.broker, "queues", desk.broker.virtual_host)
            for name in [queue["name"] for queue in queues if is_abandoned(queue)]:
                if name not in taken and (message := channel.basic_get(name)):
                    channel.basic_reject(message.delivery_tag, requeue=True)
                    if (message.headers or {}).get("task") == TASK:
                        found.append(name)
    return found
