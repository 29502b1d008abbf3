"""What happened to predictions, put together from the facts that a Follower tells."""

import json
from collections import OrderedDict
from dataclasses import dataclass

from lab.fault import Fault

OVER = {"succeeded", "failed", "revoked"}  # how a prediction ends; another outcome is followed by another attempt
MISSING = 3  # seconds after which an attempt is over that its worker does not run any more
RECENT = 2000  # attempts whose end is remembered, since facts about one attempt come on several ways


@dataclass(slots=True)
class Attempt:
    """One way of a prediction through the queue; a prediction that comes back has several, numbered from 1.

    Times are seconds since 1970, None for what was not heard. process is a process id of the worker's pool, None
    when nobody saw it; seen is when we last heard that it runs. outcome is None while it goes on, and then succeeded,
    failed, retried, revoked, returned (its message went back into the queue) or lost (its worker has it no more, and
    nobody heard of its end).
    """

    id: str
    number: int = 1
    sent: float = None
    received: float = None
    started: float = None
    ended: float = None
    worker: str = None
    process: int = None
    seen: float = None
    outcome: str = None


class History:
    """What is so now: open, {id: its latest Attempt that goes on}; running, {(id, worker): Attempt that has begun};
    pools, {worker: its processes, None for a thread}; ready, {queue: messages that wait there}; unacked, how many
    workers hold; answers, whether the broker does, and why not.

    And what was: ended, the Attempts that are over; heard (of), done and failed, how many predictions; sent, how many
    there were when the broker was last asked, with those in the queue; counts, (time, ready, unacked); sizes, (time,
    worker, its processes); faults, [begin, end, what happened].
    """

    def __init__(self):
        self.begin = self.now = None
        self.open, self.running, self.ended = {}, {}, []
        self.pools, self.ready, self.unacked = {}, {}, None
        self.heard = self.sent = self.done = self.failed = 0
        self.counts, self.sizes, self.faults = [], [], []
        self.answers = self.why = None
        self._taken = self._there = 0  # predictions that are in no queue, and those with all that are
        self._clock = 0  # the time here; that of events is the worker's
        self._recent = OrderedDict()  # {id: its Attempt that was over last}

    @classmethod
    def read(cls, path):
        """The history in a file of facts, one as JSON in each line; the last may be cut. Raises Fault."""
        history = cls()
        try:
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    if line.endswith("\n"):
                        history.note(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Fault(f"{path} is not the record of a view or a burst", "Give the file that ends in .jsonl") from None
        if not history.heard:
            raise Fault(f"{path} has no prediction that could be drawn")
        return history

    @property
    def processes(self):
        return sum(map(len, self.pools.values()))

    def note(self, fact):
        """Take one fact into account."""
        time = fact["time"]
        self.begin = min(self.begin or time, time)
        self.now = max(self.now or time, time)
        if "id" not in fact:
            self._clock = time
        getattr(self, f"_{fact['fact']}")(fact, time)

    def _sent(self, fact, time):
        attempt = self.open.get(fact["id"]) or self._recent.get(fact["id"]) or self._new(fact["id"])
        attempt.sent = attempt.sent or time  # a worker that tries again sends again

    def _received(self, fact, time):
        attempt = self.open.get(fact["id"])
        if attempt is None or (attempt.received or attempt.started or time) < time:
            attempt = self._new(fact["id"])
        self._take(attempt, fact["worker"]).received = time

    def _started(self, fact, time):
        if (fact["id"], fact["worker"]) not in self.running:
            self._start(self._taken_by(fact) or self._new(fact["id"]), fact["worker"], time)

    def _active(self, fact, time):
        for task in fact["tasks"]:
            attempt = self.running.get((task["id"], fact["worker"]))
            over = self._recent.get(task["id"])
            if attempt is None and over and over.worker == fact["worker"] and task["started"] < over.ended:
                over.process = task["process"]  # it has ended while its worker answered
                continue
            if attempt is None:
                attempt = self._taken_by(task | {"worker": fact["worker"]}) or self._new(task["id"])
                self._start(attempt, fact["worker"], task["started"])
            attempt.started = min(attempt.started, task["started"])  # the event comes when the worker has time for it
            attempt.process, attempt.seen = task["process"], time
        for attempt in [one for one in self.running.values() if one.worker == fact["worker"]]:
            if attempt.seen < time - MISSING:
                self._lose(attempt, max(attempt.started, attempt.seen))

    def _succeeded(self, fact, time):
        attempt = self._over(fact, time, "succeeded")
        if attempt and fact["runtime"]:
            attempt.started = min(attempt.started or time, time - fact["runtime"])
            attempt.ended = attempt.started + fact["runtime"]

    def _failed(self, fact, time):
        self._over(fact, time, "failed")
        if "WorkerLostError" in fact["why"]:
            self.faults.append([time, time, "a process was killed"])

    def _revoked(self, fact, time):
        self._over(fact, time, "revoked")

    def _retried(self, fact, time):
        if self._over(fact, time, "retried") and fact["id"] not in self.open:
            self._new(fact["id"], time)

    def _rejected(self, fact, time):
        if self._over(fact, time, "returned" if fact["requeue"] else "failed") and fact["requeue"]:
            self.faults.append([time, time, "a prediction went back into the queue"])
            if fact["id"] not in self.open:
                self._new(fact["id"], time)

    def _new(self, task, sent=None):
        """The first Attempt of a prediction, or one more."""
        before = self.open.get(task) or self._recent.get(task)
        self.open[task] = Attempt(task, before.number + 1 if before else 1, sent)
        self.heard += before is None
        self._taken -= bool(before and before.worker)
        return self.open[task]

    def _taken_by(self, fact):
        """The open Attempt that this worker has, or may have, and that has not begun; or None."""
        attempt = self.open.get(fact["id"])
        return attempt if attempt and not attempt.started and attempt.worker in (None, fact["worker"]) else None

    def _take(self, attempt, worker):
        self._taken += attempt.worker is None
        attempt.worker = worker
        return attempt

    def _start(self, attempt, worker, time):
        self._take(attempt, worker)
        attempt.started, attempt.seen = time, self._clock or time
        self.running[attempt.id, worker] = attempt

    def _over(self, fact, time, outcome):
        """End the Attempt that a fact is about, and return it; None when it was over before."""
        before = self._recent.get(fact["id"])
        known = before and before.worker == fact["worker"]
        attempt = self.running.get((fact["id"], fact["worker"])) or self._taken_by(fact)
        if known and not (attempt and attempt.worker):
            if before.outcome != "lost":
                return None  # Celery says twice how some end: rejected, and failed
            if attempt:  # nobody has taken it since: its worker was frozen, or silent, and is back
                del self.open[fact["id"]]
            self.ended = [one for one in self.ended if one is not before]
            attempt = before
        attempt = attempt or self._new(fact["id"])
        self._end(self._take(attempt, fact["worker"]), time, outcome)
        return attempt

    def _end(self, attempt, time, outcome):
        before = self._recent.get(attempt.id)
        if before is None or before.outcome not in OVER:
            self.done += outcome == "succeeded"
            self.failed += outcome == "failed"
        attempt.ended, attempt.outcome = time, outcome
        if self.open.get(attempt.id) is attempt:
            del self.open[attempt.id]
        self.running.pop((attempt.id, attempt.worker), None)
        self.ended.append(attempt)
        self._recent[attempt.id] = attempt
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def _lose(self, attempt, time):
        self._end(attempt, time, "lost")
        if attempt.id not in self.open:
            self._new(attempt.id, time)

    def _pool(self, fact, time):
        self.pools[fact["worker"]] = fact["processes"]
        self.sizes.append((time, fact["worker"], fact["processes"]))

    def _gone(self, fact, time):
        worker = fact["worker"]
        self.pools.pop(worker, None)
        self.sizes.append((time, worker, []))
        self.faults.append([time, time, f"{worker} was lost" if fact["lost"] else f"{worker} ended"])
        for attempt in [one for one in self.running.values() if one.worker == worker]:
            self._lose(attempt, max(time, attempt.started))
        for attempt in [one for one in self.open.values() if one.worker == worker]:
            self._new(attempt.id, attempt.sent)

    def _counts(self, fact, time):
        self.ready, self.unacked = fact["ready"], fact["unacked"]
        before, self._there = self._there, self._taken + sum(self.ready.values())
        self.sent = max(self.sent, min(before, self._there))  # one of both may be a moment older than the other
        self.counts.append((time, sum(self.ready.values()), self.unacked))

    def _broker(self, fact, time):
        if self.answers and not fact["answers"]:
            self.faults.append([time, None, "the broker was away"])
        if fact["answers"] and self.faults and self.faults[-1][1] is None:
            self.faults[-1][1] = time
        self.answers, self.why = fact["answers"], fact.get("why")
