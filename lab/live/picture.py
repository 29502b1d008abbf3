"""One picture of what happened: how the queue filled, the pool grew, and the work spread over its processes."""

import warnings
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import RcKeyType

from lab.fault import printable
from lab.live.follow import ROLL_CALL
from lab.live.history import Attempt, History

WIDTH = 10  # inches; at DPI, the width of a README
DPI = 120
LEAD = 0.01  # of the picture's width: before the first message, and after the last thing that happened
MARKS = 16  # changes of the pool's size that there is room to write down
INCIDENTS = 40  # that are drawn
LETTER = 0.0065  # width of a letter, as a share of the picture's
EDGE = 6  # a bar with fewer columns gets no edge
COLUMNS = 1000  # of the picture: bars that are closer cannot be told apart
ROW, LEAST = 0.22, 3  # inches of a row, and of all rows
MOST = 24  # inches of all rows
ROWS = 120  # that are drawn
LABEL = 60  # letters of a name
WAITING, EXISTS, POOL, HELD, INCIDENT = "#9a9a9a", "#e8eef5", "#2a2a2a", "#f0a63c", "#d1342f"
COLOURS = {"working": "#3b75af", "tried again later": "#e8923a", "failed or interrupted": "#d1342f"}
LEGEND = {colour: (name, 6) for name, colour in COLOURS.items()}
LEGEND |= {WAITING: ("still queued: this process will run it later", 2), EXISTS: ("the process exists", 8)}
STYLE: dict[RcKeyType, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "lab",
    "svg.fonttype": "none",  # letters as letters
    "text.parse_math": False,  # $ is one of them
}
ABOVE: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "va": "bottom", "ha": "left", "fontsize": 8}
OUTCOMES = {"retried": "tried again later"} | dict.fromkeys(["failed", "lost", "returned"], "failed or interrupted")

Span = tuple[float, float]  # begin and end, seconds since 1970


class Work(NamedTuple):
    """An Attempt that began: at which worker, and until when; now, if it has not ended."""

    begin: float
    end: float
    worker: str
    attempt: Attempt

    @property
    def colour(self) -> str:
        return COLOURS[OUTCOMES.get(self.attempt.outcome or "", "working")]


class Life(NamedTuple):
    """From when to when a process of a worker's pool was there."""

    begin: float
    end: float
    process: int


@dataclass
class Row:
    """What one process did, and later processes that lived after it."""

    lives: list[Life] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    free: float = 0.0  # since when

    @property
    def processes(self) -> list[int]:
        return [life.process for life in self.lives]

    @property
    def label(self) -> str:
        if len(self.lives) > 2:
            return f"{len(self.lives)} processes"
        return f"process {', '.join(map(str, self.processes))}" if self.lives else "not seen"


def works(history: History) -> list[Work]:
    """All that began, in this order."""
    found = [
        Work(one.started, one.ended or history.now, one.worker, one)
        for one in [*history.ended, *history.running.values()]
        if one.started and one.worker
    ]
    return sorted(found, key=lambda work: work.begin)


def lives(history: History) -> dict[str, list[Life]]:
    """The Lives of each worker's processes, by begin: from the first to the last time that each was seen or worked."""
    first: dict[tuple[str, int | None], float] = {}
    last: dict[tuple[str, int | None], float] = {}
    for begin, end, worker, attempt in works(history):
        first.setdefault((worker, attempt.process), begin)
        last[worker, attempt.process] = end
    there: defaultdict[str, dict[int, float]] = defaultdict(dict)  # {worker: {process: begin}}
    found: defaultdict[str, list[Life]] = defaultdict(list)
    for time, worker, processes in [*history.sizes, *((history.now, worker, []) for worker in history.pools)]:
        begins, now = there[worker], {process for process in processes if process}
        before = set(begins)
        is_first = not (found[worker] or before) and time < history.begin + ROLL_CALL
        seen = history.begin if is_first else time  # the first to be seen were there before
        begins |= {process: min(seen, first.get((worker, process), seen)) for process in now - before}
        newest = min((begins[process] for process in now - before), default=time)
        for process in before - now:
            # The process that replaces it may have begun before this one was seen to have ended.
            end = min(time, newest)
            found[worker].append(Life(begins.pop(process), max(end, last.get((worker, process), end)), process))
    return {worker: sorted(those) for worker, those in found.items() if those}


