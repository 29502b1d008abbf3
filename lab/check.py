"""Run the check of an exercise in a process of its own, with a deadline, and hear line by line what it finds.

A check imports what the student wrote: a fresh process sees every edit, and nothing that the student's code does,
not even an endless loop, can reach the lab. `python -m lab.check FOLDER` writes one JSON object per line.
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
    over = False
    if sentences := hiding():
        outcome.wrong, outcome.next = sentences
        tell({"wrong": outcome.wrong, "next": outcome.next})
        return outcome
    command = [sys.executable, "-m", "lab.check", str(exercise.path)]
    with (
        one_at_a_time(),
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process,
    ):
        killer = threading.Timer(2 * exercise.deadline, kill_all, [process])  # for code that swallows every exception
        killer.start()
        try:
            for line in process.stdout:
                line = {
                    key: plain(value) if isinstance(value, str) else value for key, value in json.loads(line).items()
                }
                if "fact" in line:
                    outcome.facts.append(line["fact"])
                elif "wrong" in line:
                    outcome.wrong, outcome.next = line["wrong"], line["next"]
                    outcome.passes = line.get("passes", False)
                over = "over" in line
                tell(line)
        finally:
            process.terminate()  # which lets an interrupted check take back what it has sent
            process.wait()
            killer.cancel()
            kill_all(process)
    if not over:
        outcome.wrong = "The check ended before it had looked at everything"
        outcome.next = "See whether one of your files ends Python, or runs for ever, when it is imported"
        tell({"wrong": outcome.wrong, "next": outcome.next})
    outcome.seconds = round(time.monotonic() - begin, 2)
    return outcome


def kill_all(process):
    """End a check, and whatever the student's files have started from it."""
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses when only zombies are left
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def one_at_a_time():
    """Wait for another check in this folder to end: `watch` may run in another terminal."""
    folder = os.open(".", os.O_RDONLY)
    try:
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
        lines.write(json.dumps(what) + "\n")
        lines.flush()

    from lab.course import Exercise
    from lab.desk import Desk
    from lab.fault import Fault
    from lab.observe import AWAY

    awaited = "the first fact"

    def waiting(what):
        nonlocal awaited
        awaited = what
        say(waiting=what)

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
            for fact in exercise.check(Desk(waiting)):
                awaited = f"what comes after “{fact}”"
                say(fact=fact)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Late as late:
        fault = too_long(late, awaited, exercise.deadline)
        say(wrong=str(fault), next=fault.remedy, passes=fault.passes)
    except Fault as fault:
        say(wrong=str(fault), next=fault.remedy, passes=fault.passes)
    except FileNotFoundError as error:
        say(wrong=f"{error.filename} is not there any more", next="Put it back, and check again")
    except AWAY as error:
        say(wrong=f"A server that answered has gone: {error}", next="See `python -m lab doctor`")
    except Exception:
        say(wrong=f"The check itself is broken, which is not your fault. {traceback.format_exc()}", next="")
    say(over=True)
    os._exit(0)  # threads that still listen do not keep it


def too_long(late, awaited, seconds):
    """What a check was at when its deadline passed, as a Fault: a line of the student's own, or what it waited for."""
    from lab.desk import TooLong
    from lab.fault import Fault

    folder = os.getcwd()
    own = [frame for frame in traceback.extract_tb(late.__traceback__) if os.path.dirname(frame.filename) == folder]
    if not own:
        return TooLong(what=awaited, seconds=seconds)
    return Fault(
        f"{os.path.basename(own[-1].filename)} does not get past its line {own[-1].lineno}, after {seconds} seconds",
        "A loop, or a call that waits, belongs inside a function: the check and the worker import this file",
    )


if __name__ == "__main__":
    main(sys.argv[1])
