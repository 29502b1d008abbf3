"""The course's commands that need no server and no process of their own."""

import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT, pass_all, words

from lab import cli
from lab.course import watch
from lab.course.exercise import Exercise, course
from lab.course.handout import is_labs
from lab.course.watch import fingerprint

COURSE = course()
APP = next(exercise for exercise in COURSE if exercise.number == 2)


def test_new_hands_out_every_stub_and_says_where_to_begin(folder):
    given = {path.name for path in folder.path.rglob("*") if path.is_file()}
    assert given == {".gitignore"} | {stub.name for exercise in COURSE for stub in exercise.stubs}
    printed, _ = folder.lab("list")
    assert printed.startswith(f"→ {COURSE[0].label} ") and f"{COURSE[0].path.name}/README.md" in printed


def test_what_a_desktop_leaves_in_a_stub_is_not_handed_out(tmp_path):
    stub = tmp_path / "90_stub" / "stub"
    (stub / "__pycache__").mkdir(parents=True)
    for name in ("send.py", ".env.example", ".DS_Store", "._send.py", "send.py~", ".send.py.swp", "__pycache__/x.pyc"):
        (stub / name).touch()
    (stub / "link.py").symlink_to("send.py")
    assert [file.name for file in Exercise(stub.parent).stubs] == [".env.example", "link.py", "send.py"]


def test_new_overwrites_nothing(folder):
    (folder.path / "my_ml_app.py").write_text("mine")
    (folder.path / "celeryconfig.py").unlink()
    printed, status = folder.lab("new", ".")
    assert status == 0
    assert "kept  my_ml_app.py" in printed and "new   celeryconfig.py" in printed
    assert (folder.path / "my_ml_app.py").read_text() == "mine"


@pytest.mark.parametrize("number", ["99", "-1", "two", ""])
def test_an_exercise_that_is_not_there_is_named(folder, number):
    printed, status = folder.lab("hint", "--", number)
    assert (
        status == 2
        and f"there is no exercise '{number}': they go from {COURSE[0].number} to {COURSE[-1].number}" in printed
    )


def test_hints_come_one_by_one_and_the_last_one_stays(folder):
    for number in (0, 1, 2, 2):
        printed, status = folder.lab("hint", "2")
        assert status == 0 and words(printed) == words(f"Hint {number + 1} of 3: {APP.hints[number]}")


def test_reset_puts_the_stub_back_and_keeps_what_was_written(folder):
    for number in (1, 2):
        (folder.path / "my_ml_app.py").write_text(f"version {number}")
        printed, status = folder.lab("reset", "2")
        assert status == 0 and f"Your my_ml_app.py is now my_ml_app.py.{number}." in printed
        assert (folder.path / f"my_ml_app.py.{number}").read_text() == f"version {number}"
        assert (folder.path / "my_ml_app.py").read_text() == APP.stubs[0].read_text()


def test_reset_writes_through_no_link(folder):
    (folder.path / "my_ml_app.py").unlink()
    (folder.path / "my_ml_app.py").symlink_to("../elsewhere.py")
    printed, status = folder.lab("reset", "2")
    assert status == 0 and "Your my_ml_app.py is now my_ml_app.py.1." in printed
    assert not (folder.path / "../elsewhere.py").exists() and (folder.path / "my_ml_app.py").is_file()


def test_the_solution_is_shown_only_after_the_check_has_passed(folder):
    printed, status = folder.lab("solution", "2")
    assert status == 1 and "have not passed exercise 02 yet" in printed and "def predict" not in printed
    pass_all(folder.path)
    for exercise in COURSE:
        printed, status = folder.lab("solution", str(exercise.number))
        assert status == 0 and all(words(text) in words(printed) for text in solution(exercise))


def solution(exercise):
    return [file.read_text() for file in exercise.solutions] or exercise.hints[-1:]


def test_watch_leaves_when_an_interrupt_came_where_python_could_not_raise(monkeypatch):
    monkeypatch.setattr(watch, "fingerprint", dict)

    def heed_interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch.wait_for_change({}, heed_interrupt)


def test_a_log_in_the_folder_is_nothing_that_a_student_did(folder):
    before = fingerprint().files
    for name in ("nohup.out", "worker.log", "celerybeat-schedule", "progress.json"):
        (folder.path / name).write_text("new")
    assert fingerprint().files == before
    for name in ("Dockerfile", "helper.py"):  # handed out, and the student's own
        (folder.path / name).write_text("new")
        assert fingerprint().files != before
        before = fingerprint().files


@pytest.mark.parametrize(
    "command",
    [["check"], ["check", "2"], ["list"], ["hint", "2"], ["reset", "2"], ["solution", "2"], ["report"], ["watch"]],
)
def test_another_folder_is_named_and_left_as_it_is(folder, monkeypatch, command):
    (folder.path / "empty").mkdir()
    monkeypatch.chdir(folder.path / "empty")
    printed, status = folder.lab(*command)
    assert status == 1 and "empty has none of the course's files. Go to yours, or make one" in printed
    assert not list((folder.path / "empty").iterdir())


def test_the_labs_own_folder_sends_students_to_theirs(folder, monkeypatch):
    """What is there is solved: a check of it would pass, and say nothing about the student."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rooms = {path.partition("/")[0] for path in tracked.splitlines() if "/" in path}
    for path in (".", ".venv", "exercises/mine", *rooms):
        assert is_labs(ROOT / path)
    for path in ("my_celery", "my_celery/lab", "../another/lab"):
        assert not is_labs(ROOT / path)
    for path, command in ((".", ["check", "2"]), ("exercises", ["list"])):
        monkeypatch.chdir(ROOT / path)
        printed, status = folder.lab(*command)
        assert status == 1 and "This is the lab's own folder, where everything is solved" in printed
        assert "o there: `" in printed
    monkeypatch.chdir(ROOT)
    for path in (".", "lab"):
        printed, status = folder.lab("new", path)
        assert status == 1 and "a folder of the lab itself" in printed


def test_hint_without_a_number_is_for_the_next_exercise(folder):
    pass_all(folder.path)
    folder.lab("reset", "2")
    printed, status = folder.lab("hint")
    assert status == 0 and words(APP.hints[1]) in words(printed)


def test_what_goes_wrong_in_the_lab_itself_is_a_sentence(folder, monkeypatch):
    monkeypatch.setattr(cli.course, "course", lambda: 1 / 0)
    monkeypatch.setattr(tempfile, "tempdir", str(folder.path))
    printed, status = folder.lab("list")
    assert status == 1
    assert printed.startswith("The lab itself has failed, not you: ZeroDivisionError: division by zero (<lambda>,")
    assert "Traceback" in Path(re.search(r"show (.+) to", printed)[1]).read_text()
