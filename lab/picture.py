"""One picture of what happened: how the queue filled, the pool grew, and the work spread over its processes."""

from bisect import bisect
from collections import defaultdict
from dataclasses import dataclass, field

import numpy
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lab.follow import ROLL_CALL

WIDTH = 10  # inches; at DPI, the width of a README
DPI = 120
LEAD = 0.5  # seconds before the first prediction
MARKS = 40  # changes of the pool's size that there is room to write to
LETTER = 0.0065  # width of a letter, as a share of the picture's
EDGE = 6  # columns that a bar has at least, to be given an edge
COLUMNS = 1000  # of the picture: between two of them nobody can tell bars apart
ROW, LEAST = 0.22, 3  # inches of a row, and of all rows
MOST = 24  # inches of all rows
WAITING, EXISTS, POOL, HELD, FAULT = "#9a9a9a", "#e8eef5", "#2a2a2a", "#f0a63c", "#d1342f"
COLOURS = {"working": "#3b75af", "tried again later": "#e8923a", "failed, or cut off": "#d1342f"}
WORKING = COLOURS["working"]
OUTCOMES = {"retried": "tried again later"} | dict.fromkeys(["failed", "lost", "returned"], "failed, or cut off")


def colour_of(attempt):
    return COLOURS[OUTCOMES.get(attempt.outcome, "working")]


@dataclass
class Row:
    """What one process did, and those after it whose lives do not overlap with its own."""

    processes: list = field(default_factory=list)
    lives: list = field(default_factory=list)  # (begin, end)
    attempts: list = field(default_factory=list)
    free: float = 0.0

    @property
    def label(self):
        if len(self.processes) > 2:
            return f"{len(self.processes)} processes"
        return f"process {', '.join(map(str, self.processes))}" if self.processes else "not seen"


def attempts(history):
    """All Attempts that began, in this order."""
    began = [one for one in [*history.ended, *history.running.values()] if one.started]
    return sorted(began, key=lambda one: one.started)


def lives(history):
    """{worker: [(begin, end, process)]}, by begin: from when a process was first seen, or worked, to the last."""
    first, last = {}, {}
    for one in attempts(history):
        first.setdefault((one.worker, one.process), one.started)
        last[one.worker, one.process] = one.ended or history.now
    begins, found = {}, defaultdict(list)
    for time, worker, processes in [*history.sizes, *((history.now, worker, []) for worker in history.pools)]:
        before = {key for key in begins if key[0] == worker}
        now = {(worker, process) for process in processes if process}
        is_first = not (found[worker] or before) and time < history.begin + ROLL_CALL
        seen = history.begin if is_first else time  # the first to be seen were there before
        begins |= {key: min(seen, first.get(key, seen)) for key in now - before}
        for key in before - now:  # whoever takes its place may have begun before it was seen that this one had ended
            end = min([time, *(begins[newcomer] for newcomer in now - before)])
            found[worker].append((begins.pop(key), max(end, last.get(key, end)), key[1]))
    return {worker: sorted(those) for worker, those in found.items() if those}


def rows(history):
    """{worker: [Row]}: an attempt whose process nobody saw is in a row that had room for it."""
    found, of_process = defaultdict(list), {}
    for worker, those in lives(history).items():
        for begin, end, process in those:
            row = next((row for row in found[worker] if row.lives[-1][1] <= begin), None)
            if row is None:
                found[worker].append(row := Row())
            row.processes.append(process)
            row.lives.append((begin, end))
            of_process[worker, process] = row
    taken = defaultdict(list)  # row: when the attempts in it begin whose process was seen
    began = attempts(history)
    for one in began:
        if row := of_process.get((one.worker, one.process)):
            taken[id(row)].append(one.started)
    for one in began:
        end = one.ended or history.now
        row = of_process.get((one.worker, one.process))
        if row is None:
            free = [row for row in found[one.worker] if has_room(row, taken[id(row)], one.started, end)]
            row = min(free, key=lambda row: row.free, default=None)  # the one that has idled longest
        if row is None:
            found[one.worker].append(row := Row())
        row.attempts.append(one)
        row.free = end
    return dict(sorted(found.items()))


