"""The course's commands, as a student and a teacher use them."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from xml.etree import ElementTree

import pytest
from conftest import pass_all, words

from e2e.student import predict
from lab.course.exercise import course

LAB = ["python", "-m", "lab"]
COURSE = course()
APP = next(exercise for exercise in COURSE if exercise.number == 2)  # its check needs no server
COMPOSE = next(exercise for exercise in COURSE if exercise.number == 10)  # nor does this one's


@pytest.fixture
def folder(student):
    """A student in a folder made by `lab new`, without the lab's own files in it."""
    for entry in student.path.iterdir():
        entry.unlink() if entry.is_symlink() or entry.is_file() else shutil.rmtree(entry)
    printed, status = student.run(*LAB, "new", ".")
    assert status == 0, printed
    return student


def solve(student):
    """Write the solutions of exercises 01 and 02."""
    for exercise in COURSE:
        for file in exercise.solutions if exercise.number <= APP.number else ():
            shutil.copy(file, student.path)


def test_an_exercise_passes_once_and_the_next_one_is_named(folder):
    printed, status = folder.run(*LAB, "check", "2")
    assert status == 1 and "✗ my_ml_app.py has no Celery app" in printed and "→ Make one with `Celery(...)`" in printed
    solve(folder)
    printed, status = folder.run(*LAB, "check", "2")
    assert status == 0 and "✓ task: my_ml_app.predict" in printed and words(APP.why)[3:] in words(printed)
    printed, _ = folder.run(*LAB, "list")
    assert "✓ 02 The app and its task" in printed
    (folder.path / "my_ml_app.py").write_text("")
    printed, status = folder.run(*LAB, "check", "2")
    assert status == 1
    printed, status = folder.run(*LAB, "new", "my_celery")
    assert status == 1 and "You have started in this folder already" in printed
    printed, _ = folder.run(*LAB, "list")
    assert "✓ 02 The app and its task" in printed  # what was passed stays so


def test_check_without_a_number_takes_the_first_that_has_not_passed(folder):
    pass_all(folder.path)
    printed, status = folder.run(*LAB, "check")
    assert status == 0 and printed == "You have passed every exercise.\n"
    folder.run(*LAB, "reset", "2")
    printed, status = folder.run(*LAB, "check")
    passed = f"{len(COURSE) - 1} of {len(COURSE)} passed"
    assert status == 1 and printed.startswith(f"02 The app and its task · {passed} · in {folder.path.name}\n")
    assert printed.endswith("Stuck? `lab hint 2`\n")


def test_watch_checks_again_when_a_file_changes_and_moves_on(folder):
    solve(folder)
    pass_all(folder.path)
    folder.run(*LAB, "reset", "2")
    terminal = folder.open(*LAB, "watch")
    predict(terminal, "Watching your files and servers", "Who can still call")
    terminal.see("02 The app and its task", "no Celery app", "Stuck")
    (folder.path / "my_ml_app.py").write_text('from celery import Celery\n\napp = Celery("my_ml_app")\n')
    terminal.see("02 The app and its task", "has no task called predict")
    with open(folder.path / "my_ml_app.py", "a") as file:
        file.write("# no task yet\n")
    terminal.see("checked again: nothing has changed")
    folder.run(*LAB, "hint", "2")
    solve(folder)
    terminal.see("Passed", "Who can still call", r"everybody.*\(you were right\)", "You have passed every exercise")
    assert terminal.left() == 0
    record = json.loads((folder.path / "progress.json").read_text())[APP.path.name]
    assert record["hints"] == 2  # another terminal's hint is not lost


def test_watch_waits_until_something_is_done_for_the_next_exercise(folder):
    pass_all(folder.path)
    for exercise in (APP, COMPOSE):
        folder.run(*LAB, "reset", str(exercise.number))
        for file in exercise.solutions:
            shutil.copy(file, folder.path)
    terminal = folder.open(*LAB, "watch")
    predict(terminal)
    terminal.see("Passed", f"Next: {COMPOSE.label}")
    predict(terminal)
    terminal.see("It is checked when you change or start something")
    (folder.path / "Dockerfile").touch()
    terminal.see("Passed", "You have passed every exercise")


