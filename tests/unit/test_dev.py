"""What an author of exercises sees: a folder to fill in, and what is missing in it, in sentences."""

import shutil

import pytest
from click.testing import CliRunner

from lab.cli import teach
from lab.course import exercise
from lab.course.gaps import FILES, gaps
from lab.fault import Fault
from lab.paths import EXERCISES


@pytest.fixture
def exercises(tmp_path, monkeypatch):
    """A course of three exercises, of which the last is 02, and the template."""
    for name in ("00_by_hand", "01_broker", "02_app", "_template"):
        shutil.copytree(EXERCISES / name, tmp_path / name)
    for module in (teach, exercise):
        monkeypatch.setattr(module, "EXERCISES", tmp_path)
    monkeypatch.setattr(teach.subprocess, "call", lambda *_, **__: pytest.fail("no server is needed to see a gap"))
    return tmp_path


def dev(*words):
    """What `lab dev` prints, and its exit status."""
    done = CliRunner().invoke(teach.dev, words)
    if isinstance(done.exception, Fault):
        raise done.exception
    return done.output, done.exit_code


def test_a_new_exercise_is_a_folder_in_which_every_gap_is_found(exercises):
    printed, status = dev("new", "03_limits")
    assert status == 0 and "lab dev check 3" in printed
    folder = exercises / "03_limits"
    assert {file.name for file in folder.iterdir()} == set(FILES)
    assert (folder / "README.md").read_text().startswith("# 03 ")
    printed, status = dev("check", "3")
    assert status == 1 and printed.startswith("03_limits ")
    for name in FILES:
        for number, line in enumerate((folder / name).read_text().splitlines(), 1):
            assert ("TODO" in line) == (f"{name}, line {number}, is still to be written: " in printed)
    assert "check.py recognises 1 wrong state" in printed


@pytest.mark.parametrize(
    "name", ["limits", "3_limits", "03_Limits", "03_time limits", "03_/../02_app", "٠٣_limits", ""]
)
def test_a_name_that_no_exercise_has_is_refused(exercises, name):
    with pytest.raises(Fault) as refused:
        dev("new", name)
    assert "lab dev new 03_" in refused.value.remedy
    assert len(list(exercises.iterdir())) == 4


def test_an_exercise_that_is_there_already_is_not_the_next_one(exercises):
    with pytest.raises(Fault, match="02_app is there already") as refused:
        dev("new", "02_app")
    assert "lab dev check 2" in refused.value.remedy


@pytest.mark.parametrize("number", ["01", "04", "99"])
def test_a_new_exercise_takes_the_next_number(exercises, number):
    with pytest.raises(Fault, match="next exercise is number 3") as refused:
        dev("new", f"{number}_app")
    assert refused.value.remedy == "Type `lab dev new 03_app`"
    assert len(list(exercises.iterdir())) == 4


@pytest.mark.parametrize(
    "file, old, new, sentence",
    [
        ("README.md", "# 02 ", "# 03 ", "does not begin with `# 02 `"),
        ("README.md", "## Check", "## Checks", "Do this, Checks, and"),
        ("README.md", "## Check", "\n" * 70 + "## Check", "lines: leave out"),
        ("README.md", '"hi"})`?', '"hi"})`.', "no question"),
        ("README.md", "- b) ", "- d) ", "3 choices"),
        ("why.md", "**c)**", "**d)**", "why.md does not begin with the letter"),
        ("why.md", "**c)** ", "", "why.md does not begin with the letter"),
        ("hints.md", "3. ", "4 ", "2 hints"),
        ("hints.md", "?\n2.", ".\n2.", "first hint is no question"),
        ("check.py", "RECOGNISES =", "RECOGNISED =", "check.py or states.py cannot be used: AttributeError"),
        ("check.py", "Iterator[str]:", "Iterator[str]", "check.py or states.py cannot be used: SyntaxError"),
        ("check.py", "    NoConfiguration,\n", "", "a function no_configuration, and no wrong state"),
        ("check.py", "    next = ", "    then = ", "NoConfiguration in check.py does not say"),
        ("README.md", "$ lab check 2", "$ lab check 3", "does not show `$ lab check 2`"),
        ("check.py", "def check(", "def checks(", "no function check(desk)"),
        ("check.py", "    NoConfiguration,\n", "", "NoConfiguration in check.py is not one of those in RECOGNISES"),
        ("check.py", "    next = ", "    next = 'See `a. ' or ", "NoConfiguration in check.py: it has a `"),
        ("check.py", "    next = ", "    next = 'see. ' or ", "begin with a capital letter"),
        ("check.py", "    next = ", "    next = 'See it.' or ", "the full stop of its `next`"),
        ("check.py", '."""\n\n    next = ', '"""\n\n    next = ', "its docstring is a sentence"),
        (
            "check.py",
            "    next = ",
            "    next = 'Type app.config_from_object(\"celeryconfig\")' or ",
            "hands the solution out",
        ),
        ("check.py", "lab.course.kit", "lab.course.desk", "imports lab.course.desk: a check imports from"),
        ("solution/my_ml_app.py", "from celery ", "import lab.paths\nfrom celery ", "line 3, imports lab.paths: "),
        ("README.md", "## Do this\n", "## Do this\n\nTODO\n", "is still to be written."),
        (
            "states.py",
            "def reference(student):\n",
            "def reference(student):\n    student.port\n",
            "is no use to `lab grade`",
        ),
        ("states.py", "student.solve()", "student.solve(broker='')", "has to call student.solve() once"),
        ("states.py", "def reference", "def solved", "no function reference"),
        ("states.py", "def other_name", "def _other_name", "no function other_name"),
    ],
)
def test_whatever_is_missing_has_a_sentence(exercises, file, old, new, sentence):
    path = exercises / "02_app" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    printed, status = dev("check", "2")
    assert sentence in printed and status == 1


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_not_there_has_a_sentence(exercises, file):
    (exercises / "02_app" / file).unlink()
    assert f"{file} is not there" in dev("check")[0]


def test_an_exercise_without_gaps_is_tried_with_the_tests_packages(exercises, monkeypatch):
    assert not list(gaps(exercise.Exercise(exercises / "02_app")))
    monkeypatch.setattr(teach, "find_spec", lambda name: None)
    with pytest.raises(Fault, match="packages of the tests are not installed"):
        dev("check", "2")
    monkeypatch.setattr(teach, "find_spec", lambda name: name)
    asked = []
    monkeypatch.setattr(teach.subprocess, "call", lambda command, **_: asked.append(command) or 0)
    assert dev("check", "2") == ("", 0)
    assert asked[0][-2:] == ["-k", "02_app"]