def has_room(row, begins, begin, end):
    upcoming = bisect(begins, begin)
    return row.free <= begin and (upcoming == len(begins) or begins[upcoming] >= end)


def merged(spans, gap):
    """Spans (begin, end), by begin; those less than a gap apart are one."""
    found = []
    for begin, end in spans:
        if found and begin - found[-1][1] < gap:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([begin, end])
    return found


def first_sign(history):
    """When the first prediction was sent, or heard of."""
    those = [*history.ended, *history.open.values()]
    times = [time for one in those for time in (one.sent, one.received, one.started, one.ended) if time]
    return min(times, default=history.begin)


def draw(history, path):
    """Draw a History into path, as .svg and as .png, and return both paths. Its clock begins with the History."""
    start = max(history.begin, first_sign(history) - LEAD)
    end = max(history.now, start + 1)
    groups = rows(history)
    height = min(max(LEAST, ROW * sum(map(len, groups.values()))), MOST)
    with rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "lab"}):
        figure = Figure(figsize=(WIDTH, height + 3), dpi=DPI, layout="constrained")
        queue, pool, work = figure.subplots(3, sharex=True, height_ratios=[1.6, 1, height])
        draw_queue(queue, history)
        draw_pool(pool, groups, start, end)
        draw_rows(work, groups, history, start, end)
        draw_faults((queue, pool, work), history, start, end)
        work.set_xlim(start, end)
        work.xaxis.set_major_formatter(lambda time, _: f"{time - history.begin:g}")
        work.xaxis.set_major_locator(Seconds(history.begin))
        work.set_xlabel("seconds")
        paths = [path.with_suffix(suffix) for suffix in (".svg", ".png")]
        for one in paths:
            figure.savefig(one, metadata={"Date": None} if one.suffix == ".svg" else None)
    return paths


class Seconds(MaxNLocator):
    """Round numbers of seconds since a time."""

    def __init__(self, begin):
        super().__init__(10, steps=[1, 2, 5, 10])
        self._begin = begin

    def tick_values(self, vmin, vmax):
        return super().tick_values(vmin - self._begin, vmax - self._begin) + self._begin


def draw_queue(panel, history):
    times = [time for time, _, _ in history.counts]
    ready = [ready for _, ready, _ in history.counts]
    panel.fill_between(times, ready, step="post", color=WAITING, linewidth=0, label="Ready: messages in the queue")
    held = [(time, unacked) for time, _, unacked in history.counts if unacked is not None]
    if held:
        panel.step(*zip(*held, strict=True), where="post", color=HELD, linewidth=1.5, label="Unacked: held by workers")
    panel.set_ylim(0, max([1, *ready, *(unacked for _, unacked in held)]) * 1.05)
    panel.set_ylabel("messages")
    panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)


def draw_faults(panels, history, start, end):
    """A line at each fault, or a band as long as it lasts, and what it was; no text lies on another."""
    levels = []  # where the text on each of them ends
    for begin, finish, what in history.faults:
        for panel in panels:
            panel.axvspan(begin, finish or end, color=FAULT, alpha=0.15, linewidth=0)
            panel.axvline(begin, color=FAULT, linestyle="--", linewidth=1)
        place = min((begin - start) / (end - start), 1 - LETTER * len(what))
        level = next((level for level, taken in enumerate(levels) if taken <= place), len(levels))
        levels[level : level + 1] = [place + LETTER * len(what)]
        where = (max(place, 0), 1 - 0.14 * (level + 1))
        panels[0].annotate(what, where, xycoords="axes fraction", color=FAULT, va="bottom", fontsize=8)