def test_watch_ends_with_ctrl_c(folder):
    terminal = folder.open(*LAB, "watch", "2")
    predict(terminal)
    terminal.see("Stuck")
    terminal.sendintr()
    assert terminal.left() == 130
    assert "Traceback" not in terminal.before
    folder.nothing_runs()


def test_the_prediction_is_asked_for_once_and_shown_with_the_right_answer(folder):
    solve(folder)
    terminal = folder.open(*LAB, "check", "2")
    terminal.see("Your prediction")
    terminal.sendintr()
    assert terminal.left() == 130 and not (folder.path / "progress.json").exists()
    terminal = folder.open(*LAB, "check", "2", PYTHONIOENCODING="utf-8:strict")
    terminal.see("Who can still call", r"a\).* nobody", r"Your prediction \(a, b, c\): ")
    terminal.setecho(False)
    os.write(terminal.child_fd, b"\xff\n")  # no text
    predict(terminal, "it is one of a, b, c", letter=" B)")
    terminal.see("Passed", "Who can still call", r"b\).* only the worker \(you predicted this\)", r"c\).*this is right")
    assert terminal.left() == 0
    terminal = folder.open(*LAB, "check", "2")
    terminal.see("Passed")
    assert "Your prediction" not in terminal.seen
    assert "b, not c" in report(folder, "table")[0]
    assert "predicted: b, not c" in report(folder, "junit")[0]
    record = json.loads(report(folder, "json")[0])[0]["exercises"][APP.path.name]
    assert (record["predicted"], record["right"]) == ("b", "c")


@pytest.mark.parametrize(
    "source, sentence",
    [
        ("while True: pass", "my_ml_app.py is still in its line 1 after 9 seconds."),
        ("import os, time\nif os.fork() == 0:\n    time.sleep(99)", "my_ml_app.py has no Celery app"),
        (
            "import os; os._exit(3)",
            "The check ended too early: it ended with exit status 3.",
        ),
        (
            "import os\nfor n in range(3, 20):\n    try:\n        os.write(n, b'{')\n    except OSError:\n        pass",
            "my_ml_app.py has no Celery app",
        ),
        ("raise SystemExit(3)", "my_ml_app.py cannot be used: SystemExit: 3 (my_ml_app.py, line 1)."),
        (
            "print('noise'); 1 / 0",
            "my_ml_app.py cannot be used: ZeroDivisionError: division by zero (my_ml_app.py, line 1)",
        ),
    ],
)
def test_whatever_the_students_file_does_the_check_ends_with_a_sentence(folder, source, sentence):
    (folder.path / "my_ml_app.py").write_text(source)
    printed, status = folder.run(*LAB, "check", "2")
    assert status == 1 and sentence in printed
    assert "Traceback" not in printed and "noise" not in printed
    folder.nothing_runs()


LATE = """
import time
from pathlib import Path
from lab.probe.wait import unhurried

DEADLINE = 0.5

def check(desk):
    try:
        yield "the sun"
        try:
            {wait}
        except Exception:
            pass
    finally:
        with unhurried():
            time.sleep(1)
            Path("tidy").touch()
"""


@pytest.mark.parametrize(
    "wait, what",
    [
        ('desk.wait(lambda: None, "the moon to rise", 9)', "the moon to rise"),
        ('desk.wait(lambda: True, "the moon to rise", 9); time.sleep(9)', "what comes after “the sun”"),
    ],
)
def test_a_deadline_names_what_was_waited_for_and_lets_a_check_tidy_up(tmp_path, wait, what):
    exercise = tmp_path / "90_late"
    exercise.mkdir()
    (exercise / "check.py").write_text(LATE.format(wait=wait))
    done = subprocess.run(
        [sys.executable, "-m", "lab.course.checking", exercise], cwd=tmp_path, capture_output=True, check=True
    )
    said = [json.loads(line) for line in done.stdout.split(b"\n") if line]
    wrong = next(line["wrong"] for line in said if "wrong" in line)
    assert wrong == f"The check waited 0.5 seconds for {what}, but it did not happen"
    assert (tmp_path / "tidy").exists() and said[-1] == {"complete": True}


