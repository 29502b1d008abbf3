"""The process in which a check runs. `python -m lab.course.checking FOLDER` writes a line of JSON for each thing that
it finds."""

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from lab.course.desk import Desk
from lab.course.exercise import Exercise
from lab.course.wrong import TooLong
from lab.fault import Fault, of_our_own, of_this_machine
from lab.probe.connection import AWAY


class Late(BaseException):
    """The deadline has passed. It is no Exception, so that no `except Exception` in the student's code stops it."""


def main(folder: Path) -> NoReturn:
    """Check the exercise in folder, and write what is found to standard output."""
    lines, checker = os.fdopen(os.dup(1), "w"), os.getpid()
    # So that a process that stays behind keeps nobody waiting.
    os.register_at_fork(after_in_child=lambda: os.close(lines.fileno()))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the student's files print is not ours

    def say(**what: Any) -> None:
        if os.getpid() != checker:
            os._exit(0)  # a file that was imported has forked, and one check is enough
        lines.write(f"\n{json.dumps(what)}\n")  # on a line of its own, whatever the student's files wrote there
        lines.flush()

    def give_up(fault: Fault) -> None:
        say(wrong=str(fault), next=fault.remedy, temporary=fault.temporary)

    awaited = "the first fact"

    def too_late(*_: object) -> NoReturn:
        raise Late

    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    exercise = Exercise(folder)
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGALRM, too_late)
    say(deadline=exercise.deadline)  # the process that waits does not import check.py, and with it Celery
    signal.setitimer(signal.ITIMER_REAL, exercise.deadline, 1)  # and again each second: code may catch the first one
    try:
        try:
            for fact in exercise.check(Desk(lambda what: say(waiting=what))):
                awaited = f"what comes after “{fact}”"
                say(fact=fact)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Late as late:
        give_up(why_late(late, awaited, exercise.deadline))
    except Fault as fault:
        give_up(fault)
    except AWAY as error:
        give_up(of_this_machine(error) or Fault(f"A server that answered before has gone: {error}", "See `lab doctor`"))
    except Exception as error:
        give_up(of_our_own(error))
    say(complete=True)
    os._exit(0)  # without waiting for threads that still listen


def why_late(late: Late, awaited: str, seconds: float) -> Fault:
    """What a check was doing when its deadline passed, as a Fault: it names a line of the student's, or what it waited
    for."""
    folder, own = os.getcwd(), None
    for frame, number in traceback.walk_tb(late.__traceback__):
        if frame.f_code is Desk.wait.__code__:
            awaited = frame.f_locals["what"]
        if os.path.dirname(frame.f_code.co_filename) == folder:
            own = os.path.basename(frame.f_code.co_filename), number
    if not own:
        return TooLong(what=awaited, seconds=seconds)
    return Fault(
        f"{own[0]} is still in its line {own[1]} after {seconds} seconds",
        "Put a loop, or a call that waits, inside a function: the check and the worker import this file",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
