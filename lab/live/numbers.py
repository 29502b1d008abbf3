"""The numbers of what happens now."""

import time
from collections import deque
from collections.abc import Iterator

from lab.live.burst import Burst
from lab.live.history import Moment
from lab.live.recording import Recording

LOOK = 0.2  # seconds between two looks at what has happened
SPAN = 5  # seconds in which the speed is measured, at least
STALE = 3  # seconds after which the broker's counts are called old


class Mean:
    """The mean of what was added; None before the first."""

    def __init__(self) -> None:
        self._sum, self._number = 0.0, 0

    def add(self, value: float) -> None:
        self._sum += value
        self._number += 1

    @property
    def value(self) -> float | None:
        return self._sum / self._number if self._number else None


class Numbers:
    """What a Recording says now; times in seconds. burst is the Burst whose predictions these are, if any."""

    def __init__(self, recording: Recording, burst: Burst | None = None):
        self._recording = recording
        self.history, self.burst = recording.history, burst
        self.waited, self.worked = Mean(), Mean()
        self._begin = time.time()
        self._ends: deque[float] = deque()

    def look(self) -> None:
        """Bring all numbers up to date."""
        for attempt in self._recording.take():
            if attempt.outcome in ("succeeded", "failed"):
                self._ends.append(time.time())
                if attempt.worked is not None:
                    self.worked.add(attempt.worked)
                if attempt.waited is not None:
                    self.waited.add(attempt.waited)
            if self.burst:
                self.burst.note(attempt)
        while self._ends and self._ends[0] < time.time() - self._span:
            self._ends.popleft()

    @property
    def _span(self) -> float:
        """Seconds in which the speed is measured: predictions that run at the same time end at the same time."""
        return max(SPAN, 2 * (self.worked.value or 0))

    @property
    def elapsed(self) -> float:
        return time.time() - self._begin

    @property
    def speed(self) -> float:
        """Predictions that have ended in a second, lately."""
        return len(self._ends) / max(1, min(self._span, self.elapsed))

    @property
    def sent(self) -> int:
        """How many predictions there are, those that waited before included; of a burst, how many it has sent."""
        if self.burst:
            return self.burst.sent
        moment = self.moment
        return max(self.history.total, moment.there + moment.done + moment.failed)

    @property
    def age(self) -> float | None:
        """Seconds since the broker last counted; None before the first time."""
        return time.time() - self.history.counts[-1][0] if self.history.counts else None

    @property
    def moment(self) -> Moment:
        """The broker's last counts, with the other numbers of that moment; if that is long ago, with those of now."""
        history = self.history
        moment = history.moment or Moment(None, None, 0, 0, 0)
        if self.age is None or self.age > STALE:
            moment = moment._replace(running=len(history.running), done=history.done, failed=history.failed)
        return moment

    @property
    def is_ready(self) -> bool:
        """Whether a burst can begin: what was there before is known, the workers' pools too if there are any."""
        return bool(self.history.moment and (self.history.pools or self.elapsed > STALE))

    @property
    def is_settled(self) -> bool:
        """Whether the broker has counted after the last prediction ended, and no worker holds a message."""
        done = self.history.done + self.history.failed
        return not self.moment.unacked and self.moment.done + self.moment.failed == done

    @property
    def remaining(self) -> float | None:
        """Seconds until a burst is done, if every process works from now on; None while that cannot be said."""
        if not self.burst or self.worked.value is None or not self.history.processes:
            return None
        if self.worked.value < LOOK:  # then sending takes as long
            return (self.burst.number - self.burst.finished) / self.speed if self.speed else None
        return max(len(self.history.open) / self.history.processes, 1) * self.worked.value + self.burst.unsent

    @property
    def trouble(self) -> str | None:
        """What stops the predictions, as a sentence."""
        history = self.history
        if history.answers is False:
            return f"Waiting … {history.why}"
        if (age := self.age) is not None and age > STALE:
            return f"The broker has not answered for {shown(age)}."
        if self.burst and self.burst.problem:
            return f"Not sent: {self.burst.problem}. Trying again …"
        if history.answers and self.elapsed > STALE and not history.pools:
            return "No worker answers. In another terminal: celery -A my_ml_app worker --autoscale=10,2"
        if suspended := sorted(history.suspended):
            return f"{suspended[0]} is suspended: type `fg` in its terminal."
        taken = {queue for queues in history.takes.values() for queue in queues}
        for queue in sorted(queue for queue, ready in history.ready.items() if ready and queue not in taken):
            if history.pools and history.pools.keys() <= history.takes.keys():
                return f"Messages wait in {queue!r}, but workers take only from: {', '.join(sorted(taken))}."
        return None

    @property
    def remarks(self) -> Iterator[str]:
        """Why something that is expected is not shown, as sentences."""
        if self.burst and self.burst.remark:
            yield self.burst.remark
        if self.history.error:
            yield f"A prediction failed: {self.history.error}"
        if self.burst and self.burst.before:
            yield f"Messages that were there before the burst, and are counted too: {self.burst.before}."
        if self.history.moment and self.history.moment.unacked is None:
            yield "Unacked is unknown: RabbitMQ's dashboard does not answer."
        if self.worked.value is not None and self.waited.value is None:
            yield "How long they waited is unknown: the sender does not set task_send_sent_event."


def shown(seconds: float | None) -> str:
    """A time as a person says it: 4 s, 2:05 min, 1:02:05 h; – for None."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{left:02} h"
    return f"{minutes}:{left:02} min" if minutes else f"{left} s"