def rows(history: History) -> dict[str, list[Row]]:
    """The Rows of each worker: at most ROWS in all, first those of the busiest workers.

    An attempt whose process is unknown is in a row that has room for it.
    """
    found: defaultdict[str, list[Row]] = defaultdict(list)
    of_process: dict[tuple[str, int | None], Row] = {}
    number, began = 0, works(history)
    busy = Counter(work.worker for work in began)

    def new_row(worker: str) -> Row | None:
        nonlocal number
        number += 1
        if number <= ROWS:
            found[worker].append(Row())
            return found[worker][-1]
        return None

    for worker, those in sorted(lives(history).items(), key=lambda item: -busy[item[0]]):
        for life in those:
            row = next((row for row in found[worker] if row.lives[-1].end <= life.begin), None) or new_row(worker)
            if row:
                row.lives.append(life)
                of_process[worker, life.process] = row
    taken: defaultdict[int, list[float]] = defaultdict(list)  # row: when that begins whose process was seen
    for work in began:
        if row := of_process.get((work.worker, work.attempt.process)):
            taken[id(row)].append(work.begin)
    for work in began:
        row = of_process.get((work.worker, work.attempt.process))
        if row is None:
            free = [row for row in found[work.worker] if has_room(row, taken[id(row)], work)]
            idle_longest = min(free, key=lambda row: row.free, default=None)
            row = idle_longest or new_row(work.worker)
        if row:
            row.works.append(work)
            row.free = work.end
    return {worker: those for worker, those in sorted(found.items()) if those}


def has_room(row: Row, begins: list[float], work: Work) -> bool:
    """Whether nothing else was done in a row meanwhile. begins is when its process was seen to begin something."""
    upcoming = bisect(begins, work.begin)
    return row.free <= work.begin and (upcoming == len(begins) or begins[upcoming] >= work.end)


def merged(spans: Iterable[Span], gap: float) -> list[Span]:
    """Spans, by begin; those less than a gap apart are one."""
    found: list[Span] = []
    for begin, end in spans:
        if found and begin - found[-1][1] < gap:
            begin, end = found[-1][0], max(found.pop()[1], end)
        found.append((begin, end))
    return found


def first_sign(history: History) -> tuple[float, bool]:
    """When the first prediction was sent, and True; or, if unknown, when it was first heard of, and False."""
    those = [*history.ended, *history.open.values()]
    heard = [time for one in those for time in (one.received, one.started, one.ended) if time]
    sent = min((one.sent for one in those if one.sent), default=None)
    return (sent, True) if sent else (min(heard, default=history.begin), False)


def last_end(history: History) -> float | None:
    """When the last prediction ended; None while one still runs or waits."""
    ends = [one.ended for one in history.ended if one.ended]
    return None if history.open or history.running else max(ends, default=None)


Count = tuple[float, int, int | None]  # time, ready, unacked


def true_counts(history: History) -> list[Count]:
    """What the broker counted, at the times when it had become so."""
    counts, last = history.counts, last_end(history)
    after = bisect(counts, last, key=lambda count: count[0]) if last else len(counts)
    if last and after < len(counts) and counts[after][2] == 0:  # the broker said so later, but it was true since then
        counts = [*counts[:after], (last, *counts[after][1:]), *counts[after:]]
    return [
        count for before, count in zip([None, *counts], counts, strict=False) if not before or before[1:] != count[1:]
    ]


def last_sign(history: History, counts: list[Count]) -> float:
    """When the last thing happened."""
    changes = [last_end(history) or history.now, *(time for time, _, _ in [*counts, *history.sizes])]
    return max([*changes, *(time for _, finish, _ in history.incidents for time in [finish or history.now])])


def draw(history: History, path: Path) -> tuple[Path, Path]:
    """Draw a History into path, as .svg and as .png, and return both paths. Its clock begins with the first message."""
    zero, is_sent = first_sign(history)
    counts = true_counts(history)
    last = max(last_sign(history, counts), zero + 1)
    lead = LEAD * (last - zero)
    start, end = zero - lead, last + lead
    groups = rows(history)
    height = min(max(LEAST, ROW * sum(map(len, groups.values()))), MOST)
    with rc_context(STYLE), warnings.catch_warnings(action="ignore"):  # of letters that no font here has
        figure = Figure(figsize=(WIDTH, height + 3), dpi=DPI, layout="constrained")
        queue, pool, work = figure.subplots(3, sharex=True, height_ratios=[1.6, 1, height])
        draw_queue(queue, counts, start, end)
        draw_pool(pool, history, start, end)
        draw_rows(work, groups, history, start, end)
        draw_incidents((queue, pool, work), history, start, end)
        for panel in (queue, pool, work):
            panel.axvline(zero, color=POOL, linestyle=":", linewidth=1)
        queue.annotate("first message sent" if is_sent else "first sign of a message", (zero, 1.02), **ABOVE)
        work.set_xlim(start, end)
        work.xaxis.set_major_formatter(lambda time, _: f"{time - zero:g}")
        work.xaxis.set_major_locator(Seconds(zero))
        work.set_xlabel("seconds")
        paths = path.with_suffix(".svg"), path.with_suffix(".png")
        for one in paths:
            figure.savefig(one, metadata={"Date": None} if one.suffix == ".svg" else None)
    return paths


