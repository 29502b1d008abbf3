"""The live view: the numbers of what happens, on one screen."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lab.fault import counted, printable
from lab.live.burst import Burst
from lab.live.history import History
from lab.live.numbers import LOOK, Numbers, shown
from lab.live.recording import Recording
from lab.probe.address import Address
from lab.probe.wait import wait_until

LINE = 1  # seconds between two lines, where there is no terminal
LAST = 2  # seconds after a burst in which the broker may count that Unacked is 0
BAR = 24  # columns of a bar
UNITS = 40  # processes of a pool that are drawn one by one
TROUBLE = 500  # characters of a sentence about what stops the predictions
ROWS = 20  # queues, and workers, that are shown


def known(number: int | None) -> str:
    return "–" if number is None else str(number)


def as_line(numbers: Numbers) -> str:
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


def as_screen(numbers: Numbers, where: Address, most: int) -> Group:
    """All numbers for a terminal. most is the largest number of messages that has waited so far."""
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
        rows.add_row("worker", named(worker), units, f"{said if processes else 'answers nothing'}, {busy} busy")
    if (hidden := len(history.pools) - ROWS) > 0:
        rows.add_row("", f"and {hidden} more workers")
    lines: list[RenderableType] = [Text(f"{where}   {shown(numbers.elapsed)}", style="bold"), head]
    lines += [rows] if rows.row_count else []
    lines.append(Text(averages(numbers), style="dim"))
    if numbers.burst:
        lines.append(progress(numbers.burst, numbers.remaining))
    lines += [Text(printable(remark), style="yellow") for remark in numbers.remarks]
    if history.unread:
        lines.append(Text(unread(history), style="dim"))
    for begin, _, what in history.incidents[-2:]:
        lines.append(Text(f"after {shown(begin - history.begin)}: {printable(what)}", style="red"))
    if numbers.trouble:
        lines.append(Text(printable(numbers.trouble, TROUBLE), style="red"))
    return Group(*lines)


def named(name: str) -> Text:
    """A name from elsewhere, without markup and control sequences, cut to the room that there is."""
    return Text(printable(name, 40))


def averages(numbers: Numbers) -> str:
    if numbers.worked.value is None:
        return "no prediction has finished yet"
    waited = "" if numbers.waited.value is None else f"waited {shown(numbers.waited.value)} and "
    return f"on average, a prediction {waited}ran for {shown(numbers.worked.value)}"


def unread(history: History) -> str:
    return f"{counted(history.unread, 'event')} could not be read"


def progress(burst: Burst, remaining: float | None) -> Table:
    """A bar, how many of a burst have finished, and how many seconds remain."""
    line = Table.grid(padding=(0, 2))
    left = f"about {shown(remaining)} left" if remaining else "estimating …"
    bar = Bar(burst.number, 0, burst.finished, width=BAR, color="blue")
    line.add_row(bar, f"{burst.finished} of {burst.number} finished", left if burst.finished < burst.number else "")
    return line


class Screen:
    """Shows Numbers: in place in a terminal; otherwise as a line, each second in which a number has changed."""

    def __init__(self, numbers: Numbers, where: Address):
        self._numbers, self._where, self._most = numbers, where, 1
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._in_place = self._console.is_terminal and not self._console.is_dumb_terminal
        self._line, self._due = "", 0.0
        self._said: list[str] = []

    def __enter__(self) -> Self:
        if self._in_place:
            self._live.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error and self._in_place:  # Ctrl-C has moved the cursor: leave what is there
            self._numbers.look()
        else:
            self.show(last=True)
        self._live.stop()

    def show(self, last: bool = False) -> None:
        self._numbers.look()
        self._most = max([self._most, *self._numbers.history.ready.values()])
        if self._in_place:
            self._live.update(as_screen(self._numbers, self._where, self._most), refresh=True)
        elif last or time.monotonic() > self._due:
            self._due = time.monotonic() + LINE
            line = as_line(self._numbers)
            if line[7:] != self._line or last:  # the time does not count
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


def show_live(recording: Recording, where: Address, heed: Callable[[], None], burst: Burst | None = None) -> bool:
    """Show what happens, and return whether the burst has finished: Ctrl-C ends this earlier.

    heed() raises KeyboardInterrupt if Ctrl-C came at a moment when Python could not raise it.
    """
    numbers = Numbers(recording, burst)

    def is_settled() -> bool:
        heed()
        screen.show()
        return numbers.is_settled

    with suppress(KeyboardInterrupt), Screen(numbers, where) as screen:
        while burst is None or not burst.is_finished(recording.history):
            heed()
            screen.show()
            if burst and not burst.began and numbers.is_ready:
                burst.start(numbers.moment.there)
            time.sleep(LOOK)
        wait_until(is_settled, LAST, LOOK)
        return True
    return False
