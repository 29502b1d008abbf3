"""What a student has done so far: progress.json in the student's folder, and a teacher's report of it."""

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from lab.fault import Fault

FILE = "progress.json"
NOTHING = {"checks": 0, "hints": 0, "passed": None, "seconds": None, "facts": []}


class Progress:
    """For each exercise, by its folder's name: checks made, hints read, and what was found.

    Read anew each time: another terminal may write meanwhile.
    """

    def __init__(self, folder="."):
        self.path = Path(folder) / FILE

    def of(self, exercise):
        """The record of an exercise: checks, hints, passed (ISO 8601 time in UTC, or None), seconds, facts."""
        return self._read().get(exercise.path.name) or dict(NOTHING)

    def passed(self, exercise):
        """When its check passed; None as long as it has not."""
        return self.of(exercise)["passed"]

    def note(self, exercise, outcome):
        """Keep what a check found. Once passed, an exercise stays so until it is reset."""
        one = self.of(exercise)
        one["checks"] += 1
        if outcome.passed or not one["passed"]:
            one["facts"] = outcome.facts if outcome.passed else [*outcome.facts, outcome.wrong]
            one["seconds"] = outcome.seconds
        if outcome.passed:
            one["passed"] = one["passed"] or datetime.now(UTC).isoformat(timespec="seconds")
        self._write(exercise, one)

    def next_hint(self, exercise):
        """The number of the hint to show now, from 0; the last one again when all are read."""
        one = self.of(exercise)
        number = min(one["hints"], len(exercise.hints) - 1)
        one["hints"] = number + 1
        self._write(exercise, one)
        return number

    def forget(self, exercise):
        """It has not passed any more; how often it was checked stays."""
        self._write(exercise, self.of(exercise) | {"passed": None})

    def _read(self):
        try:
            everything = json.loads(self.path.read_text())
            if all(one.keys() == NOTHING.keys() for one in everything.values()):
                return everything
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError):
            pass
        raise Fault(f"{self.path} is not what the lab wrote", f"Move it away, and check again: `mv {FILE} {FILE}.old`")

    def _write(self, exercise, one):
        """Whole or not at all, so that no crash loses what was done."""
        everything = dict(sorted((self._read() | {exercise.path.name: one}).items()))
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, prefix=f".{FILE}.", delete=False) as file:
            json.dump(everything, file, indent=1)
        os.chmod(file.name, 0o644)
        os.replace(file.name, self.path)


def as_json(course, students):
    """One object per student: who, complete, and each exercise's record."""
    return json.dumps(
        [
            {
                "who": who,
                "complete": all(progress.passed(exercise) for exercise in course),
                "exercises": {exercise.path.name: progress.of(exercise) for exercise in course},
            }
            for who, progress in students.items()
        ],
        indent=1,
    )


def as_junit(course, students):
    """One test suite per student, one test case per exercise; what is not passed is a failure."""
    suites = ElementTree.Element("testsuites")
    for who, progress in students.items():
        suite = ElementTree.SubElement(suites, "testsuite", name=who, tests=str(len(course)))
        for exercise in course:
            one = progress.of(exercise)
            name = f"{exercise.label} {exercise.title}"
            case = ElementTree.SubElement(suite, "testcase", classname=who, name=name, time=str(one["seconds"] or 0))
            ElementTree.SubElement(case, "system-out").text = "\n".join(one["facts"])
            if not one["passed"]:
                ElementTree.SubElement(case, "failure", message=(one["facts"] or ["never checked"])[-1])
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode")