class Seconds(MaxNLocator):
    """Round numbers of seconds since a time."""

    def __init__(self, begin: float):
        super().__init__(10, steps=[1, 2, 5, 10])
        self._begin = begin

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        return [time + self._begin for time in super().tick_values(vmin - self._begin, vmax - self._begin)]


def draw_queue(panel: Axes, counts: list[Count], start: float, end: float) -> None:
    column = (end - start) / COLUMNS
    columns: dict[int, Count] = {}
    for count in counts:  # of those in one column of the picture, the greatest
        place = int((count[0] - start) // column)
        columns[place] = max(columns.get(place, (0, -1, 0)), count, key=lambda one: one[1] + (one[2] or 0))
    counts = sorted(columns.values())
    counts += [(end, *counts[-1][1:])] if counts else []
    ready = [ready for _, ready, _ in counts]
    if counts:
        options: dict[str, Any] = {"step": "post", "color": WAITING, "linewidth": 0}
        options["label"] = "Ready: messages in the queue"
        panel.fill_between([time for time, _, _ in counts], ready, **options)
    held = [(time, unacked) for time, _, unacked in counts if unacked is not None]
    if held:
        panel.step(*zip(*held, strict=True), where="post", color=HELD, linewidth=1.5, label="Unacked: held by workers")
    panel.set_ylim(0, max([1, *ready, *(unacked for _, unacked in held)]) * 1.05)
    panel.set_ylabel("messages")
    panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    if counts:
        panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)


def draw_incidents(panels: Sequence[Axes], history: History, start: float, end: float) -> None:
    """A line at each incident, or a band as long as it lasts, and what it was; no text covers another."""
    levels: list[float] = []  # where the text on each of them ends
    for begin, finish, what in sorted(history.incidents, key=lambda incident: incident[0])[:INCIDENTS]:
        what = printable(what, LABEL)
        for panel in panels:
            panel.axvspan(begin, finish or end, color=INCIDENT, alpha=0.15, linewidth=0)
            panel.axvline(begin, color=INCIDENT, linestyle="--", linewidth=1)
        place = min((begin - start) / (end - start), 1 - LETTER * len(what))
        level = next((level for level, taken in enumerate(levels) if taken <= place), len(levels))
        levels[level : level + 1] = [place + LETTER * len(what)]
        where = (max(place, 0), 1 - 0.14 * (level + 1))
        panels[0].annotate(what, where, xycoords="axes fraction", color=INCIDENT, va="bottom", fontsize=8)


def draw_pool(panel: Axes, history: History, start: float, end: float) -> None:
    """The number of pool processes as steps, with each change written beside it."""
    there = [life for those in lives(history).values() for life in those]
    ended = [(life.end, -1) for life in there if life.end < min(end, history.now)]
    changes = sorted([(life.begin, 1) for life in there] + ended)
    times, sizes = [start], [sum(change for time, change in changes if time <= start)]
    marks: list[tuple[float, int, int]] = []  # time, size before, size after
    for time, change in changes:
        if time > start:
            if marks and time - marks[-1][0] < (end - start) / MARKS:
                marks[-1] = *marks[-1][:2], marks[-1][2] + change
            else:
                marks.append((time, sizes[-1], sizes[-1] + change))
            times.append(time)
            sizes.append(sizes[-1] + change)
    for time, before, after in marks:
        if before and after != before:
            text = f"{'▲' if after > before else '▼'} {before} → {after}"
            side = "left" if time < (start + end) / 2 else "right"
            panel.annotate(text, (time, max(before, after)), va="bottom", ha=side, fontsize=8)
    panel.step([*times, end], [*sizes, sizes[-1]], where="post", color=POOL, linewidth=1.5)
    panel.set_ylim(0, max(sizes) * 1.35 + 1)
    panel.set_ylabel("processes")
    panel.yaxis.set_major_locator(MaxNLocator(3, integer=True))


