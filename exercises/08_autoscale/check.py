"""Does the worker's pool scale between 2 and 10 processes, and has a burst of the student's made it grow?"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psutil

from lab.course.kit import Desk, Fault, History, Wrong, counted, is_of_a_check

MOST, LEAST = 10, 2
RUNS = Path(".lab/runs")  # where `burst` and `view` write down what they saw
FAST = 0.5  # seconds; predictions as short as this can finish before the pool has grown
# Pools that cannot grow, whatever `--autoscale` says: a worker with threads would end.
FIXED = re.compile("solo|thread")
BURST = "In terminal 3: `lab burst 15`"
START_AGAIN = "In terminal 2: Ctrl-C, then `celery -A my_ml_app worker --autoscale=10,2`"


class NoAutoscale(Wrong):
    """{worker} does not scale: its pool always has {processes}."""

    next = START_AGAIN


class OtherLimits(Wrong):
    """{worker} scales from {least} to {most} pool processes, not from 2 to 10."""

    next = f"The larger number comes first, then a comma, then the smaller one, without a space. {START_AGAIN}"


class Swapped(Wrong):
    """{worker} was started with `--autoscale={written}`. Celery has swapped the numbers, and does not say so."""

    next = f"Write the larger number first, because other people read it too. {START_AGAIN}"


class ConcurrencyBeside(Wrong):
    """{worker} was started with a concurrency of {number} and `--autoscale`. Celery ignores the concurrency."""

    next = f"Leave the concurrency out: `--autoscale` alone says how large the pool is. {START_AGAIN}"


class NoBurst(Wrong):
    """{worker} started {seconds} seconds ago. Since then, the lab saw no burst of yours in its pool: it has {now}."""

    next = f"{BURST}. It writes down what happens, and the check reads that"


class NotGrown(Wrong):
    """In your burst, the pool of {worker} had {size} processes at most, not 10: {why}."""

    next = f"{BURST}, with predictions that take a few seconds each"


RECOGNISES = (NoAutoscale, OtherLimits, Swapped, ConcurrencyBeside, NoBurst, NotGrown)


def check(desk: Desk) -> Iterator[str]:
    yield from desk.ready()
    for worker in desk.takers:
        yield f"pool: {scales(worker)}"
    bursts = [(worker, largest_burst(worker)) for worker in desk.takers]
    worker, burst = max(bursts, key=lambda pair: pair[1].size if pair[1] else 0)
    if not burst:
        now = counted(len(worker.processes), "process")
        raise NoBurst(worker=worker.name, seconds=round(worker.stats["uptime"]), now=now)
    if burst.size < MOST:
        raise NotGrown(worker=worker.name, size=burst.size, why=burst.why)
    yield f"burst: {burst}"
    if names := desk.workers_in_flower():
        yield f"Flower: {counted(len(names), 'worker')}, however many processes: {', '.join(names)}"


class SeenBurst:
    """What a record says of a worker and the student's messages; ValueError when it says nothing of them."""

    def __init__(self, worker, history):
        begin = worker.started - 1
        sizes = [(time, len(pool)) for time, name, pool in history.sizes if name == worker.name and time >= begin]
        attempts = [*history.ended, *history.open.values(), *history.running.values()]
        mine = [one for one in attempts if one.worker == worker.name and not is_of_a_check(one.id)]
        self._mine = [one for one in mine if (one.started or one.received or 0) >= begin]
        self.number = len({one.id for one in self._mine})
        self.size = max((size for _, size in sizes), default=0)
        if not (self.number and self.size):
            raise ValueError("nothing of this worker")
        self._grew = next(time for time, size in sizes if size == self.size)

    @property
    def why(self):
        took = [one.ended - one.started for one in self._mine if one.ended and one.started]
        if self.number < MOST + LEAST:
            return f"{self.number} predictions do not need more"
        if took and sum(took) / len(took) < FAST:
            return f"a prediction took {sum(took) / len(took):.2f} s, and finished before another process had started"
        return "they came one after the other, so fewer waited at the same time"

    def __str__(self):
        at = datetime.fromtimestamp(self._grew)
        return f"{self.number} of your predictions; at {at:%H:%M:%S} the pool had grown to {self.size} processes"


def largest_burst(worker):
    """The SeenBurst since a worker's start with the largest pool, the newest of these; None when there is none."""
    found = []
    for path in sorted(RUNS.glob("*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True):
        if path.stat().st_mtime < worker.started:
            break
        with suppress(Fault, ValueError, OSError):
            found.append(SeenBurst(worker, History.read(path)))
    return max(found, key=lambda burst: burst.size, default=None)


def scales(worker):
    """The size of a worker's pool, now and within its limits. Raises what is wrong with them."""
    now = counted(len(worker.processes), "process") if worker.processes else worker.pool
    if not worker.autoscale or FIXED.search(worker.stats["pool"].get("implementation", "")):
        raise NoAutoscale(worker=worker.name, processes=now)
    most, least = worker.autoscale
    if (most, least) != (MOST, LEAST):
        raise OtherLimits(worker=worker.name, least=least, most=most)
    command = command_line(worker)
    limits = re.search(r"--autoscale[= ](\d+),(\d+)", command)
    if limits and int(limits[1]) < int(limits[2]):
        raise Swapped(worker=worker.name, written=f"{limits[1]},{limits[2]}")
    if concurrency := re.search(r" (?:--concurrency[= ]|-c ?)(\w+)", command):
        raise ConcurrencyBeside(worker=worker.name, number=concurrency[1])
    return f"{now} now, {least} at least, {most} at most"


def command_line(worker):
    """How a worker was started; only that shows what Celery makes of it. Empty when it runs elsewhere."""
    with suppress(psutil.Error):
        return " ".join(worker.process.cmdline()) if worker.process else ""
    return ""
