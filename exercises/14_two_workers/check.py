"""Has the student seen a worker end warm, one cold, and one killed, and what became of what they ran?"""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lab.course.kit import Desk, SameName, Wrong

RUNS = Path(".lab/runs")
RECORDS = "*[0-9].jsonl"  # what `burst` and `view` write down there; a trial's record ends in _trial.jsonl
OVER = {"succeeded", "failed", "retried", "rejected", "revoked"}
SAME = 1  # seconds: an event, and what its worker says, differ by less about when a prediction began
FRESH = 5  # seconds since a record was written, while it still is: several facts come each second
PATIENCE = 40  # seconds for the last predictions, of 30, to finish
DEADLINE = PATIENCE + 20
BURST = "Start `w1`, `w2` and `w3` again, and in terminal 3: `lab burst 6 --seconds 30`. At once, in terminal 5"
ALL = f"{BURST}: `python stop.py w3 kill w2 cold w1 warm`"


class EarlyAcks(Wrong):
    """`task_acks_late` is {found!r} in your app: what a worker runs when it ends cold, or is killed, is lost."""

    next = "See in exercise 13 what celeryconfig.py needs, and start the workers again"


class NotKilled(Wrong):
    """The lab has not seen a worker of yours killed while it ran a prediction."""

    next = ALL


class NotCold(Wrong):
    """The lab has not seen a worker of yours end cold: each that was not killed finished what it ran."""

    next = f"{BURST}: `python stop.py w2 cold`"


class NotWarm(Wrong):
    """The lab has not seen a worker of yours end warm: none took its time to finish what it ran."""

    next = f"{BURST}: `python stop.py w1 warm`. Then leave it alone: with one more Ctrl-C, it ends cold"


class OneName(Wrong):
    """Each time, it was {worker} that ended: the lab has seen no end of a worker with another name."""

    next = ALL


class NotFinished(Wrong):
    """{left} of the {ran} predictions that {worker} ran at its end ({how}) did not succeed later."""

    next = f"""Start another worker, `celery -A my_ml_app worker -n w4@%h -c 4`, and let the burst in terminal 3 finish.
        Is it over? Then do it once more. {ALL}"""


RECOGNISES = (EarlyAcks, NotKilled, NotCold, NotWarm, OneName, NotFinished, SameName)
WAYS = {"killed": NotKilled, "cold": NotCold, "warm": NotWarm}


class End(NamedTuple):
    """How a worker ended, and when (seconds since 1970); of the predictions that it ran then, how many began again, and
    how many did not succeed after all."""

    how: str
    worker: str
    time: float
    ran: int
    again: int
    left: int

    @property
    def rank(self):
        return self.left == 0, self.time

    def __str__(self):
        return f"{self.again} of {self.ran} at {self.worker} ({self.how})"


def check(desk: Desk) -> Iterator[str]:
    yield from desk.ready()
    if not desk.app.conf.task_acks_late:
        raise EarlyAcks(found=desk.app.conf.task_acks_late)
    # Redis does not notice that a worker was killed: what it ran comes again in an hour.
    comes = [how for how in WAYS if not (desk.broker.is_redis and how == "killed")]
    desk.wait(lambda: not is_recording() or has_finished(seen(), comes), "the burst to finish", PATIENCE)
    best = seen()
    for how, wrong in WAYS.items():
        if how not in best:
            raise wrong
    if len(names := {end.worker for end in best.values()}) == 1:
        raise OneName(worker=names.pop())
    for how in comes:
        if best[how].left:
            raise NotFinished(worker=best[how].worker, how=how, left=best[how].left, ran=best[how].ran)
    yield f"began again: {', '.join(str(best[how]) for how in WAYS)}"
    if desk.online:
        yield f"workers: {' and '.join(worker.name for worker in desk.takers)}"


def is_recording():
    """Whether a burst or a view still writes down what it sees."""
    return any(time.time() - path.stat().st_mtime < FRESH for path in RUNS.glob(RECORDS))


def has_finished(best, comes):
    return len(best) == len(WAYS) and not any(best[how].left for how in comes)


def seen():
    """For each way, the End of a worker that ran something then, {how: End}: one after which all went well, if any."""
    found = sorted((end for path in RUNS.glob(RECORDS) for end in ends(path)), key=lambda end: end.rank)
    return {end.how: end for end in found if end.ran}


def ends(path):
    """The Ends of workers in a record."""
    begun = defaultdict(list)  # id: when it began, each time
    running = defaultdict(dict)  # worker: {id: since when}
    finished = defaultdict(dict)  # as running, but since the worker has answered last: one that ends warm does not
    succeeded, found = set(), []

    def begin(worker, task, at):
        if all(abs(at - one) > SAME for one in begun[task]):
            begun[task].append(at)
        running[worker].setdefault(task, at)

    with suppress(OSError, ValueError, TypeError, KeyError), open(path, encoding="utf-8") as lines:
        for line in lines:
            fact = json.loads(line)
            kind, worker, at = fact["fact"], fact.get("worker"), fact["time"]
            if kind == "started":
                begin(worker, fact["id"], at)
            elif kind == "active":
                finished[worker].clear()
                for task in fact["tasks"]:
                    begin(worker, task["id"], task["started"])
            elif kind in OVER:
                finished[worker][fact["id"]] = running[worker].pop(fact["id"], at)
                if kind == "succeeded":
                    succeeded.add(fact["id"])
            elif kind == "gone":
                ran, last = running.pop(worker, {}), finished.pop(worker, {})
                how = "killed" if fact["lost"] else "cold" if ran else "warm"
                found.append((how, worker, at, last if how == "warm" else ran))
    for how, worker, at, ran in found:
        again = [task for task, since in ran.items() if any(one > since + SAME for one in begun[task])]
        yield End(how, worker, at, len(ran), len(again), len(ran.keys() - succeeded))
