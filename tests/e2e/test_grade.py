"""`lab grade` runs what a student wrote, whatever that is, and gives a point for each exercise that passes."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from conftest import ROOT, free_port, pass_all

from e2e.learner import Learner
from lab.course.exercise import course
from lab.course.handout import handed_out

COURSE = course()
PRINTS = "while True:\n    print('x' * 1000)\n"
ENDS_PYTHON = "import os\n\nos._exit(0)\n"
HANGS = "import time\n\nwhile True:\n    time.sleep(1)\n"  # without keeping a processor busy meanwhile
ONE = """
import sys
from pathlib import Path
from lab.course.exercise import course
from lab.course.grade import grading

with grading(Path(), print) as grader:
    grader.check(course()[int(sys.argv[1])], print)
"""


@pytest.fixture
def handed_in(tmp_path):
    """A student who has solved everything, in a folder of their own within what they hand in."""
    folder = tmp_path / "handed in" / "work"
    folder.mkdir(parents=True)
    broker = f"amqp://myuser:mypassword@localhost:{free_port()}//"
    student = Learner(folder, COURSE[-1], broker, f"redis://localhost:{free_port()}/0", None)
    student.solve()
    for name, stub in handed_out().items():
        if not (folder / name).exists():  # what stays as it was handed out
            shutil.copy(stub, folder / name)
    yield student
    student.nothing_runs()
    student.close()


def grade(student, **env):
    """What `lab grade` prints, and the result that it writes."""
    printed, status = student.run("lab", "grade", "..", "--result", "result.json", seconds=660, **env)
    assert status == 0, printed
    return printed, json.loads((student.path / "result.json").read_text())


def passed(result):
    return [test["test-name"][:2] for test in result["tests"] if test["passed"]]


@pytest.mark.timeout(700)
def test_a_point_for_each_exercise_in_the_format_of_classroom_50(handed_in):
    """Of two folders, the one with more in it."""
    (handed_in.path.parent / "again").mkdir()
    (handed_in.path.parent / "again" / "celeryconfig.py").touch()
    told = {
        "CLASSROOM": "queues",
        "ASSIGNMENT": "lab",
        "SUBMISSION_TAG": "submit/2026-11-24T10-00-00Z-a1b2c3d",
        "COMMIT_URL": "https://example.org/commit",
        "RELEASE_URL": "https://example.org/release",
        "REVIEW_URL": "https://example.org/review",
    }
    printed, result = grade(handed_in, **told)
    assert passed(result) == [exercise.label for exercise in COURSE], printed
    assert "Graded: ../work\nNot graded: ../again\n" in printed
    first, number = result["tests"][0], len(COURSE)
    assert {key: first[key] for key in ("test-name", "passed", "score", "max-score")} == {
        "test-name": f"{COURSE[0].label} {COURSE[0].title}",
        "passed": True,
        "score": 1,
        "max-score": 1,
    }
    assert {key: value for key, value in result.items() if key != "tests"} == {
        "schema": "classroom50/result/v1",
        "classroom": "queues",
        "assignment": "lab",
        "submission": told["SUBMISSION_TAG"],
        "commit": told["COMMIT_URL"],
        "release": told["RELEASE_URL"],
        "review": told["REVIEW_URL"],
        "score": number,
        "max-score": number,
    }


def test_what_progress_json_says_does_not_count(handed_in):
    """Nor does a file that ends Python, or one that is missing, keep what works from its point."""
    handed_in.solve(broker=handed_in.results.replace("/0", "/1"))
    pass_all(handed_in.path)
    (handed_in.path / "my_ml_app.py").write_text(ENDS_PYTHON)
    (handed_in.path / "use_ml_app.py").unlink()
    printed, result = grade(handed_in)
    assert passed(result) == ["01", "10"], printed
    assert "✗ There is no use_ml_app.py in " in printed
    assert result["score"] == 2
    before = json.loads((handed_in.path / "progress.json").read_text())
    assert all(one["checks"] == 2 for one in before.values())  # it is as it was


@pytest.mark.parametrize("number, file, source", [(4, "use_ml_app.py", PRINTS), (3, "my_ml_app.py", HANGS)])
def test_what_hangs_or_prints_without_an_end_is_ended(handed_in, number, file, source):
    handed_in.solve(broker=handed_in.results.replace("/0", "/1"))
    (handed_in.path / file).write_text(source)
    printed, status = handed_in.run("python", "-c", ONE, str(number), seconds=100)
    assert status == 0 and "'wrong': " in printed, printed


def test_whatever_asks_it_to_end_all_that_was_started_ends(handed_in):
    handed_in.solve(broker=handed_in.results.replace("/0", "/1"))
    grading = handed_in.open("lab", "grade", ".")
    grading.see("03 Run a worker", "worker: celery@")
    grading.kill(signal.SIGTERM)
    assert grading.left() == 130


def test_where_another_server_listens_nothing_is_graded(handed_in, answering):
    port = answering(b"")
    handed_in.solve(broker=f"redis://localhost:{port}/0")
    printed, status = handed_in.run("lab", "grade", ".")
    assert status == 1
    assert f"Something listens at localhost:{port} already, where this student's servers have to be." in printed


def test_classroom_50_gets_a_result_where_nothing_was_handed_in(student, tmp_path):
    """By the autograder, which lies in the teacher's copy of the lab; the student's is another one."""
    shutil.copy(ROOT / "exercises/autograder.py", student.path)
    for name in ("constraints.txt", "exercises"):
        (student.path / name).symlink_to(ROOT / name)
    clone = tmp_path / "clone"
    for name in ("lab", "exercises"):
        (clone / name).mkdir(parents=True)
    for name in ("celeryconfig.py", "my_ml_app.py", "use_ml_app.py", "exercises/celeryconfig.py"):
        (clone / name).touch()
    printed, status = student.run("env", f"--chdir={clone}", "python", str(student.path / "autograder.py"))
    assert status == 0, printed
    result = json.loads(Path(clone, "result.json").read_text())
    assert (result["score"], result["max-score"], passed(result)) == (0, len(COURSE), [])
    assert "in which a student has begun" in result["tests"][0]["found"]
