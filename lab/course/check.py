"""Run the check of an exercise in a process of its own, with a deadline, and read line by line what it finds.

A check imports what the student wrote: a fresh process sees every edit, and nothing that the student's code does, not
even an endless loop, can reach the lab.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from lab import hiding
from lab.course.exercise import Exercise
from lab.fault import plain

LONGEST = 2000  # characters of one line of a check

Line = dict[str, Any]  # what a check says, as JSON: its deadline, a fact, what it waits for or is wrong, or the end


@dataclass
class Outcome:
    """What a check found: facts, and, unless it passed, what is wrong and what to do next, as sentences."""

    facts: list[str] = field(default_factory=list)
    wrong: str | None = None
    next: str = ""
    temporary: bool = False  # whether what is wrong goes away by itself
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.wrong is None


def run(exercise: Exercise, tell: Callable[[Line], None] = lambda line: None) -> Outcome:
    """The Outcome of an exercise's check in the current folder. tell(line) is called for each line as it comes."""
    outcome, begin = Outcome(), time.monotonic()

    def hear(line: Line) -> None:
        if "fact" in line:
            outcome.facts.append(line["fact"])
        elif "wrong" in line:
            outcome.wrong, outcome.next, outcome.temporary = line["wrong"], line["next"], line.get("temporary", False)
        tell(line)

    if sentences := hiding():
        hear({"wrong": sentences[0], "next": sentences[1]})
        return outcome
    complete = False
    with one_at_a_time(hear), ExitStack() as afterwards, process_of(exercise) as process:
        for line in map(readable, process.stdout or ()):
            if "deadline" in line:
                killer = threading.Timer(2 * line["deadline"], kill_all, [process])  # for code that catches everything
                afterwards.callback(killer.cancel)
                killer.start()
            complete = complete or "complete" in line
            hear(line)
    if not complete:
        hear(
            {
                "wrong": f"The check ended too early: {how_it_ended(process.returncode)}",
                "next": "One of your files ends Python, or runs forever, when it is imported. Find out which",
            }
        )
    outcome.seconds = round(time.monotonic() - begin, 2)
    return outcome


@contextmanager
def process_of(exercise: Exercise) -> Iterator[subprocess.Popen[str]]:
    """The process in which a check runs. However it ends, nothing that it started is left."""
    command = [sys.executable, "-m", "lab.course.checking", str(exercise.path)]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=nowhere, stdout=pipe, stderr=nowhere, text=True, start_new_session=True)
    try:
        yield process
    finally:
        try:
            process.terminate()  # so that an interrupted check can take back what it has sent
            process.wait()
        finally:
            kill_all(process)
            if process.stdout:
                process.stdout.close()


def kill_all(process: subprocess.Popen[str]) -> None:
    """End a check, and whatever the student's files have started from it."""
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses when only zombies are left
        os.killpg(process.pid, signal.SIGKILL)


def readable(line: str) -> Line:
    """A line that a check wrote; nothing where the student's code wrote into it."""
    with suppress(ValueError, AttributeError):
        said = json.loads(line).items()
        return {key: plain(value, LONGEST) if isinstance(value, str) else value for key, value in said}
    return {}


def how_it_ended(status: int) -> str:
    """Why a process ended, from its exit status."""
    if status == -signal.SIGKILL:
        return "it was killed, because it did not end or took too much memory"
    return f"it ended with {f'the signal {signal.Signals(-status).name}' if status < 0 else f'exit status {status}'}"


@contextmanager
def one_at_a_time(tell: Callable[[Line], None]) -> Iterator[None]:
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
