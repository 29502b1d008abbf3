"""The live view: what happens to predictions, as numbers that are kept up to date in a terminal, or as plain lines."""

import json
import os
import time
from collections import deque
from contextlib import suppress
from datetime import datetime

from rich.bar import Bar
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lab.fault import counted, printable
from lab.folder import Folder
from lab.follow import Follower
from lab.history import History, Moment
from lab.observe import wait_until

LOOK = 0.2  # seconds between two looks at what has happened
LINE = 1  # seconds between two lines, where there is no terminal
SPAN = 5  # seconds over which the speed is taken, at least
STALE = 3  # seconds after which the broker's counts are called old
LAST = 2  # seconds after a burst in which the broker may count that nothing is unacknowledged any more
BAR = 24  # columns of a bar
UNITS = 40  # processes of a pool that are drawn one by one
TROUBLE = 500  # characters of what is in the way
ROWS = 20  # queues, and workers, that are shown


class Recording:
    """A History of what happens from now on, and a file with it: each fact a line of JSON, in .lab/runs."""

    def __init__(self, desk):
        self.history = History()
        self.path = Folder().data("runs") / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{os.getpid()}.jsonl"
        self._follower = Follower(desk)

    def __enter__(self):
        self._file = open(self.path, "x", encoding="utf-8")
        self._follower.__enter__()
        return self

    def __exit__(self, *error):
        self._follower.__exit__(*error)
        self.take()
        self._file.close()
        if not self.happened:
            self.path.unlink()

    @property
    def happened(self):
        """Whether any prediction was heard of."""
        return self.history.heard > 0

    def take(self):
        """Take what was told since the last time, and return the attempts that ended in it."""
        for fact in self._follower.facts():
            self._file.write(json.dumps(fact) + "\n")
            self.history.note(fact)
        self._file.flush()
        ended, self.history.ended = self.history.ended, []
        return ended


class Mean:
    """The mean of what was added; None before the first."""

    def __init__(self):
        self._sum = self._number = 0

    def add(self, value):
        self._sum += value
        self._number += 1

    @property
    def value(self):
        return self._sum / self._number if self._number else None


