"""What happened to predictions, put together from the facts that a Follower tells."""

import json
from collections import OrderedDict
from dataclasses import dataclass

MISSING = 3  # seconds after which an attempt is over that its worker does not run any more
RECENT = 2000  # attempts whose end is remembered, since facts about one attempt come on several ways


@dataclass(slots=True)
class Attempt:
    """One way of a prediction through the queue; a prediction that comes back has several.

    Times are seconds since 1970, None for what was not heard. process is a process id of the worker's pool, None
    when nobody saw it; seen is when its worker last said that it runs. outcome is None while it goes on, and then
    succeeded, failed, retried, revoked, returned (its message went back into the queue) or lost (its worker has it no
    more, and nobody heard of its end).
    """

    id: str
    sent: float = None
    received: float = None
    started: float = None
    ended: float = None
    worker: str = None
    process: int = None
    seen: float = None
    outcome: str = None


class History:
    """What is so now: open, {id: Attempt that goes on}, and of these running; pools, {worker: its processes}; ready,
    {queue: messages that wait there}; unacked, how many workers hold; answers, whether the broker does, and why not.

    And what was: ended, the Attempts that are over; heard (of), sent, done and failed, how many predictions; counts,
    (time, ready, unacked); sizes, (time, worker, its processes); faults, [begin, end, what happened].
    """

    def __init__(self):
        self.begin = self.now = None
        self.open, self.running, self.ended = {}, {}, []
        self.pools, self.ready, self.unacked = {}, {}, None
        self.heard = self.sent = self.done = self.failed = 0
        self.counts, self.sizes, self.faults = [], [], []
        self.answers = self.why = None
        self._recent = OrderedDict()

    @classmethod
    def read(cls, path):
        """The history in a file of facts, one as JSON in each line."""
        history = cls()
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                history.note(json.loads(line))
        return history

    @property
    def processes(self):
        return sum(len(processes) for processes in self.pools.values())

    def note(self, fact):
        """Take one fact into account."""
        time = fact["time"]
        self.begin = min(self.begin or time, time)
        self.now = max(self.now or time, time)
        getattr(self, f"_{fact['fact']}")(fact, time)

    def _known(self, task):
        """The Attempt that goes on with a prediction, or the latest one, or the first one."""
        attempt = self.open.get(task) or self._recent.get(task)
        if attempt is None:
            attempt = self.open[task] = Attempt(task)
            self.heard += 1
        return attempt

    def _sent(self, fact, time):
        attempt = self._known(fact["id"])
        if attempt.sent is None:  # a worker that tries again sends again
            attempt.sent = time
            self.sent += 1

    def _received(self, fact, time):
        attempt = self._known(fact["id"])
        if attempt.started and time > attempt.started:
            if not attempt.ended:
                self._end(attempt, time, "returned")
            attempt = self._again(attempt)
        attempt.received, attempt.worker = time, fact["worker"]

    def _started(self, fact, time):
        attempt = self._known(fact["id"])
        if attempt.started is None:
            self._start(attempt, time)
            attempt.worker = fact["worker"]

    def _active(self, fact, time):
        for task in fact["tasks"]:
            attempt = self._known(task["id"])
            if attempt.received and task["started"] < attempt.received:
                attempt = self._recent.get(task["id"], attempt)
            attempt.worker, attempt.process, attempt.seen = fact["worker"], task["process"], time
            if attempt.started is None:
                self._start(attempt, task["started"])
            attempt.started = min(attempt.started, task["started"])  # the event comes when the worker has time for it
        for attempt in [one for one in self.running.values() if one.worker == fact["worker"]]:
            if (seen := max(attempt.started, attempt.seen or 0)) < time - MISSING:
                self._lose(attempt, seen)

    def _start(self, attempt, time):
        attempt.started = time
        if not attempt.ended:
            self.running[attempt.id] = attempt

    def _lose(self, attempt, time):
        self._end(attempt, time, "lost")
        self._again(attempt)

    def _succeeded(self, fact, time):
        self.done += 1
        attempt = self._over(fact, time, "succeeded")
        if attempt.started and fact["runtime"]:
            attempt.started = min(attempt.started, attempt.ended - fact["runtime"])
            attempt.ended = attempt.started + fact["runtime"]

    def _failed(self, fact, time):
        self.failed += 1
        self._over(fact, time, "failed")
        if "WorkerLostError" in fact["why"]:
            self.faults.append([time, time, "a process was killed"])

    def _revoked(self, fact, time):
        self._over(fact, time, "revoked")

    def _retried(self, fact, time):
        self._again(self._over(fact, time, "retried"))

    def _rejected(self, fact, time):
        if fact["requeue"]:
            self._again(self._over(fact, time, "returned"))
            self.faults.append([time, time, "a prediction went back into the queue"])
        else:
            self.failed += 1
            self._over(fact, time, "failed")

    def _over(self, fact, time, outcome):
        attempt = self._known(fact["id"])
        before = self._recent.get(fact["id"])
        if before and before.outcome == "lost" and not attempt.received:
            self.open.pop(fact["id"], None)  # its worker was frozen, and is back
            before.ended, before.outcome = time, outcome
            return before
        attempt.worker = fact["worker"]
        self._end(attempt, time, outcome)
        return attempt

    def _end(self, attempt, time, outcome):
        attempt.ended, attempt.outcome = time, outcome
        self.open.pop(attempt.id, None)
        self.running.pop(attempt.id, None)
        self.ended.append(attempt)
        self._recent[attempt.id] = attempt
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def _again(self, attempt):
        """The same prediction waits once more."""
        self.open[attempt.id] = Attempt(attempt.id, sent=attempt.ended)
        return self.open[attempt.id]

    def _pool(self, fact, time):
        self.pools[fact["worker"]] = fact["processes"]
        self.sizes.append((time, fact["worker"], fact["processes"]))

    def _gone(self, fact, time):
        worker = fact["worker"]
        self.pools.pop(worker, None)
        self.sizes.append((time, worker, []))
        self.faults.append([time, time, f"{worker} was lost" if fact["lost"] else f"{worker} ended"])
        for attempt in [one for one in self.open.values() if one.worker == worker]:
            if attempt.started:
                self._lose(attempt, max(time, attempt.started))
            else:
                attempt.received = attempt.worker = None

    def _counts(self, fact, time):
        self.ready, self.unacked = fact["ready"], fact["unacked"]
        self.counts.append((time, sum(self.ready.values()), self.unacked))

    def _broker(self, fact, time):
        if self.answers and not fact["answers"]:
            self.faults.append([time, None, "the broker was away"])
        if fact["answers"] and self.faults and self.faults[-1][1] is None:
            self.faults[-1][1] = time
        self.answers, self.why = fact["answers"], fact.get("why")