def test_a_file_that_hides_a_module_is_named_before_anything_else_happens(folder):
    for name in ("queue", "runpy", "celery"):  # of Python, of its start, of the lab's packages
        (folder.path / f"{name}.py").write_text("print('mine')")
        for command in (["list"], ["check", "2"], ["start"]):
            printed, status = folder.run(*LAB, *command)
            assert status == 1 and printed == (
                f"Your {name}.py hides the module {name}, which Python or one of its packages needs. "
                f"Give it another name: `mv {name}.py my_{name}.py`.\n"
            )
        (folder.path / f"{name}.py").unlink()
    (folder.path / "lab.py").write_text("print('mine')")  # hides nothing: this lab comes first
    (folder.path / "json").mkdir()  # holds no module
    terminal = folder.open(*LAB, "watch", "2")
    predict(terminal)
    terminal.see("no Celery app")
    (folder.path / "random.py").write_text("print('mine')")
    terminal.see("Your random.py hides the module random")


def test_sentences_survive_a_python_that_leaves_docstrings_out(folder):
    printed, status = folder.run(*LAB, "check", "2", PYTHONOPTIMIZE="2")
    assert status == 1 and "has no Celery app" in printed
    assert "Usage" in folder.run("python", "-OO", "-m", "lab", "--help")[0]


def test_nothing_kept_or_found_moves_the_cursor(folder):
    """Nor spoils a report: not what a file says, not its name, not an error's text."""
    bad = "\x1b[2J\x9b0m\r\x07"
    (folder.path / "my_ml_app.py").write_text(f"raise ValueError({bad!r})")
    printed, _ = folder.run(*LAB, "check", "2")
    assert "ValueError: ?[2J?0m" in printed and not set("\x1b\x9b\r\a") & set(printed)
    record = json.loads((folder.path / "progress.json").read_text())
    record["02_app"]["facts"] = [bad, "\ud800"]
    who = folder.path / f"ada{bad}"
    who.mkdir()
    (who / "progress.json").write_text(json.dumps(record))
    for form in ("table", "json", "junit"):
        printed, _ = report(folder, form, str(who))
        assert "ada?[2J" in printed and "\x1b" not in printed
    ElementTree.fromstring(printed)


def test_a_folder_that_is_not_there_any_more_is_named(folder):
    printed, status = folder.run("sh", "-c", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', "sh", *LAB, "list")
    assert status == 1 and printed.startswith("The folder of this terminal does not exist any more. Go to yours")


def test_a_terminal_that_has_no_check_mark_gets_another(folder):
    solve(folder)
    command = "PYTHONIOENCODING=latin-1 python -m lab check 2 | iconv -f latin1 -t utf8"
    assert "  + task: my_ml_app.predict" in folder.run("sh", "-c", command)[0]


def test_no_colour_where_none_is_wanted(folder):
    for wish in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        terminal = folder.open(*LAB, "hint", "2", **wish)
        assert terminal.left() == 0 and "\x1b" not in terminal.before
        terminal = folder.open(*LAB, "list", **wish)
        assert terminal.left() == 0 and "\x1b" not in terminal.before


def test_the_code_of_a_hint_can_be_copied(folder):
    for _ in COMPOSE.hints:
        terminal = folder.open(*LAB, "hint", str(COMPOSE.number))
        assert terminal.left() == 0
    blocks = re.findall(r"^ *```\w+\n(.*?)^ *```", COMPOSE.hints[-1], re.MULTILINE | re.DOTALL)
    assert blocks and all(f"\n{textwrap.dedent(block)}\n" in terminal.before.replace("\r", "") for block in blocks)


def test_the_doctor_works_in_a_students_folder(folder):
    printed, _ = folder.run(*LAB, "doctor")
    assert "celery 5" in printed and "Traceback" not in printed


def report(student, form, *folders):
    return student.run(*LAB, "report", "--format", form, *folders, COLUMNS="200")
