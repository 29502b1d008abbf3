"""Is a prediction slow, and does it sleep?"""

import ast
import inspect
import itertools
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

from lab.course.kit import (
    TASK,
    AfterReturn,
    AsyncPredict,
    Desk,
    EndsItsProcess,
    PredictFails,
    Wrong,
    is_of_a_check,
    nothing_after_return,
    printable,
    tree,
)

SLOW = 3  # seconds after which a prediction counts as slow
PATIENCE = 7  # seconds, for a pool process may have to become free first
LONGEST = 120  # seconds that a sleep may take; more is a slip, and the next exercises would wait for it
BUSY = 0.1  # of a processor: a loop takes all that it gets, a sleep next to nothing
WATCH = 0.5  # seconds in which that shows


class Misplaced(Wrong):
    """The sleep in line {line} of my_ml_app.py is {where}."""

    next = "In predict, sleep after the first prints and before the last ones. Then start the worker again"


class NotSlow(Wrong):
    """The prediction finished after {seconds:.1f} seconds: that is too fast to watch."""

    next = "In predict, sleep before it prints that it has ended. Then start the worker again: it reads its code once"


class SleepsTooLong(Wrong):
    """The sleep in line {line} of my_ml_app.py takes {seconds} seconds: Python counts in seconds."""

    next = """Ten are enough. Then end the worker. After one Ctrl-C it waits for predictions that sleep already, so
        press Ctrl-C until terminal 2 shows a prompt. Then start it again"""


class BusyWaiting(Wrong):
    """The prediction waits in a loop: its pool process {pid} used {share:.0%} of a processor all the time."""

    next = "Sleep instead: that takes as long, but leaves the processor free for others. Then start the worker again"


class OneThing(Wrong):
    """{worker} was started with `--pool=solo`: it does one thing at a time, and does not answer while it predicts."""

    next = "In terminal 2: Ctrl-C, then `celery -A my_ml_app worker --concurrency=2`"


RECOGNISES = (
    OneThing,
    AfterReturn,
    Misplaced,
    SleepsTooLong,
    AsyncPredict,
    NotSlow,
    PredictFails,
    EndsItsProcess,
    BusyWaiting,
)


def check(desk: Desk) -> Iterator[str]:
    nothing_after_return()
    sleeps_inside(tree("my_ml_app.py"))
    yield from desk.ready()
    if inspect.iscoroutinefunction(desk.task.run):
        raise AsyncPredict()
    yield desk.worker_fact()
    if "solo" in desk.worker.stats["pool"].get("implementation", ""):
        raise OneThing(worker=desk.worker.name)
    used = {}  # seconds of a processor that a pool process had used, and when, at the first look

    def one_ran_long():
        """A prediction that has run for long, sent by anybody; one of the student's own, if there is one."""
        runs = itertools.chain.from_iterable(desk.inspect_all("active").values())
        for run in sorted(runs, key=lambda run: is_of_a_check(run["id"])):
            pid = run["worker_pid"]
            used.setdefault(pid, (processor_time(desk, pid), time.monotonic()))
            watched = time.monotonic() - used[pid][1]
            if run["name"] == TASK and time.time() - run["time_start"] >= SLOW and watched >= WATCH:
                return run
        return None

    with desk.predictions() as (sent,):
        what = f"a prediction to run for {SLOW} seconds"
        run = desk.wait(lambda: sent.has_ended or one_ran_long(), what, PATIENCE)
        if failed := sent.event("task-failed"):
            if "WorkerLostError" in (failed["traceback"] or ""):
                raise EndsItsProcess()
            raise PredictFails(error=printable(failed["exception"]))
        if done := sent.event("task-succeeded"):
            raise NotSlow(seconds=done["runtime"])
    if not isinstance(run, dict):
        raise desk.not_in_time(what, PATIENCE)
    whose = "sent by the check" if is_of_a_check(run["id"]) else "one of yours"
    yield f"prediction: {whose}, still running after more than {SLOW} seconds"
    before, when = used[run["worker_pid"]]
    if before is not None:
        after = processor_time(desk, run["worker_pid"])
        share = ((after or before) - before) / (time.monotonic() - when)
        if share > BUSY:
            raise BusyWaiting(pid=run["worker_pid"], share=share)
        yield f"pool process: it sleeps, and takes {share:.0%} of a processor"


def sleeps_inside(module):
    """Raise Misplaced when a line of my_ml_app.py is a sleep of its own, or predict sleeps before its first print or
    after it has said that it has ended; SleepsTooLong when a number in it was meant as milliseconds."""
    for line in module.body:
        if isinstance(line, ast.Expr) and calls(line, "sleep"):
            where = "outside predict: the worker sleeps once, when it starts, but a prediction is as fast as before"
            raise Misplaced(line=line.lineno, where=where)
        if isinstance(line, ast.FunctionDef) and line.name == "predict":
            prints = calls(line, "print")
            first = min((one.lineno for one in prints), default=0)
            ended = [one.lineno for one in prints if str(constant(one)).startswith("Ended")]
            for sleep in calls(line, "sleep"):
                if sleep.lineno < first:
                    late = "above the first print: terminal 2 says `Received:` too late"
                    raise Misplaced(line=sleep.lineno, where=late)
                if ended and sleep.lineno > min(ended):
                    early = "below the last prints: terminal 2 says `Ended processing:` too early"
                    raise Misplaced(line=sleep.lineno, where=early)
                seconds = constant(sleep)
                if isinstance(seconds, int | float) and seconds > LONGEST:
                    raise SleepsTooLong(line=sleep.lineno, seconds=seconds)


def calls(node, name):
    """The calls of a function or method of this name."""
    called = (part for part in ast.walk(node) if isinstance(part, ast.Call))
    return [call for call in called if name in (getattr(call.func, "id", ""), getattr(call.func, "attr", ""))]


def constant(call):
    """The first argument of a call, when it is written there as a number or text; otherwise None."""
    return getattr(call.args[0], "value", None) if call.args else None


def processor_time(desk, pid):
    """Seconds that a pool process has computed; None when it cannot be seen from here."""
    with suppress(psutil.Error):
        if desk.worker.process:
            times = psutil.Process(pid).cpu_times()
            return times.user + times.system
    return None
