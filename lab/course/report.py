"""A teacher's report of what students have done so far."""

import json
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from rich.markup import escape
from rich.table import Table

from lab.course.exercise import Exercise
from lab.course.progress import Record

Students = Mapping[str, Mapping[str, Record]]  # {who: {name of an exercise's folder: what is kept of it}}


def predicted(exercise: Exercise, one: Record) -> str:
    """What a student predicted and what is right, in a word or three; a dash where nothing was predicted."""
    letter, answer = one["predicted"], exercise.prediction.answer
    return "–" if not letter else f"{letter}, right" if letter == answer else f"{letter}, not {answer}"


def as_json(course: Sequence[Exercise], students: Students) -> str:
    """One object per student: who, complete, and each exercise's record, with the answer that was right."""
    return json.dumps(
        [
            {
                "who": who,
                "complete": all(records[exercise.path.name]["passed"] for exercise in course),
                "exercises": {
                    exercise.path.name: records[exercise.path.name] | {"right": exercise.prediction.answer}
                    for exercise in course
                },
            }
            for who, records in students.items()
        ],
        indent=1,
    )


def as_junit(course: Sequence[Exercise], students: Students) -> str:
    """One test suite per student, one test case per exercise; what is not passed is a failure."""
    suites = ElementTree.Element("testsuites")
    for who, records in students.items():
        suite = ElementTree.SubElement(suites, "testsuite", name=who, tests=str(len(course)))
        for exercise in course:
            one = records[exercise.path.name]
            name = f"{exercise.label} {exercise.title}"
            case = ElementTree.SubElement(suite, "testcase", classname=who, name=name, time=str(one["seconds"] or 0))
            found = [*one["facts"], f"predicted: {predicted(exercise, one)}"]
            ElementTree.SubElement(case, "system-out").text = "\n".join(found)
            if not one["passed"]:
                ElementTree.SubElement(case, "failure", message=(one["facts"] or ["never checked"])[-1])
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode")


def as_table(exercises: Sequence[Exercise], students: Students) -> Table:
    columns = "who", "exercise", "passed (UTC)", "took", "checks", "hints", "predicted", "what was found last"
    table = Table(*columns, box=None, pad_edge=False)
    for who, records in students.items():
        for exercise in exercises:
            one = records[exercise.path.name]
            name, passed = f"{exercise.label} {exercise.title}", (one["passed"] or "–")[:16].replace("T", " ")
            seconds = "–" if one["seconds"] is None else f"{one['seconds']:.1f} s"
            found = (one["facts"] or ["never checked"])[-1]
            row = [who, name, passed, seconds, str(one["checks"]), str(one["hints"]), predicted(exercise, one), found]
            table.add_row(*map(escape, row))
    return table
