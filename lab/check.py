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
from contextlib import contextmanager
from dataclasses import dataclass, field

HIDEABLE = ("amqp", "celery", "click", "flower", "httpx", "kombu", "pexpect", "pika", "psutil", "redis", "rich", "yaml")
DEADLINE = 9  # seconds that a check has, once it has begun; Python begins within the tenth


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
    command = [sys.executable, "-m", "lab.check", str(exercise.path)]
    with (
        one_at_a_time(),
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process,
    ):
        killer = threading.Timer(2 * DEADLINE, process.kill)  # for code that swallows the deadline's exception
        killer.start()
        try:
            for line in map(json.loads, process.stdout):
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
    if not over:
        outcome.wrong = "The check ended before it had looked at everything"
        outcome.next = "See whether one of your files ends Python, or runs for ever, when it is imported"
        tell({"wrong": outcome.wrong, "next": outcome.next})
    outcome.seconds = round(time.monotonic() - begin, 2)
    return outcome


@contextmanager
def one_at_a_time():
    """Wait for another check in this folder to end: `watch` may run in another terminal."""
    folder = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def main(folder):
    """Check the exercise in folder, and write what is found to standard output."""
    lines = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)  # what the student's files print is not ours
    os.dup2(nowhere, 2)

    def say(**what):
        lines.write(json.dumps(what) + "\n")
        lines.flush()

    for name in HIDEABLE:
        if os.path.exists(f"{name}.py"):
            say(
                wrong=f"Your file {name}.py hides the package {name} from Python",
                next="Give it another name",
                over=True,
            )
            os._exit(0)
    from lab.course import Exercise
    from lab.desk import Desk, TooLong
    from lab.fault import Fault
    from lab.observe import AWAY

    waited = ["your files to be imported"]

    def waiting(what):
        waited[0] = what
        say(waiting=what)

    def too_late(*_):
        raise TooLong(what=waited[0], seconds=DEADLINE)

    def interrupted(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    try:
        for fact in Exercise(folder).check(Desk(waiting)):
            say(fact=fact)
    except Fault as fault:
        say(wrong=str(fault), next=fault.remedy, passes=fault.passes)
    except FileNotFoundError as error:
        say(wrong=f"{error.filename} is not there any more", next="Put it back, and check again")
    except AWAY as error:
        say(wrong=f"A server that answered has gone: {error}", next="See `python -m lab doctor`")
    except Exception:
        say(wrong=f"The check itself is broken, which is not your fault. {traceback.format_exc()}", next="")
    signal.setitimer(signal.ITIMER_REAL, 0)
    say(over=True)
    os._exit(0)  # threads that still listen do not keep it


if __name__ == "__main__":
    main(sys.argv[1])
