"""Does a message that the student types reach a worker, and does the worker make its prediction?"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from lab.course.kit import (
    TASK,
    Desk,
    EndsItsProcess,
    ManagementAway,
    NotReady,
    NoWorker,
    OtherApp,
    OtherQueue,
    PredictFails,
    Silent,
    Suspended,
    Unreadable,
    Wrong,
    ask_workers,
    broker_of,
    first_message,
    in_printed_line,
    printable,
    waiting,
)

TYPING = float(os.environ.get("LAB_TYPING", "60"))  # seconds that a student has to type; tests and grades have fewer
DEADLINE = TYPING + 20
ROUND = 2  # seconds of these after which everything is looked at again
SLOW = 2  # seconds after which a prediction that runs is left to run
ARRIVAL = 3  # seconds in which a message reaches a worker that is not busy
PRODUCER = "use_ml_app.py"


class Stranded(Wrong):
    """{waiting} in the queue {queue!r}, but no worker takes from it: {worker} takes from {queues}."""

    next = """Where do use_ml_app.py and celeryconfig.py name a queue? `predict.delay(payload)` needs no name. A second
        worker can take what waits there: `celery -A my_ml_app worker -n w2@%h -Q {queue}`"""


class Refused(Wrong):
    """The check's message left the queue {queue!r}, but {worker} has not begun it: the program that took it threw it
    away."""

    next = """Look at the last lines in terminal 2. `Refusing to deserialize` means that it is not JSON: set the format
        in celeryconfig.py, and write `@app.task` alone in my_ml_app.py. Then start the worker again"""


class Busy(Wrong):
    """{worker} is busy: the check's message waits behind others, {waiting} in the queue {queue!r}."""

    temporary = True
    next = "Wait until terminal 2 has finished them, and check again: `lab check 5`"


class NoneOfYours(Wrong):
    """A message can get from your app to {worker}, but none of yours came within {seconds} seconds: {clue}."""

    temporary = True
    next = """Check again, and while it waits, type a line in terminal 3: `python use_ml_app.py`, in this folder. Does
        terminal 3 itself print `Received:`? Then it calls predict there, and sends nothing"""


RECOGNISES = (
    NoWorker,
    Suspended,
    Silent,
    NotReady,
    Unreadable,
    OtherApp,
    OtherQueue,
    Stranded,
    Refused,
    Busy,
    PredictFails,
    EndsItsProcess,
    NoneOfYours,
)


def check(desk: Desk) -> Iterator[str]:
    yield from desk.ready()
    yield desk.worker_fact()
    look_for_stranded(desk)
    if wrong := desk.others():
        raise wrong
    with desk.predictions() as [probe]:
        if not desk.wait(lambda: own(desk) or probe.event("task-received"), "a worker to take a message", ARRIVAL):
            raise not_taken(desk)
        if not own(desk):
            desk.wait(lambda: own(desk) or probe.has_ended, "the prediction to end", SLOW)
            look_for_error(probe)
            worker, seconds = probe.event("task-received")["hostname"], probe.after("task-received")
            yield f"path: a message of the check reached {worker} after {seconds:.1f} s"
        mine = own(desk) or typed(desk)
        yield f"yours: {mine.text}, taken from the queue by {mine.event('task-received')['hostname']}"
        desk.wait(lambda: mine.has_ended, "your prediction to end", SLOW)
        yield end_of(desk, mine)
    yield f"queue {desk.queue!r}: {desk.messages_wait()}"


def own(desk):
    """The first message that the student has typed since the check began, or None."""
    return next(iter(desk.own_predictions), None)


def typed(desk):
    """The first message that the student types now. Raises why none comes."""
    until = time.monotonic() + TYPING
    while time.monotonic() < until:
        if mine := desk.wait(lambda: own(desk), "a message from you: type one in terminal 3", ROUND):
            return mine
        look_for_stranded(desk)
        if suspended := desk.suspended():
            raise suspended
        desk.hear_workers()  # one may have been started again meanwhile
    if not desk.workers():
        raise desk.silence()
    raise NoneOfYours(worker=desk.worker.name, seconds=round(TYPING), clue=clue(desk))


