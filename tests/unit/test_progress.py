"""progress.json, and the report of it that a teacher reads."""

import errno
import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import pass_all

from lab.course.exercise import course
from lab.course.progress import Progress
from lab.fault import Fault

COURSE = course()
APP = next(exercise for exercise in COURSE if exercise.number == 2)


def test_a_spoilt_progress_file_is_named_and_not_overwritten(folder):
    for text in ("{", "[]", '{"02_app": {"passed": true}}'):
        (folder.path / "progress.json").write_text(text)
        printed, status = folder.lab("check", "2")
        assert status == 1 and "progress.json was not written by the lab" in printed
        assert (folder.path / "progress.json").read_text() == text


def test_progress_that_cannot_be_kept_is_named(folder, monkeypatch):
    (folder.path / "progress.json").mkdir()
    printed, status = folder.lab("check", "2")
    assert status == 1 and "progress.json cannot be read: Is a directory. Move it away" in printed
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Path, "write_text", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(Fault, match="cannot be saved in .*/other/progress.json: No space left on device"):
        Progress(folder.path / "other").forget(APP)


@pytest.mark.parametrize(
    "one",
    [
        {"hints": -5},
        {"hints": 1.5},
        {"seconds": float("nan")},
        {"passed": True},
        {"passed": "yesterday"},
        {"facts": None},
        {"unknown": 1},
        [],
    ],
)
def test_what_the_lab_would_not_have_written_is_refused(tmp_path, one):
    (tmp_path / "progress.json").write_text(json.dumps({"02_app": one}))
    with pytest.raises(Fault, match="was not written by the lab"):
        Progress(tmp_path).of(APP)


def report(student, form, *folders):
    return student.lab("report", "--format", form, *folders)


def test_a_report_says_who_got_where(folder):
    """Without any server: it reads what the checks found."""
    for who in ("ada", "bob"):
        folder.lab("new", who)
    pass_all(folder.path)
    shutil.move(folder.path / "progress.json", folder.path / "ada")
    students = ["ada", "bob"]
    printed, status = report(folder, "table", *students)
    assert status == 1
    assert re.search(r"ada +02 The app and its task +2026-01-01 10:00 +1.5 s +2 +1 +– +found", printed)
    assert re.search(r"bob +02 The app and its task +– +– +0 +0 +– +never checked", printed)
    printed, status = report(folder, "json", *students)
    ada, bob = json.loads(printed)
    assert status == 1 and (ada["who"], ada["complete"], bob["complete"]) == ("ada", True, False)
    assert ada["exercises"]["02_app"]["facts"] == ["found"]
    printed, status = report(folder, "junit", *students)
    suites = ElementTree.fromstring(printed)
    assert status == 1
    assert [(suite.get("name"), suite.get("failures")) for suite in suites] == [("ada", "0"), ("bob", str(len(COURSE)))]


def test_a_complete_report_says_so_by_its_exit_status(folder):
    pass_all(folder.path)
    for form in ("table", "json", "junit", "classroom50"):
        assert report(folder, form)[1] == 0


def test_a_report_for_classroom_50_is_one_students(folder, monkeypatch):
    monkeypatch.setenv("CLASSROOM", "queues")
    (folder.path / "progress.json").write_text(json.dumps({"02_app": {"passed": "2026-01-01T10:00:00+00:00"}}))
    printed, status = report(folder, "classroom50")
    result = json.loads(printed)
    assert status == 1 and (result["schema"], result["classroom"]) == ("classroom50/result/v1", "queues")
    assert (result["score"], result["max-score"]) == (1, len(COURSE))
    assert [test["score"] for test in result["tests"]] == [int(test["passed"]) for test in result["tests"]]
    assert result["tests"][2] == {
        "test-name": "02 The app and its task",
        "passed": True,
        "score": 1,
        "max-score": 1,
        "found": "never checked",
    }
    for who in ("ada", "bob"):
        folder.lab("new", str(folder.path.parent / who))
    printed, status = report(folder, "classroom50", str(folder.path.parent / "ada"), str(folder.path.parent / "bob"))
    assert status == 2 and "one student's: name one folder" in printed


def test_reset_keeps_what_a_teacher_wants_to_know(folder):
    pass_all(folder.path)
    folder.lab("reset", "2")
    printed, _ = report(folder, "json")
    record = json.loads(printed)[0]["exercises"][APP.path.name]
    assert (record["passed"], record["checks"], record["hints"]) == (None, 2, 1)