class Numbers:
    """What a Recording says now; times in seconds. burst is what the sender of a burst says, or None."""

    def __init__(self, recording, burst=None):
        self._recording = recording
        self.history, self.burst = recording.history, burst
        self.waited, self.worked = Mean(), Mean()
        self._begin = time.time()
        self._ends = deque()

    def look(self):
        """Bring all numbers up to date."""
        for attempt in self._recording.take():
            if attempt.outcome in ("succeeded", "failed"):
                self._ends.append(time.time())
                if attempt.started:
                    self.worked.add(attempt.ended - attempt.started)
                if attempt.started and attempt.sent:
                    self.waited.add(max(0, attempt.started - attempt.sent))
            if self.burst:
                self.burst.note(attempt)
        while self._ends and self._ends[0] < time.time() - self._span:
            self._ends.popleft()

    @property
    def _span(self):
        """Seconds over which the speed is taken: those that work at the same time end at the same time."""
        return max(SPAN, 2 * (self.worked.value or 0))

    @property
    def elapsed(self):
        return time.time() - self._begin

    @property
    def speed(self):
        """Predictions that have ended in a second, lately."""
        return len(self._ends) / max(1, min(self._span, self.elapsed))

    @property
    def sent(self):
        """How many there are, with those that waited before; of a burst, how many it has sent."""
        if self.burst:
            return self.burst.sent
        ready, unacked, _, done, failed = self.moment
        return max(self.history.sent, (ready or 0) + (unacked or 0) + done + failed)

    @property
    def age(self):
        """Seconds since the broker has counted; None before."""
        return time.time() - self.history.counts[-1][0] if self.history.counts else None

    @property
    def moment(self):
        """What the broker counted last, with what was so then; when that is long ago, with what is so now."""
        history = self.history
        moment = history.moment or Moment(None, None, 0, 0, 0)
        if self.age is None or self.age > STALE:
            moment = moment._replace(running=len(history.running), done=history.done, failed=history.failed)
        return moment

    @property
    def is_ready(self):
        """Whether a burst can begin: what is there before is known, also of the workers' pools, if there are any."""
        return bool(self.history.moment and (self.history.pools or self.elapsed > STALE))

    @property
    def is_settled(self):
        """Whether the broker has counted after all that has ended, and nothing is with a worker any more."""
        done = self.history.done + self.history.failed
        return not self.moment.unacked and self.moment.done + self.moment.failed == done

    @property
    def remaining(self):
        """Seconds until what was sent is done, if every process works from now on; None while that cannot be said."""
        if self.worked.value is None or not self.history.processes:
            return None
        if self.worked.value < LOOK:  # then sending takes as long
            return (self.burst.number - self.burst.finished) / self.speed if self.speed else None
        return max(len(self.history.open) / self.history.processes, 1) * self.worked.value + self.burst.unsent

    @property
    def trouble(self):
        """What is in the way, as a sentence, or None."""
        history = self.history
        if history.answers is False:
            return f"Waiting … {history.why}"
        if history.counts and self.age > STALE:
            return f"The broker has said nothing for {shown(self.age)}."
        if self.burst and self.burst.problem:
            return f"Not sent: {self.burst.problem}. Trying again …"
        if history.answers and self.elapsed > STALE and not history.pools:
            return "No worker answers. In another terminal: celery -A my_ml_app worker --autoscale=10,2"
        if suspended := sorted(history.suspended):
            return f"{suspended[0]} is suspended: type `fg` in its terminal."
        taken = {queue for queues in history.takes.values() for queue in queues}
        for queue in sorted(queue for queue, ready in history.ready.items() if ready and queue not in taken):
            if history.pools and history.pools.keys() <= history.takes.keys():
                return (
                    f"Messages wait in {queue!r}, and no worker takes from it, only from: {', '.join(sorted(taken))}."
                )
        return None

    @property
    def remarks(self):
        """Why something that is expected is not shown, as sentences."""
        if self.burst and self.burst.remark:
            yield self.burst.remark
        if self.history.error:
            yield f"A prediction failed: {self.history.error}"
        if self.burst and self.burst.before:
            yield f"Messages that were there before the burst, and count too: {self.burst.before}."
        if self.history.moment and self.history.moment.unacked is None:
            yield "Unacked is unknown: only RabbitMQ's dashboard tells it, and that does not answer."
        if self.worked.value is not None and self.waited.value is None:
            yield "Since when they waited is unknown: the sender has no task_send_sent_event."


