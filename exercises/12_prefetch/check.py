"""Has the student seen a worker hoard while another one had nothing to do, and do two workers share by now?"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from lab.course.kit import Desk, Suspended, Wrong, counted

RUNS = Path(".lab/runs")
RECORDS = "*[0-9].jsonl"  # what `burst` and `view` write down there; a trial's record ends in _trial.jsonl
HOARD = 20  # messages; with the student's setting, a worker with 10 processes holds 10
IDLE = 1  # seconds without anything to do: when messages come, one worker hears of them before another one does
LOAD = 4  # predictions that the check sends
PATIENCE = 4  # seconds until two workers have them
ENDS = {"succeeded", "failed", "retried", "rejected", "revoked"}
FIRST = "End all workers. In terminal 2: `celery -A my_ml_app worker -n w1@%h --autoscale=10,2"
BURST = "In terminal 3: `lab burst 50 --seconds 8`"
AGAIN = "End {worker} (Ctrl-C in its terminal), and start it again without `--prefetch-multiplier`"
SECOND = "In terminal 7: `celery -A my_ml_app worker -n w2@%h --autoscale=10,2`"


class OtherSetting(Wrong):
    """In your app, `worker_prefetch_multiplier` is {multiplier!r}: each worker takes {multiplier!r} messages ahead for
    each process."""

    next = """Set it to 1 again in celeryconfig.py, as in exercise 09. For one worker alone, `--prefetch-multiplier` in
        the command is enough"""


class NoHoard(Wrong):
    """The lab has not seen a worker of yours hold 20 messages or more: {why}."""

    next = f"{FIRST} --prefetch-multiplier=4`. {BURST}"


class NobodyIdle(Wrong):
    """{worker} held {held} messages, but no other worker was idle meanwhile: {why}."""

    next = f"Do it once more. {FIRST} --prefetch-multiplier=4`. {BURST}. {SECOND}, then and not before"


class NoLimit(Wrong):
    """{worker} takes all messages of the queue ahead: its prefetch count is 0, which means no limit."""

    next = AGAIN


class StillHoards(Wrong):
    """{worker} takes up to {number} messages ahead, and has {processes} at most."""

    next = AGAIN


class OneWorker(Wrong):
    """Only {worker} takes messages from the queue {queue!r}: nobody is there to share with."""

    next = """Start another one: `celery -A my_ml_app worker -n {other}@%h --autoscale=10,2`. If it has ended, its last
        lines say why"""


RECOGNISES = (OtherSetting, NoHoard, NobodyIdle, Suspended, NoLimit, StillHoards, OneWorker)


class Hoard(NamedTuple):
    """What a worker held, and had not begun, at some time (seconds since 1970); idle is who had nothing to do then, and
    others are all workers that were there beside it."""

    held: int
    idle: str | None
    others: tuple[str, ...]
    worker: str
    time: float

    @property
    def rank(self):
        return self.held >= HOARD and bool(self.idle), self.held

    def __str__(self):
        at = datetime.fromtimestamp(self.time)
        return f"at {at:%H:%M:%S}, {self.worker} held {self.held} messages, and {self.idle} had nothing to do"


def check(desk: Desk) -> Iterator[str]:
    yield from desk.ready()
    multiplier = desk.app.conf.worker_prefetch_multiplier
    if multiplier != 1:
        raise OtherSetting(multiplier=multiplier)
    yield f"hoard: {largest_hoard()}"
    takers = desk.takers
    if wrong := desk.suspended():
        raise wrong
    for worker in takers:
        most, ahead = most_processes(worker), worker.stats["prefetch_count"]
        if not ahead:
            raise NoLimit(worker=worker.name)
        if ahead >= 2 * most:  # a few more than processes may be messages for later, which do not count
            raise StillHoards(worker=worker.name, number=ahead, processes=counted(most, "process"))
    if len(takers) < 2:
        other = "w1" if takers[0].name.startswith("w2@") else "w2"
        raise desk.others() or OneWorker(worker=takers[0].name, queue=desk.queue, other=other)
    names = " and ".join(worker.name for worker in takers)
    most = " and ".join(dict.fromkeys(str(most_processes(worker)) for worker in takers))
    yield f"workers: {names}, each takes no more ahead than it has processes, {most} at most"
    with desk.predictions(LOAD) as sent:
        what = "both workers to have a prediction"
        shares = desk.wait(lambda: shared(desk, sent), what, PATIENCE)
        if not shares:
            raise desk.others() or desk.not_in_time(what, PATIENCE)
        yield "load: " + ", ".join(f"{counted(number, 'prediction')} at {name}" for name, number in shares.items())


def most_processes(worker):
    return worker.autoscale[0] if worker.autoscale else worker.size


def shared(desk, sent):
    """{worker: how many of these predictions it has, or else how many of others}; None when one of them has none."""
    taken = Counter(one.event("task-received").get("hostname") for one in sent)
    running = desk.inspect_all("active")
    shares = {one.name: taken[one.name] or len(running.get(one.name, [])) for one in desk.takers}
    return shares if all(shares.values()) else None


def largest_hoard():
    """The largest Hoard that any burst or view has seen beside an idle worker. Raises NoHoard and NobodyIdle."""
    found = [hoard for path in RUNS.glob(RECORDS) for hoard in hoards(path)]
    best = max(found, key=lambda hoard: hoard.rank, default=None)
    if not best:
        raise NoHoard(why=f"there is no record of a burst or a view in {RUNS}")
    if best.held < HOARD:
        raise NoHoard(why=f"the most was {best.held}, at {best.worker}")
    if not best.idle:
        had = f"{' and '.join(best.others)} had messages too" if best.others else "none was there"
        raise NobodyIdle(worker=best.worker, held=best.held, why=had)
    return best


def hoards(path):
    """The Hoards in a record: for each worker that had a message, the one of the highest rank."""
    held, busy, since, best = defaultdict(set), defaultdict(set), {}, {}
    with suppress(OSError, ValueError, TypeError, KeyError), open(path, encoding="utf-8") as lines:
        for line in lines:
            fact = json.loads(line)
            kind, worker, time = fact["fact"], fact.get("worker"), fact["time"]
            if kind == "pool":
                since.setdefault(worker, time)
            elif kind == "gone":
                for one in (held, busy, since):
                    one.pop(worker, None)
            elif kind in ENDS | {"received", "started"}:
                since[worker] = time
                held[worker].discard(fact["id"])
                busy[worker].discard(fact["id"])
                if kind not in ENDS:
                    (held if kind == "received" else busy)[worker].add(fact["id"])
            for name, messages in held.items():
                others = tuple(one for one in since if one != name)
                idle = (one for one in others if not (held.get(one) or busy.get(one)) and time - since[one] >= IDLE)
                hoard = Hoard(len(messages), next(idle, None), others, name, time)
                best[name] = max(best.get(name, hoard), hoard, key=lambda one: one.rank)
    return best.values()