def not_taken(desk):
    """Why no worker has begun the message of the check: a Wrong."""
    if not desk.workers():
        return desk.silence()
    if wrong := desk.suspended() or desk.unreadable():
        return wrong
    kind = Busy if waiting(desk.app, desk.queue) else Refused
    return kind(worker=desk.worker.name, queue=desk.queue, waiting=desk.messages_wait())


def look_for_error(one):
    if failed := one.event("task-failed"):
        error = in_printed_line(failed["traceback"] or "") or failed["exception"]
        if "WorkerLostError" in error:
            raise EndsItsProcess()
        raise PredictFails(error=error)


def end_of(desk, mine):
    """How a prediction ended, or where it is, as a fact. Raises PredictFails and EndsItsProcess."""
    if not mine.has_ended and (eta := mine.event("task-received").get("eta")):
        return (
            f"not done yet: your producer asked for it at {eta} (`countdown` or `eta`). The worker keeps it until then"
        )
    pid = None if mine.has_ended else place_of(desk, mine)
    if pid is None:  # it has ended, perhaps while that was asked
        desk.wait(lambda: mine.has_ended, "news of your prediction", ARRIVAL)
    look_for_error(mine)
    if done := mine.event("task-succeeded"):
        return f"done: by a process of its pool, which terminal 2 names; predict returned {printable(done['result'])}"
    if pid is None:
        raise EndsItsProcess() if desk.workers() else desk.silence()
    where = f"runs in the pool process {pid}" if pid else "waits for a pool process"
    return f"not done within {SLOW} s: it {where}. This check does not wait for it"


def place_of(desk, mine):
    """The pool process that has a prediction, 0 when it waits in a worker for one; None when no worker has it."""
    for what in ("active", "reserved"):
        for tasks in ask_workers(desk.app, what).values():
            for task in tasks:
                if task["id"] == mine.id:
                    return task["worker_pid"] or 0
    return None


def clue(desk):
    """What can be seen of the student's producer."""
    elsewhere = None
    for process in psutil.process_iter(["cmdline"]):
        if any(Path(part).name == PRODUCER for part in process.info["cmdline"] or ()):
            with suppress(psutil.Error):
                if Path(process.cwd()) != desk.folder:
                    elsewhere = process.cwd()
                elif not broker_of(process).is_same_as(desk.broker):
                    return f"{PRODUCER} sends to {broker_of(process)}, but the worker takes from {desk.broker}"
                else:
                    return f"{PRODUCER} runs in your folder, but the worker got nothing from it"
    if elsewhere:
        return f"{PRODUCER} runs in the folder {elsewhere}, not in yours"
    return f"no {PRODUCER} seems to run"


def look_for_stranded(desk):
    """Raise Stranded when messages for predict wait in a queue from which no worker takes."""
    taken = {queue for worker in desk.online for queue in worker.queues}
    for queue in set(idle_queues(desk)) - taken:
        message = first_message(desk.app, queue)
        if message and (message.headers or {}).get("task") == TASK:
            queues = ", ".join(map(repr, desk.worker.queues))
            raise Stranded(waiting=desk.messages_wait(queue), queue=queue, worker=desk.worker.name, queues=queues)


def idle_queues(desk):
    """Names of the queues from which nobody takes, as far as the broker tells."""
    if desk.broker.is_redis:
        with desk.app.connection_for_read() as connection:
            keys = connection.default_channel.client.scan_iter(_type="list")
            return [key.decode(errors="replace") for key in keys]
    with suppress(ManagementAway):
        queues = desk.on_dashboard(desk.broker, "queues", desk.broker.virtual_host)
        return [queue["name"] for queue in queues if is_abandoned(queue)]
    return []


def is_abandoned(queue):
    """Whether a queue on the dashboard has no consumer, and messages of which one can be looked at and put back."""
    return not queue.get("consumers") and not queue["exclusive"] and queue.get("type") != "stream"