def draw_pool(panel, groups, start, end):
    """The number of pool processes as steps, with each change written to it."""
    lives = [life for rows in groups.values() for row in rows for life in row.lives]
    changes = sorted([(begin, 1) for begin, _ in lives] + [(finish, -1) for _, finish in lives if finish < end])
    times, sizes, marks = [start], [sum(change for time, change in changes if time <= start)], []
    for time, change in changes:
        if time > start:
            if marks and time - marks[-1][0] < (end - start) / MARKS:
                marks[-1][2] += change
            else:
                marks.append([time, sizes[-1], sizes[-1] + change])
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


def draw_rows(panel, groups, history, start, end):
    """A row for each process: when it was there, what it did, and, below, when something waited that it did later."""
    place, ticks, labels, drawn, shaded = 0, [], [], set(), 0
    gap = (end - start) / COLUMNS
    for worker, those in groups.items():
        panel.annotate(worker, (0, place - 0.6), xycoords=("axes fraction", "data"), fontweight="bold", fontsize=9)
        for row in those:
            ticks.append(place)
            labels.append(row.label)
            bars(panel, row.lives, place, 0.9, EXISTS)
            for colour in COLOURS.values():
                spans = [(one.started, one.ended or history.now) for one in row.attempts if colour_of(one) == colour]
                drawn |= {colour} if spans else set()
                if colour == WORKING and len(spans) > COLUMNS:
                    shades(panel, spans, place, start, end)
                    shaded += len(spans)
                else:
                    short = [(begin, begin + gap) for begin, finish in spans if finish - begin <= EDGE * gap]
                    bars(panel, merged(short, gap), place, 0.6, colour)
                    long = [(begin, finish) for begin, finish in spans if finish - begin > EDGE * gap]
                    bars(panel, long, place, 0.6, colour, edgecolor="white", linewidth=0.5)
            waits = sorted((one.sent, one.started) for one in row.attempts if one.sent)
            bars(panel, merged(waits, gap), place + 0.38, 0.12, WAITING)
            place += 1
        place += 1
    panel.set_yticks(ticks, labels, fontsize=7)
    panel.set_ylim(max(place, 2) - 1.2, -1.2)
    for name, colour in COLOURS.items():
        if colour in drawn:
            panel.plot([], [], color=colour, linewidth=6, label=name)
    panel.plot([], [], color=WAITING, linewidth=2, label="waiting for it to begin")
    panel.plot([], [], color=EXISTS, linewidth=8, label="the process is there")
    panel.figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    notes = []
    if shaded:
        notes.append(f"{shaded} predictions are too many for a bar each: the darker, the more of the time they worked")
    if unseen := sum(one.process is None for those in groups.values() for row in those for one in row.attempts):
        notes.append(f"of {unseen} nobody saw the process: they are drawn where there was room")
    panel.set_title("\n".join(notes), fontsize=8, loc="right")


def bars(panel, spans, place, height, colour, **edge):
    lengths = [(begin, end - begin) for begin, end in spans]
    panel.broken_barh(lengths, (place - height / 2, height), **{"color": colour, "linewidth": 0} | edge)


def shades(panel, spans, place, start, end):
    """Many bars as one row of columns, each the darker the more of its time is covered."""
    column = (end - start) / COLUMNS
    covered = numpy.zeros(COLUMNS)
    for begin, finish in spans:
        first, last = ((time - start) / column for time in (begin, finish))
        for number in range(max(int(first), 0), min(int(last), COLUMNS - 1) + 1):
            covered[number] += min(last, number + 1) - max(first, number)
    colours = LinearSegmentedColormap.from_list("work", [EXISTS, WORKING])
    extent = (start, end, place + 0.3, place - 0.3)
    options = {"extent": extent, "aspect": "auto", "interpolation": "nearest", "zorder": 1.5}
    panel.imshow(covered[None], cmap=colours, vmin=0, vmax=1, **options)