def shown(seconds):
    """A time as a person says it: 4 s, 2:05 min, 1:02:05 h; – for None."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02} h"
    return f"{minutes}:{seconds:02} min" if minutes else f"{seconds} s"


def known(number):
    return "–" if number is None else str(number)


def as_line(numbers):
    """All numbers in a line, for a file or a pipe; running is of so many processes."""
    moment = numbers.moment
    parts = [
        f"{shown(numbers.elapsed):>7}",
        f"sent {numbers.sent}",
        f"Ready {known(moment.ready)}",
        f"Unacked {known(moment.unacked)}",
        f"running {moment.running}/{numbers.history.processes}",
        f"done {moment.done}",
        f"failed {moment.failed}",
        f"{numbers.speed:.1f}/s",
    ]
    return "  ".join(parts)


def as_screen(numbers, where, most):
    """All numbers for a terminal. most is the greatest number of messages that has waited so far."""
    history, moment = numbers.history, numbers.moment
    head = Table.grid(padding=(0, 3))
    head.add_row("sent", "Ready", "Unacked", "running", "done", "failed", "speed", style="dim")
    head.add_row(
        str(numbers.sent),
        known(moment.ready),
        known(moment.unacked),
        str(moment.running),
        str(moment.done),
        Text(str(moment.failed), style="red" if moment.failed else ""),
        f"{numbers.speed:.1f}/s",
        style="dim" if history.answers is False else "",
    )
    rows = Table.grid(padding=(0, 2))
    for queue, ready in sorted(history.ready.items())[:ROWS]:
        bar = Bar(max(most, 1), 0, ready, width=BAR, color="bright_black")
        rows.add_row("queue", named(queue), bar, f"{ready} Ready")
    for worker, processes in sorted(history.pools.items())[:ROWS]:
        busy = sum(attempt.worker == worker for attempt in history.running.values())
        size = max(len(processes), busy)
        units = Text("■" * min(busy, UNITS), style="blue") + Text("□" * (min(size, UNITS) - min(busy, UNITS)))
        said = counted(len(processes), "thread" if processes[:1] == [None] else "process")
        rows.add_row("worker", named(worker), units, f"{said}, {busy} busy")
    if (hidden := len(history.pools) - ROWS) > 0:
        rows.add_row("", f"and {hidden} workers more")
    lines = [Text(f"{where}   {shown(numbers.elapsed)}", style="bold"), head]
    lines += [rows] if rows.row_count else []
    lines.append(Text(averages(numbers), style="dim"))
    if numbers.burst:
        lines.append(progress(numbers))
    lines += [Text(printable(remark), style="yellow") for remark in numbers.remarks]
    if history.unread:
        lines.append(Text(unread(history), style="dim"))
    for begin, _, fault in history.faults[-2:]:
        lines.append(Text(f"after {shown(begin - history.begin)}: {printable(fault)}", style="red"))
    if numbers.trouble:
        lines.append(Text(printable(numbers.trouble, TROUBLE), style="red"))
    return Group(*lines)


def named(name):
    """A name from elsewhere: no markup, no control sequences, and no longer than there is room."""
    return Text(printable(name, 40))


def averages(numbers):
    if numbers.worked.value is None:
        return "no prediction has ended yet"
    waited = "" if numbers.waited.value is None else f"waited {shown(numbers.waited.value)}, and "
    return f"a prediction {waited}worked {shown(numbers.worked.value)}, on average"


def unread(history):
    return f"{counted(history.unread, 'event')} could not be read"


def progress(numbers):
    burst = numbers.burst
    line = Table.grid(padding=(0, 2))
    left = f"about {shown(numbers.remaining)} left" if numbers.remaining else "estimating …"
    bar = Bar(burst.number, 0, burst.finished, width=BAR, color="blue")
    line.add_row(bar, f"{burst.finished} of {burst.number} finished", left if burst.finished < burst.number else "")
    return line


class Screen:
    """Shows Numbers: in place where there is a terminal, otherwise as a line each second in which one has changed."""

    def __init__(self, numbers, where):
        self._numbers, self._where, self._most = numbers, where, 1
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._in_place = self._console.is_terminal and not self._console.is_dumb_terminal
        self._line, self._due, self._said = None, 0, []

    def __enter__(self):
        if self._in_place:
            self._live.start()
        return self

    def __exit__(self, error, *_):
        if error and self._in_place:  # Ctrl-C has moved the cursor: leave what is there
            self._numbers.look()
        else:
            self.show(last=True)
        self._live.stop()

    def show(self, last=False):
        self._numbers.look()
        self._most = max([self._most, *self._numbers.history.ready.values()])
        if self._in_place:
            self._live.update(as_screen(self._numbers, self._where, self._most), refresh=True)
        elif last or time.monotonic() > self._due:
            self._due = time.monotonic() + LINE
            line = as_line(self._numbers)
            if line[7:] != self._line or last:  # but for the time
                self._line = line[7:]
                print(line, flush=True)
            said = [printable(one, TROUBLE) for one in [*self._numbers.remarks, self._numbers.trouble] if one]
            for one in said:
                if one not in self._said:
                    print(one, flush=True)
            self._said = said
            if last:
                print(averages(self._numbers))
                if self._numbers.history.unread:
                    print(unread(self._numbers.history))


def follow(recording, where, burst=None, heed=lambda: None):
    """Show what happens, and return whether the burst is over: Ctrl-C ends this before.

    heed() raises KeyboardInterrupt when Ctrl-C came in a moment in which Python could not.
    """
    numbers = Numbers(recording, burst)
    with suppress(KeyboardInterrupt), Screen(numbers, where) as screen:
        while burst is None or not burst.is_over(recording.history):
            heed()
            screen.show()
            if burst and not burst.began and numbers.is_ready:
                burst.start(numbers.moment.ready + (numbers.moment.unacked or 0))
            time.sleep(LOOK)
        wait_until(lambda: heed() or screen.show() or numbers.is_settled, LAST, LOOK)
        return True
    return False
