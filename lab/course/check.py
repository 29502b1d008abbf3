"""Run the check of an exercise in a process of its own, with a deadline, and hear line by line what it finds.

A check imports what the student wrote: a fresh process sees every edit, and nothing that the student's code does,
not even an endless loop, can reach the lab. `python -m lab.course.check FOLDER` writes one JSON object per line.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from lab import hiding
from lab.fault import plain

LONGEST = 2000  # characters of one line of a check


@dataclass
class Outcome:
    """What a check found: facts, and, unless it passed, what is wrong and what to do next, as sentences."""

    facts: list = field(default_factory=list)
    wrong: str | None = None
    next: str = ""
    passes: bool = False  # what is wrong goes away by itself
    seconds: float = 0.0

    @property
    def passed(self):
        return self.wrong is None


def run(exercise, tell=lambda line: None):
    """The Outcome of an exercise's check in the current folder. tell(line) is called for each line as it comes."""
    outcome, begin = Outcome(), time.monotonic()

    def hear(line):
        if "fact" in line:
            outcome.facts.append(line["fact"])
        elif "wrong" in line:
            outcome.wrong, outcome.next, outcome.passes = line["wrong"], line["next"], line.get("passes", False)
        tell(line)

    if sentences := hiding():
        hear({"wrong": sentences[0], "next": sentences[1]})
        return outcome
    over = False
    with one_at_a_time(hear), process_of(exercise) as process:
        for line in map(readable, process.stdout):
            over = over or "over" in line
            hear(line)
    if not over:
        hear(
            {
                "wrong": f"The check ended before it had looked at everything: {how_it_ended(process.returncode)}",
                "next": "See what one of your files does when it is imported: it ends Python, or runs for ever",
            }
        )
    outcome.seconds = round(time.monotonic() - begin, 2)
    return outcome


@contextmanager
def process_of(exercise):
    """The process in which a check runs; at the end, however that comes, nothing is left that it started."""
    command = [sys.executable, "-m", "lab.course.check", str(exercise.path)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, text=True, start_new_session=True)
    killer = threading.Timer(2 * exercise.deadline, kill_all, [process])  # for code that swallows every exception
    killer.start()
    try:
        yield process
    finally:
        try:
            process.terminate()  # which lets an interrupted check take back what it has sent
            process.wait()
        finally:
            killer.cancel()
            kill_all(process)
            process.stdout.close()


def kill_all(process):
    """End a check, and whatever the student's files have started from it."""
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses when only zombies are left
        os.killpg(process.pid, signal.SIGKILL)


def readable(line):
    """A line that a check wrote; nothing where the student's code wrote into it."""
    with suppress(ValueError, AttributeError):
        said = json.loads(line).items()
        return {key: plain(value, LONGEST) if isinstance(value, str) else value for key, value in said}
    return {}


def how_it_ended(status):
    """Why a process ended, from its exit status."""
    if status == -signal.SIGKILL:
        return "it was killed, since it did not come to an end or took too much memory"
    return f"it ended with {f'the signal {signal.Signals(-status).name}' if status < 0 else f'exit status {status}'}"


@contextmanager
def one_at_a_time(tell):
    """Wait for another check in this folder to end: `watch` may run in another terminal."""
    folder = os.open(".", os.O_RDONLY)
    try:
        with suppress(OSError):  # a network's file system may have no locks
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell({"waiting": "the check in another terminal to end"})
                fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


class Late(BaseException):
    """The deadline has passed. Not an Exception, so that no `except Exception` on its way keeps it."""


def main(folder):
    """Check the exercise in folder, and write what is found to standard output."""
    lines, checker = os.fdopen(os.dup(1), "w"), os.getpid()
    os.register_at_fork(after_in_child=lambda: os.close(lines.fileno()))  # a process left behind keeps nobody waiting
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)  # what the student's files print is not ours
    os.dup2(nowhere, 2)

    def say(**what):
        if os.getpid() != checker:
            os._exit(0)  # a file that was imported has forked, and one check is enough
        lines.write(f"\n{json.dumps(what)}\n")  # apart from whatever the student's files wrote there
        lines.flush()

    from lab.course.desk import Desk
    from lab.course.exercise import Exercise
    from lab.fault import Fault, of_our_own, of_this_machine
    from lab.probe.connection import AWAY

    awaited = "the first fact"

    def too_late(*_):
        raise Late

    def interrupted(*_):
        raise KeyboardInterrupt

    exercise = Exercise(folder)
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, exercise.deadline, 1)  # and again: code that swallows it gets the next one
    try:
        try:
            for fact in exercise.check(Desk(lambda what: say(waiting=what))):
                awaited = f"what comes after “{fact}”"
                say(fact=fact)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Late as late:
        fault = too_long(late, awaited, exercise.deadline)
        say(wrong=str(fault), next=fault.remedy, passes=fault.passes)
    except Fault as fault:
        say(wrong=str(fault), next=fault.remedy, passes=fault.passes)
    except AWAY as error:
        fault = of_this_machine(error) or Fault(f"A server that answered has gone: {error}", "See `lab doctor`")
        say(wrong=str(fault), next=fault.remedy)
    except Exception as error:
        fault = of_our_own(error)
        say(wrong=str(fault), next=fault.remedy)
    say(over=True)
    os._exit(0)  # threads that still listen do not keep it


def too_long(late, awaited, seconds):
    """What a check was at when its deadline passed, as a Fault: a line of the student's own, or what it waited for."""
    from lab.course.desk import Desk
    from lab.course.wrong import TooLong
    from lab.fault import Fault

    folder, own = os.getcwd(), None
    for frame, number in traceback.walk_tb(late.__traceback__):
        if frame.f_code is Desk.wait.__code__:
            awaited = frame.f_locals["what"]
        if os.path.dirname(frame.f_code.co_filename) == folder:
            own = os.path.basename(frame.f_code.co_filename), number
    if not own:
        return TooLong(what=awaited, seconds=seconds)
    return Fault(
        f"{own[0]} does not get past its line {own[1]}, after {seconds} seconds",
        "A loop, or a call that waits, belongs inside a function: the check and the worker import this file",
    )


if __name__ == "__main__":
    main(sys.argv[1])
