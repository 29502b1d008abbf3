"""A teacher's report of what students have done so far."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from lab.course.exercise import Exercise
from lab.course.progress import Record

if TYPE_CHECKING:
    from rich.table import Table  # whose import takes time, and only a teacher's table needs it

Students = Mapping[str, Mapping[str, Record]]  # {who: {name of an exercise's folder: what is kept of it}}


def predicted(exercise: Exercise, one: Record) -> str:
    """What a student predicted and what is right, in one to three words; a dash without a prediction."""
    letter, answer = one["predicted"], exercise.prediction.answer
    return "–" if not letter else f"{letter}, right" if letter == answer else f"{letter}, not {answer}"


def last_fact(one: Record) -> str:
    """What a check found last."""
    return (one["facts"] or ["never checked"])[-1]


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
                ElementTree.SubElement(case, "failure", message=last_fact(one))
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode")


def as_classroom50(course: Sequence[Exercise], students: Students) -> str:
    """One student's points, as an autograder of Classroom 50 writes them into result.json: a point for each exercise.

    Classroom 50 tells an autograder in its environment whose work it is, and wants to read that here again.
    """
    told = {
        "classroom": "CLASSROOM",
        "assignment": "ASSIGNMENT",
        "submission": "SUBMISSION_TAG",
        "commit": "COMMIT_URL",
        "release": "RELEASE_URL",
        "review": "REVIEW_URL",
    }
    [records] = students.values()
    tests = []
    for exercise in course:
        one = records[exercise.path.name]
        name, passed = f"{exercise.label} {exercise.title}", bool(one["passed"])
        score = {"score": int(passed), "max-score": 1}
        tests.append({"test-name": name, "passed": passed, **score, "found": last_fact(one)})
    result = {"schema": "classroom50/result/v1"}
    result |= {key: os.environ[name] for key, name in told.items() if name in os.environ}
    score = {"score": sum(bool(one["passed"]) for one in records.values()), "max-score": len(tests)}
    return json.dumps({**result, **score, "tests": tests}, indent=1)


def as_table(exercises: Sequence[Exercise], students: Students) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    columns = "who", "exercise", "passed (UTC)", "took", "checks", "hints", "predicted", "what was found last"
    table = Table(*columns, box=None, pad_edge=False)
    for who, records in students.items():
        for exercise in exercises:
            one = records[exercise.path.name]
            name, passed = f"{exercise.label} {exercise.title}", (one["passed"] or "–")[:16].replace("T", " ")
            seconds = "–" if one["seconds"] is None else f"{one['seconds']:.1f} s"
            row = [who, name, passed, seconds, str(one["checks"]), str(one["hints"])]
            row += [predicted(exercise, one), last_fact(one)]
            table.add_row(*map(escape, row))
    return table
