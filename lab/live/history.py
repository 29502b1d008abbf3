"""What happened to predictions, put together from the facts that a Follower tells."""

import json
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeGuard

from lab.fault import Fault

FINAL = {"succeeded", "failed", "revoked"}  # how a prediction ends; after another outcome comes another attempt
MISSING = 3  # seconds: an attempt that its worker has not run for so long has ended
COUNTS = 4  # how many counts in a row decide how many predictions there are
RECENT = 2000  # attempts whose end is remembered, because facts about one attempt come in several ways
NAME = 255  # bytes of an id, or of a worker's or queue's name: no broker takes more
NUMBER = 1e15  # larger numbers make no sense
PROCESSES = 10_000  # of a pool
LINE = 10_000_000  # characters of a fact in a file

Fact = dict[str, Any]  # what a Follower tells: JSON
Fields = dict[str, Callable[[object], bool]]  # {name of a field: what says whether a value can be in it}


def is_name(value: object) -> TypeGuard[str]:
    try:
        return isinstance(value, str) and 0 < len(value) <= NAME and len(value.encode()) <= NAME
    except UnicodeEncodeError:  # half a character
        return False


def is_text(value: object) -> bool:
    return isinstance(value, str)


def is_bool(value: object) -> bool:
    return isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a number to calculate with: NaN, infinity, and numbers below 0 are not."""
    return isinstance(value, (int, float)) and not is_bool(value) and 0 <= value < NUMBER


def is_number_or_none(value: object) -> bool:
    return value is None or is_number(value)


def are_counts(value: object) -> bool:
    return isinstance(value, dict) and all(is_name(queue) and is_number(number) for queue, number in value.items())


def are_processes(value: object) -> bool:
    return isinstance(value, list) and len(value) <= PROCESSES and all(map(is_number_or_none, value))


def are_names(value: object) -> bool:
    return isinstance(value, list) and all(map(is_name, value))


def are_tasks(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) and has(one, **ACTIVE) for one in value)


def has(fact: Fact, **fields: Callable[[object], bool]) -> bool:
    """Whether a fact has these Fields."""
    return all(name in fact and fits(fact[name]) for name, fits in fields.items())


ACTIVE: Fields = {"id": is_name, "process": is_number_or_none, "started": is_number}
ONE: Fields = {"id": is_name, "worker": is_name}  # one prediction, at one worker
FIELDS: dict[str, Fields] = {  # of each kind of fact, beside its time; a Follower says what they mean
    "sent": {"id": is_name},
    "received": ONE,
    "started": ONE,
    "succeeded": ONE | {"runtime": is_number_or_none},
    "failed": ONE | {"why": is_text},
    "retried": ONE | {"why": is_text},
    "rejected": ONE | {"requeue": is_bool},
    "revoked": ONE,
    "active": {"worker": is_name, "tasks": are_tasks},
    "pool": {"worker": is_name, "processes": are_processes},
    "takes": {"worker": is_name, "queues": are_names},
    "suspended": {"worker": is_name, "is": is_bool},
    "gone": {"worker": is_name, "lost": is_bool},
    "asked": {},
    "counts": {"ready": are_counts, "unacked": is_number_or_none},
    "broker": {"answers": is_bool},
    "unread": {"number": is_number},
    "fault": {"what": is_text, "until": is_number},
    "story": {"id": is_name, "what": is_text},
}


def is_fact(fact: object) -> bool:
    """Whether History can use it, whoever wrote it."""
    if not isinstance(fact, dict) or not isinstance(kind := fact.get("fact"), str):
        return False
    return kind in FIELDS and has(fact, time=is_number, **FIELDS[kind])


class Moment(NamedTuple):
    """Numbers that belong together: ready and unacked as the broker counted them, the others as they were then."""

    ready: int | None
    unacked: int | None
    running: int
    done: int
    failed: int

    @property
    def there(self) -> int:
        """How many are in the queue or held by workers, as far as the broker says it."""
        return (self.ready or 0) + (self.unacked or 0)


@dataclass(slots=True)
class Attempt:
    """One way of a prediction through the queue. A prediction that goes back into the queue has several, numbered from
    1.

    Times are seconds since 1970, None if not heard. process is a process id of the worker's pool, None if not seen;
    seen is when we last heard that it runs. outcome is None until it ends. Then it is succeeded, failed, retried,
    revoked, returned (its message went back into the queue) or lost (its worker does not have it any more, and its end
    was not heard).
    """

    id: str
    number: int = 1
    sent: float | None = None
    received: float | None = None
    started: float | None = None
    ended: float | None = None
    worker: str | None = None
    process: int | None = None
    seen: float | None = None
    outcome: str | None = None

    @property
    def waited(self) -> float | None:
        """Seconds from the sender to the start; None where one of them was not heard."""
        return None if self.sent is None or self.started is None else max(0, self.started - self.sent)

    @property
    def worked(self) -> float | None:
        """Seconds from the start to the end; None where one of them was not heard."""
        return None if self.started is None or self.ended is None else self.ended - self.started


class History:
    """Now: open, {id: its latest Attempt that goes on}; running, {(id, worker): Attempt that has begun}; pools,
    {worker: its processes, None for a thread}; takes, {worker: the queues it takes from}; suspended, the workers that
    are; ready, {queue: messages that wait there}; unacked, how many workers hold; answers, whether the broker does, and
    why not.

    Until now: ended, the Attempts that have ended; heard (of), done and failed, how many predictions; total, how many
    there were when the broker was last asked, with those in the queue; moment, the Moment when it was; counts, (time,
    ready, unacked); sizes, (time, worker, its processes); incidents, (begin, end, what happened); unread, how many
    events could not be read; error, with which the last one failed; marked, the id of the prediction whose
    story is told.
    """

    def __init__(self) -> None:
        self.begin = self.now = 0.0
        self.open: dict[str, Attempt] = {}
        self.running: dict[tuple[str, str], Attempt] = {}
        self.ended: list[Attempt] = []
        self.pools: dict[str, list[int | None]] = {}
        self.takes: dict[str, list[str]] = {}
        self.suspended: set[str] = set()
        self.ready: dict[str, int] = {}
        self.unacked: int | None = None
        self.heard = self.total = self.done = self.failed = self.unread = 0
        self.moment: Moment | None = None
        self.counts: list[tuple[float, int, int | None]] = []
        self.sizes: list[tuple[float, str, list[int | None]]] = []
        self.incidents: list[tuple[float, float | None, str]] = []
        self.answers: bool | None = None
        self.why: str | None = None
        self.error: str | None = None
        self.marked: str | None = None
        self._before = 0, 0, 0, 0  # taken, running, done, failed: when the broker was asked
        self._taken = 0  # predictions that are in no queue
        # How many predictions there were, told by workers and by the broker.
        self._there = deque([(0, 0)], maxlen=COUNTS)
        self._clock = 0.0  # the time here; that of events is the worker's
        self._recent: OrderedDict[str, Attempt] = OrderedDict()  # {id: its Attempt that ended last}

    @classmethod
    def read(cls, path: Path) -> Self:
        """The history in a file of facts, one as JSON in each line; the last may be cut. Raises Fault."""
        history, number = cls(), 0
        try:
            with open(path, encoding="utf-8") as lines:
                while (line := lines.readline(LINE)).endswith("\n"):
                    number += 1
                    fact = json.loads(line)
                    if is_fact(fact):
                        history.note(fact)
                    elif not isinstance(fact, dict) or fact.get("fact") in FIELDS:  # others may be a newer lab's
                        raise ValueError
            if len(line) == LINE:
                raise ValueError
        except (ValueError, TypeError, RecursionError):
            raise Fault(
                f"{path} is not the record of a view or a burst: its line {number or 1} cannot be read",
                "Give the file that ends in .jsonl, as the lab wrote it",
            ) from None
        if not history.heard:
            raise Fault(f"{path} has no prediction that could be drawn")
        return history

    @property
    def processes(self) -> int:
        """How many pool processes, or threads, all workers have now."""
        return sum(map(len, self.pools.values()))

    def note(self, fact: Fact) -> None:
        """Take in one fact."""
        time = fact["time"]
        self.begin = min(self.begin or time, time)
        self.now = max(self.now or time, time)
        if "id" not in fact:
            self._clock = time
        getattr(self, f"_{fact['fact']}")(fact, time)

    def _sent(self, fact: Fact, time: float) -> None:
        attempt = self.open.get(fact["id"]) or self._recent.get(fact["id"]) or self._new(fact["id"])
        attempt.sent = attempt.sent or time  # a worker that tries again sends again

    def _received(self, fact: Fact, time: float) -> None:
        attempt = self.open.get(fact["id"])
        if attempt is None or (attempt.received or attempt.started or time) < time:
            attempt = self._new(fact["id"])
        self._take(attempt, fact["worker"]).received = time

    def _started(self, fact: Fact, time: float) -> None:
        if (fact["id"], fact["worker"]) not in self.running:
            self._start(self._taken_by(fact["id"], fact["worker"]) or self._new(fact["id"]), fact["worker"], time)

    def _active(self, fact: Fact, time: float) -> None:
        worker = fact["worker"]
        for task in fact["tasks"]:
            started = task["started"]
            attempt = self.running.get((task["id"], worker))
            before = self._recent.get(task["id"])
            if attempt is None and before and before.worker == worker and started < (before.ended or 0):
                before.process = task["process"]  # it has ended while its worker answered
                continue
            if attempt is None:
                attempt = self._taken_by(task["id"], worker) or self._new(task["id"])
                self._start(attempt, worker, started)
            # Its event comes when the worker has time for it.
            attempt.started = min(attempt.started or started, started)
            attempt.process, attempt.seen = task["process"], time
        for attempt in self._running_at(worker):
            if (seen := attempt.seen or 0) < time - MISSING:
                self._lose(attempt, max(attempt.started or 0, seen))

    def _succeeded(self, fact: Fact, time: float) -> None:
        attempt = self._finish(fact, time, "succeeded")
        if attempt and fact["runtime"]:
            attempt.started = min(attempt.started or time, time - fact["runtime"])
            attempt.ended = attempt.started + fact["runtime"]

    def _failed(self, fact: Fact, time: float) -> None:
        self._finish(fact, time, "failed")
        self.error = fact["why"]
        self._killed(fact, time)

    def _killed(self, fact: Fact, time: float) -> None:
        if "WorkerLostError" in fact["why"]:
            self.incidents.append((time, time, "a process was killed"))

    def _revoked(self, fact: Fact, time: float) -> None:
        self._finish(fact, time, "revoked")

    def _retried(self, fact: Fact, time: float) -> None:
        self._killed(fact, time)
        if self._finish(fact, time, "retried"):
            self._queue_again(fact["id"], time)

    def _rejected(self, fact: Fact, time: float) -> None:
        if self._finish(fact, time, "returned" if fact["requeue"] else "failed") and fact["requeue"]:
            self.incidents.append((time, time, "a prediction went back into the queue"))
            self._queue_again(fact["id"], time)

    def _queue_again(self, task: str, time: float) -> None:
        """Its message is in the queue once more; whoever took it may have told of that already."""
        attempt = self.open.get(task) or self._new(task)
        attempt.sent = attempt.sent or min(time, attempt.received or time, attempt.started or time)

    def _new(self, task: str, sent: float | None = None) -> Attempt:
        """The first Attempt of a prediction, or one more."""
        before = self.open.get(task) or self._recent.get(task)
        self.open[task] = Attempt(task, before.number + 1 if before else 1, sent)
        self.heard += before is None
        self._taken -= bool(before and before.worker)
        return self.open[task]

    def _taken_by(self, task: str, worker: str) -> Attempt | None:
        """The open Attempt that this worker has, or may have, and that has not begun."""
        attempt = self.open.get(task)
        return attempt if attempt and not attempt.started and attempt.worker in (None, worker) else None

    def _running_at(self, worker: str) -> list[Attempt]:
        return [one for one in self.running.values() if one.worker == worker]

    def _take(self, attempt: Attempt, worker: str) -> Attempt:
        self._taken += attempt.worker is None
        attempt.worker = worker
        return attempt

    def _start(self, attempt: Attempt, worker: str, time: float) -> None:
        self._take(attempt, worker)
        attempt.started, attempt.seen = time, self._clock or time
        self.running[attempt.id, worker] = attempt

    def _finish(self, fact: Fact, time: float, outcome: str) -> Attempt | None:
        """End the Attempt that a fact is about, and return it; None when it had ended before."""
        before = self._recent.get(fact["id"])
        attempt = self.running.get((fact["id"], fact["worker"])) or self._taken_by(fact["id"], fact["worker"])
        if before and before.worker == fact["worker"] and not (attempt and attempt.worker):
            if before.outcome != "lost":
                return None  # for some, Celery reports two ends: rejected, and failed
            if attempt:  # nobody has taken it since: its worker was frozen, or silent, and is back
                del self.open[fact["id"]]
            if position := next((at for at in range(1, len(self.ended) + 1) if self.ended[-at] is before), None):
                del self.ended[-position]  # counted from the end: it is among the last
            attempt = before
        attempt = attempt or self._new(fact["id"])
        self._end(self._take(attempt, fact["worker"]), time, outcome)
        return attempt

    def _end(self, attempt: Attempt, time: float, outcome: str) -> None:
        before = self._recent.get(attempt.id)
        if before is None or before.outcome not in FINAL:
            self.done += outcome == "succeeded"
            self.failed += outcome == "failed"
        attempt.ended, attempt.outcome = time, outcome
        if self.open.get(attempt.id) is attempt:
            del self.open[attempt.id]
        if attempt.worker:
            self.running.pop((attempt.id, attempt.worker), None)
        self.ended.append(attempt)
        self._recent[attempt.id] = attempt
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def _lose(self, attempt: Attempt, time: float) -> None:
        self._end(attempt, time, "lost")
        self._queue_again(attempt.id, time)

    def _pool(self, fact: Fact, time: float) -> None:
        self.pools[fact["worker"]] = fact["processes"]
        self.sizes.append((time, fact["worker"], fact["processes"]))

    def _takes(self, fact: Fact, time: float) -> None:
        self.takes[fact["worker"]] = fact["queues"]

    def _suspended(self, fact: Fact, time: float) -> None:
        (self.suspended.add if fact["is"] else self.suspended.discard)(fact["worker"])

    def _gone(self, fact: Fact, time: float) -> None:
        worker = fact["worker"]
        self.pools.pop(worker, None)
        self.takes.pop(worker, None)
        self.suspended.discard(worker)
        self.sizes.append((time, worker, []))
        self.incidents.append((time, time, f"{worker} was lost" if fact["lost"] else f"{worker} ended"))
        for attempt in self._running_at(worker):
            self._lose(attempt, max(time, attempt.started or 0))
        for attempt in [one for one in self.open.values() if one.worker == worker]:
            self._new(attempt.id, attempt.sent)

    def _asked(self, fact: Fact, time: float) -> None:
        self._before = self._taken, len(self.running), self.done, self.failed

    def _counts(self, fact: Fact, time: float) -> None:
        taken, running, done, failed = self._before
        self.ready, self.unacked = fact["ready"], fact["unacked"]
        ready = sum(self.ready.values())
        self.moment = Moment(ready, self.unacked, running, done, failed)
        there = ready + taken, self.moment.there + done + failed
        # A message that is tried again, or given back, seems to be in two places for a moment.
        lately = min(self._there[-1][1], there[1])
        self._there.append(there)
        self.total = max(self.total, min(one for one, _ in self._there), lately)
        self.counts.append((time, ready, self.unacked))

    def _broker(self, fact: Fact, time: float) -> None:
        if self.answers and not fact["answers"]:
            self.incidents.append((time, None, "the broker was away"))
        if fact["answers"] and self.incidents and self.incidents[-1][1] is None:
            begin, _, what = self.incidents[-1]
            self.incidents[-1] = begin, time, what
        self.answers, self.why = fact["answers"], fact.get("why")

    def _fault(self, fact: Fact, time: float) -> None:
        self.incidents.append((time, fact["until"], fact["what"]))

    def _story(self, fact: Fact, time: float) -> None:
        self.marked = fact["id"]

    def _unread(self, fact: Fact, time: float) -> None:
        self.unread = fact["number"]