def draw_rows(panel: Axes, groups: dict[str, list[Row]], history: History, start: float, end: float) -> None:
    """A row for each process: when it existed, what it ran, and, as a grey line below, when that was still queued."""
    place, shaded = 0, 0
    ticks: list[float] = []
    labels: list[str] = []
    drawn: set[str] = set()
    is_marked = False
    gap = (end - start) / COLUMNS
    for worker, those in groups.items():
        where = (0, place - 0.6)
        name = printable(worker, LABEL)
        panel.annotate(name, where, xycoords=("axes fraction", "data"), fontweight="bold", fontsize=9)
        for row in those:
            ticks.append(place)
            labels.append(row.label)
            bars(panel, merged([life[:2] for life in row.lives], gap), place, 0.9, EXISTS)
            drawn |= {EXISTS} if row.lives else set()
            for colour in COLOURS.values():
                spans = [(work.begin, work.end) for work in row.works if work.colour == colour]
                drawn |= {colour} if spans else set()
                if len(spans) > COLUMNS:
                    shades(panel, spans, place, colour, start, end)
                    shaded += len(spans)
                else:
                    short = [(begin, begin + gap) for begin, finish in spans if finish - begin <= EDGE * gap]
                    bars(panel, merged(short, gap), place, 0.6, colour)
                    long = [(begin, finish) for begin, finish in spans if finish - begin > EDGE * gap]
                    bars(panel, long, place, 0.6, colour, edge=0.5)
            marked = [(work.begin, work.end) for work in row.works if work.attempt.id == history.marked]
            bars(panel, marked, place, 0.8, "none", edge=2, edge_colour=POOL)
            is_marked = is_marked or bool(marked)
            sent = [(work.attempt.sent, work.begin) for work in row.works]
            waits = sorted((time, begin) for time, begin in sent if time and time < begin)
            bars(panel, merged(waits, gap), place + 0.38, 0.12, WAITING)
            drawn |= {WAITING} if waits else set()
            place += 1
        place += 1
    panel.set_yticks(ticks, labels, fontsize=7)
    panel.set_ylim(max(place, 2) - 1.2, -1.2)
    for colour, (name, width) in LEGEND.items():
        if colour in drawn:
            panel.plot([], [], color=colour, linewidth=width, label=name)
    if is_marked:
        name = printable(history.marked, LABEL)
        panel.fill_between([], [], facecolor="none", edgecolor=POOL, linewidth=2, label=name)
    panel.figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    notes = []
    if shaded:
        notes.append(f"{shaded} predictions are too many for a bar each: the darker, the busier")
    shown = [work.attempt for those in groups.values() for row in those for work in row.works]
    if left := len(works(history)) - len(shown):
        notes.append(f"there is no room for the processes of {left} more predictions")
    if unseen := sum(one.process is None for one in shown):
        notes.append(f"predictions whose process is unknown, drawn where there was room: {unseen}")
    panel.set_title("\n".join(notes), fontsize=8, loc="right")


def bars(
    panel: Axes,
    spans: list[Span],
    place: float,
    height: float,
    colour: str,
    edge: float = 0,
    edge_colour: str = "white",
) -> None:
    """Draw spans as bars around a place; edge is the width of their edges, in points."""
    lengths = [(begin, end - begin) for begin, end in spans]
    panel.broken_barh(lengths, (place - height / 2, height), facecolor=colour, edgecolor=edge_colour, linewidth=edge)


def shades(panel: Axes, spans: list[Span], place: float, colour: str, start: float, end: float) -> None:
    """Many bars as one row of columns: the more of its time is covered, the darker a column is."""
    columns = numpy.linspace(0, end - start, COLUMNS + 1)
    begins, ends = (numpy.sort([span[side] - start for span in spans]) for side in (0, 1))
    covered = numpy.diff(since(begins, columns) - since(ends, columns)) * COLUMNS / (end - start)
    colours = LinearSegmentedColormap.from_list("work", [EXISTS, colour])
    extent = (start, end, place + 0.3, place - 0.3)
    options: dict[str, Any] = {"extent": extent, "aspect": "auto", "interpolation": "nearest", "zorder": 1.5}
    panel.imshow(covered[None], cmap=colours, vmin=0, vmax=1, **options)


def since(times: numpy.ndarray, columns: numpy.ndarray) -> numpy.ndarray:
    """At each column, the sum of the seconds since each of these times."""
    before = numpy.searchsorted(times, columns)
    return before * columns - numpy.concatenate([[0], numpy.cumsum(times)])[before]
