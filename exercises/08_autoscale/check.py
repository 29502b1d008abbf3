"""Does the worker's pool scale between 2 and 10 processes?"""

import re
from contextlib import suppress

import psutil

from lab.fault import Wrong

MOST, LEAST = 10, 2
START_AGAIN = "In terminal 2: Ctrl-C, then `celery -A my_ml_app worker --autoscale=10,2`"


class NoAutoscale(Wrong):
    """{worker} does not scale: its pool has {processes}, whatever waits."""

    next = START_AGAIN


class OtherLimits(Wrong):
    """{worker} scales from {least} to {most} pool processes, and not from 2 to 10."""

    next = f"The greater number comes first, then the smaller one. {START_AGAIN}"


class Swapped(Wrong):
    """{worker} was started with `--autoscale={written}`: Celery has swapped the numbers without a word."""

    next = f"Write the greater number first, for others read it too. {START_AGAIN}"


class ConcurrencyBeside(Wrong):
    """{worker} was started with a concurrency of {number} beside `--autoscale`: Celery ignores it without a word."""

    next = f"Leave it out: the limits of the scaling are the pool's size. {START_AGAIN}"


RECOGNISES = (NoAutoscale, OtherLimits, Swapped, ConcurrencyBeside)


def check(desk):
    yield from desk.ready()
    for worker in desk.takers:
        yield f"pool: {scales(worker)}"
    if names := desk.workers_in_flower():
        workers = "1 worker" if len(names) == 1 else f"{len(names)} workers"
        yield f"Flower: {workers}, however many processes: {', '.join(names)}"


def scales(worker):
    """The size of a worker's pool, now and within its limits. Raises what is wrong with them."""
    now = "1 process" if len(worker.processes) == 1 else f"{len(worker.processes)} processes"
    if not worker.autoscale:
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
