"""The course's commands, as a student and a teacher use them."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from test_exercises import predict, words

from lab import cli
from lab.course import watch
from lab.course.exercise import Exercise, course
from lab.course.handout import is_labs
from lab.course.progress import Progress
from lab.course.watch import fingerprint
from lab.fault import Fault

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


def pass_all(student):
    record = {"checks": 2, "hints": 1, "passed": "2026-01-01T10:00:00+00:00", "seconds": 1.5, "facts": ["found"]}
    (student.path / "progress.json").write_text(json.dumps({one.path.name: record for one in COURSE}))


def test_new_hands_out_every_stub_and_says_where_to_begin(folder):
    given = {path.name for path in folder.path.rglob("*")}
    assert given == {".gitignore"} | {stub.name for exercise in COURSE for stub in exercise.stubs}
    printed, _ = folder.run(*LAB, "list")
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
    printed, status = folder.run(*LAB, "new", ".")
    assert status == 0
    assert "kept  my_ml_app.py" in printed and "new   celeryconfig.py" in printed
    assert (folder.path / "my_ml_app.py").read_text() == "mine"


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
    assert status == 1 and "You have begun in this folder already" in printed
    printed, _ = folder.run(*LAB, "list")
    assert "✓ 02 The app and its task" in printed  # what was passed stays so


def test_check_without_a_number_takes_the_first_that_has_not_passed(folder):
    pass_all(folder)
    printed, status = folder.run(*LAB, "check")
    assert status == 0 and printed == "You have passed every exercise.\n"
    folder.run(*LAB, "reset", "2")
    printed, status = folder.run(*LAB, "check")
    assert status == 1 and printed.startswith(f"02 The app and its task · 11 of 12 passed · in {folder.path.name}\n")
    assert printed.endswith("Stuck? `lab hint 2`\n")


@pytest.mark.parametrize("number", ["99", "-1", "two", ""])
def test_an_exercise_that_is_not_there_is_named(folder, number):
    printed, status = folder.run(*LAB, "hint", "--", number)
    assert (
        status == 2
        and f"there is no exercise '{number}': they go from {COURSE[0].number} to {COURSE[-1].number}" in printed
    )


def test_hints_come_one_by_one_and_the_last_one_stays(folder):
    for number in (0, 1, 2, 2):
        printed, status = folder.run(*LAB, "hint", "2")
        assert status == 0 and words(printed) == words(f"Hint {number + 1} of 3: {APP.hints[number]}")


def test_reset_puts_the_stub_back_and_keeps_what_was_written(folder):
    for number in (1, 2):
        (folder.path / "my_ml_app.py").write_text(f"version {number}")
        printed, status = folder.run(*LAB, "reset", "2")
        assert status == 0 and f"Your my_ml_app.py is now my_ml_app.py.{number}." in printed
        assert (folder.path / f"my_ml_app.py.{number}").read_text() == f"version {number}"
        assert (folder.path / "my_ml_app.py").read_text() == APP.stubs[0].read_text()


def test_reset_writes_through_no_link(folder):
    (folder.path / "my_ml_app.py").unlink()
    (folder.path / "my_ml_app.py").symlink_to("../elsewhere.py")
    printed, status = folder.run(*LAB, "reset", "2")
    assert status == 0 and "Your my_ml_app.py is now my_ml_app.py.1." in printed
    assert not (folder.path / "../elsewhere.py").exists() and (folder.path / "my_ml_app.py").is_file()


def test_the_solution_is_shown_only_after_the_check_has_passed(folder):
    printed, status = folder.run(*LAB, "solution", "2")
    assert status == 1 and "has not passed yet" in printed and "def predict" not in printed
    pass_all(folder)
    for exercise in COURSE:
        printed, status = folder.run(*LAB, "solution", str(exercise.number))
        assert status == 0 and all(words(text) in words(printed) for text in solution(exercise))


def solution(exercise):
    return [file.read_text() for file in exercise.solutions] or exercise.hints[-1:]


def test_watch_checks_again_when_a_file_changes_and_moves_on(folder):
    solve(folder)
    pass_all(folder)
    folder.run(*LAB, "reset", "2")
    terminal = folder.open(*LAB, "watch")
    predict(terminal, "Watching your files and servers", "Who can still call it")
    terminal.see("02 The app and its task", "no Celery app", "Stuck")
    (folder.path / "my_ml_app.py").write_text('from celery import Celery\n\napp = Celery("my_ml_app")\n')
    terminal.see("02 The app and its task", "has no task called predict")
    with open(folder.path / "my_ml_app.py", "a") as file:
        file.write("# no task yet\n")
    terminal.see("looked again: it is as before")
    folder.run(*LAB, "hint", "2")
    solve(folder)
    terminal.see("Passed", "Who can still call it", r"everybody.*\(you were right\)", "You have passed every exercise")
    assert terminal.left() == 0
    record = json.loads((folder.path / "progress.json").read_text())[APP.path.name]
    assert record["hints"] == 2  # another terminal's hint is not lost


def test_watch_waits_until_something_is_done_for_the_next_exercise(folder):
    pass_all(folder)
    for exercise in (APP, COMPOSE):
        folder.run(*LAB, "reset", str(exercise.number))
        for file in exercise.solutions:
            shutil.copy(file, folder.path)
    terminal = folder.open(*LAB, "watch")
    predict(terminal)
    terminal.see("Passed", f"Next: {COMPOSE.label}")
    predict(terminal)
    terminal.see("It is checked when you do something for it")
    (folder.path / "Dockerfile").touch()
    terminal.see("Passed", "You have passed every exercise")


def test_watch_leaves_when_an_interrupt_came_where_python_could_not_raise(folder, monkeypatch):
    monkeypatch.chdir(folder.path)
    monkeypatch.setattr(watch, "fingerprint", dict)

    def heed_interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch.wait_for_change({}, heed_interrupt)


def test_a_log_in_the_folder_is_nothing_that_a_student_did(folder, monkeypatch):
    monkeypatch.chdir(folder.path)
    before = fingerprint()[0]
    for name in ("nohup.out", "worker.log", "celerybeat-schedule", "progress.json"):
        (folder.path / name).write_text("new")
    assert fingerprint()[0] == before
    for name in ("Dockerfile", "helper.py"):  # handed out, and the student's own
        (folder.path / name).write_text("new")
        assert fingerprint()[0] != before
        before = fingerprint()[0]


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
    terminal.see("Who can still call it", r"a\).* nobody", r"Your prediction \(a, b, c\): ")
    terminal.setecho(False)
    os.write(terminal.child_fd, b"\xff\n")  # no text
    predict(terminal, "it is one of a, b, c", letter=" B)")
    terminal.see(
        "Passed", "Who can still call it", r"b\).* only the worker \(you predicted this\)", r"c\).*this is right"
    )
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
        ("while True: pass", "my_ml_app.py does not get past its line 1, after 9 seconds."),
        ("import os, time\nif os.fork() == 0:\n    time.sleep(99)", "my_ml_app.py has no Celery app"),
        (
            "import os; os._exit(3)",
            "The check ended before it had looked at everything: it ended with exit status 3.",
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
from lab.course.desk import unhurried

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
        [sys.executable, "-m", "lab.course.check", exercise], cwd=tmp_path, capture_output=True, check=True
    )
    said = [json.loads(line) for line in done.stdout.split(b"\n") if line]
    wrong = next(line["wrong"] for line in said if "wrong" in line)
    assert wrong == f"The check waited for {what}, and it did not happen in 0.5 seconds"
    assert (tmp_path / "tidy").exists() and said[-1] == {"over": True}


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


def test_a_spoilt_progress_file_is_named_and_not_overwritten(folder):
    for text in ("{", "[]", '{"02_app": {"passed": true}}'):
        (folder.path / "progress.json").write_text(text)
        printed, status = folder.run(*LAB, "check", "2")
        assert status == 1 and "progress.json is not what the lab wrote" in printed
        assert (folder.path / "progress.json").read_text() == text


def test_progress_that_cannot_be_kept_is_named(folder, monkeypatch):
    (folder.path / "progress.json").mkdir()
    printed, status = folder.run(*LAB, "check", "2")
    assert status == 1 and "progress.json cannot be read: Is a directory. Move it away" in printed
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(Path, "write_text", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(Fault, match="cannot be kept in .*/other/progress.json: No space left on device"):
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
    with pytest.raises(Fault, match="is not what the lab wrote"):
        Progress(tmp_path).of(APP)


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


@pytest.mark.parametrize(
    "command",
    [["check"], ["check", "2"], ["list"], ["hint", "2"], ["reset", "2"], ["solution", "2"], ["report"], ["watch"]],
)
def test_another_folder_is_named_and_left_as_it_is(folder, command):
    (folder.path / "empty").mkdir()
    printed, status = folder.run("sh", "-c", f"cd empty && exec {' '.join([*LAB, *command])}")
    assert status == 1 and "empty has none of the course's files. Go to yours, or make one" in printed
    assert not list((folder.path / "empty").iterdir())


def test_what_goes_wrong_in_the_lab_itself_is_a_sentence(folder, monkeypatch, capsys):
    monkeypatch.setattr(cli.course, "course", lambda: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["lab", "list"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the tests' own stay
    monkeypatch.chdir(folder.path)
    monkeypatch.setenv("TMPDIR", str(folder.path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(SystemExit):
        cli.main()
    printed = capsys.readouterr().out
    assert printed.startswith("The lab itself has failed, and not you: ZeroDivisionError: division by zero (<lambda>,")
    assert "Traceback" in Path(re.search(r"show (\S+) to", printed)[1]).read_text()
    printed, status = folder.run("sh", "-c", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', "sh", *LAB, "list")
    assert status == 1 and printed.startswith("The folder of this terminal is not there any more. Go to yours")


def test_the_labs_own_folder_sends_students_to_theirs(tmp_path):
    """What is there is solved: a check of it would pass, and say nothing about the student."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rooms = {path.partition("/")[0] for path in tracked.splitlines() if "/" in path}
    for folder in (".", ".venv", "exercises/mine", *rooms):
        assert is_labs(ROOT / folder)
    for folder in ("my_celery", "my_celery/lab", "../lab"):
        assert not is_labs(ROOT / folder)
    command = [sys.executable, "-m", "lab"]
    for folder, arguments in ((".", ["check", "2"]), ("exercises", ["list"])):
        done = subprocess.run([*command, *arguments], cwd=ROOT / folder, capture_output=True, text=True)
        assert done.returncode == 1 and "This is the lab's own folder, where everything is solved" in done.stdout
        assert "o there: `" in done.stdout
    for folder in (".", "lab"):
        done = subprocess.run([*command, "new", folder], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1 and "a folder of the lab's own" in done.stdout


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


def test_a_report_says_who_got_where(folder):
    """Without any server: it reads what the checks found."""
    for who in ("ada", "bob"):
        folder.run(*LAB, "new", who)
    folder.run(*LAB, "check", "2")
    pass_all(folder)
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
    pass_all(folder)
    for form in ("table", "json", "junit"):
        assert report(folder, form)[1] == 0


def test_reset_keeps_what_a_teacher_wants_to_know(folder):
    pass_all(folder)
    folder.run(*LAB, "reset", "2")
    printed, _ = report(folder, "json")
    record = json.loads(printed)[0]["exercises"][APP.path.name]
    assert (record["passed"], record["checks"], record["hints"]) == (None, 2, 1)


def test_hint_without_a_number_is_for_the_next_exercise(folder):
    pass_all(folder)
    folder.run(*LAB, "reset", "2")
    printed, status = folder.run(*LAB, "hint")
    assert status == 0 and words(APP.hints[1]) in words(printed)
