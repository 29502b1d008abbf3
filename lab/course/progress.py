"""What a student has done so far: progress.json in the student's folder."""

import json
import math
import operator
import os
import shlex
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from lab.course.check import Outcome
from lab.course.exercise import Exercise
from lab.fault import Fault, plain

FILE = "progress.json"


class Record(TypedDict):
    """What is kept of an exercise: how often it was checked, and how many hints were read; the letter that the student
    predicted; when it passed (ISO 8601, UTC); how long the last check took, and what it found."""

    checks: int
    hints: int
    predicted: str | None
    passed: str | None
    seconds: float | None
    facts: list[str]


NOTHING: Record = {"checks": 0, "hints": 0, "predicted": None, "passed": None, "seconds": None, "facts": []}
LARGEST = 1_000_000  # bytes; what the lab writes is a hundredth of it


class Progress:
    """A Record for each exercise, by its folder's name, in the file progress.json.

    Read anew each time: another terminal may write meanwhile.
    """

    def __init__(self, folder: Path = Path()):
        self.path = folder / FILE

    def everything(self, course: Iterable[Exercise]) -> dict[str, Record]:
        """By the exercises' folders' names. Where it cannot be read, that is what was found."""
        try:
            return {exercise.path.name: self.of(exercise) for exercise in course}
        except Fault as fault:
            return {exercise.path.name: NOTHING | {"facts": [fault.sentences()]} for exercise in course}

    def of(self, exercise: Exercise) -> Record:
        """The Record of an exercise, an empty one before its first check. Raises Fault."""
        return self._read().get(exercise.path.name) or NOTHING.copy()

    def passed(self, exercise: Exercise) -> str | None:
        """When its check passed, as in its Record."""
        return self.of(exercise)["passed"]

    def note(self, exercise: Exercise, outcome: Outcome) -> None:
        """Keep what a check found. Once passed, an exercise stays so until it is reset."""
        self._write(exercise, checked_once_more(self.of(exercise), outcome))

    def next_hint(self, exercise: Exercise) -> int:
        """The number of the hint to show now, from 0; the last one again when all are read."""
        one = self.of(exercise)
        number = min(one["hints"], len(exercise.hints) - 1)
        one["hints"] = number + 1
        self._write(exercise, one)
        return number

    def predict(self, exercise: Exercise, letter: str) -> None:
        """Keep which choice a student predicts."""
        self._write(exercise, self.of(exercise) | {"predicted": letter})

    def forget(self, exercise: Exercise) -> None:
        """The exercise counts as not passed again. How often it was checked is kept."""
        self._write(exercise, self.of(exercise) | {"passed": None})

    def _read(self) -> dict[str, Record]:
        away = f"Move it away, and check again: `mv {shlex.quote(str(self.path))} {shlex.quote(f'{self.path}.old')}`"
        try:
            with open(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # it may be a pipe
                text = file.read(LARGEST)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Fault(f"{self.path} cannot be read: {error.strerror}", away) from None
        with suppress(ArithmeticError, AttributeError, RecursionError, TypeError, ValueError):
            return {name: record(found) for name, found in json.loads(text).items()}
        raise Fault(f"{self.path} was not written by the lab", away)

    def _write(self, exercise: Exercise, one: Record) -> None:
        """Write the file whole or not at all, so that a crash loses nothing. Raises Fault."""
        everything = dict(sorted((self._read() | {exercise.path.name: one}).items()))
        new = self.path.with_name(f".{FILE}.{os.getpid()}")
        try:
            new.write_text(json.dumps(everything, indent=1))
            new.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                new.unlink()
            found = f"Your progress cannot be saved in {self.path.absolute()}: {error.strerror}"
            raise Fault(found, "What was saved before is still there. Correct this, and try again") from None


def checked_once_more(one: Record, outcome: Outcome) -> Record:
    """The Record of an exercise, with what a check has found now."""
    one = one.copy()
    one["checks"] += 1
    if outcome.passed or not one["passed"]:
        one["facts"] = [*outcome.facts, *([outcome.wrong] if outcome.wrong else [])]
        one["seconds"] = outcome.seconds
    if outcome.passed:
        one["passed"] = one["passed"] or datetime.now(UTC).isoformat(timespec="seconds")
    return one


def record(found: Any) -> Record:
    """A Record, from JSON. Raises some error if the lab did not write that."""
    one = NOTHING | found
    one |= {key: one[key] and plain(one[key]) for key in ("passed", "predicted")}
    one["facts"] = [plain(fact) for fact in one["facts"]]
    if one["passed"]:
        datetime.fromisoformat(one["passed"])
    numbers = operator.index(one["checks"]), operator.index(one["hints"])
    if one.keys() != NOTHING.keys() or min(numbers) < 0 or not math.isfinite(one["seconds"] or 0):
        raise ValueError
    return one
