"""Does a prediction take its time, and does it sleep meanwhile?"""

import time
from contextlib import suppress

import psutil

from lab.desk import TooLong
from lab.fault import Wrong
from lab.student import TASK

SLOW = 3  # seconds after which a prediction counts as slow
PATIENCE = 7  # seconds, for a pool process may have to become free first
BUSY = 0.1  # of a processor: a loop takes all that it gets, a sleep next to nothing
WATCH = 0.5  # seconds in which that shows


class NotSlow(Wrong):
    """The prediction was done after {seconds:.1f} seconds: that is not slow enough to watch."""

    next = "Write `time.sleep(10)` into predict in my_ml_app.py, and start the worker again"


class Fails(Wrong):
    """The prediction failed at once: {error}."""

    next = "Correct my_ml_app.py (`import time` stands above?), and start the worker again"


class BusyWaiting(Wrong):
    """The prediction waits in a loop: its pool process {pid} took {share:.0%} of a processor all the while."""

    next = "Write `time.sleep(10)` instead of the loop, and start the worker again: a sleep costs nothing"


RECOGNISES = (NotSlow, Fails, BusyWaiting)


def check(desk):
    yield from desk.ready()
    yield desk.worker_fact()
    used = {}  # seconds of a processor that a pool process had used, and when, at the first look

    def one_ran_long():
        """A prediction that has run for long, sent by anybody: the pool may be full of the student's own."""
        for run in desk.inspect("active") or []:
            pid = run["worker_pid"]
            used.setdefault(pid, (processor_time(desk, pid), time.monotonic()))
            watched = time.monotonic() - used[pid][1]
            if run["name"] == TASK and time.time() - run["time_start"] >= SLOW and watched >= WATCH:
                return run
        return None

    with desk.predictions() as (sent,):
        what = f"a prediction to run for {SLOW} seconds"
        run = desk.wait(lambda: sent.is_over or one_ran_long(), what, PATIENCE)
        if failed := sent.event("task-failed"):
            raise Fails(error=failed["exception"])
        if done := sent.event("task-succeeded"):
            raise NotSlow(seconds=done["runtime"])
    if not run:
        raise TooLong(what=what, seconds=PATIENCE)
    yield f"prediction: started, and still running {SLOW} seconds later"
    before, when = used[run["worker_pid"]]
    if before is not None:
        after = processor_time(desk, run["worker_pid"])
        share = ((after or before) - before) / (time.monotonic() - when)
        if share > BUSY:
            raise BusyWaiting(pid=run["worker_pid"], share=share)
        yield f"pool process: it sleeps, and takes {share:.0%} of a processor"


def processor_time(desk, pid):
    """Seconds that a pool process has computed; None when it cannot be seen from here."""
    with suppress(psutil.Error):
        if desk.worker.process:
            times = psutil.Process(pid).cpu_times()
            return times.user + times.system
    return None
