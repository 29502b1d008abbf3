"""The parts of every exercise."""

import re

import pytest
from conftest import ROOT

from lab.cli.teach import table_of_wrong_states
from lab.course.exercise import course
from lab.fault import Wrong

COURSE = course()


def snake(name):
    return re.sub("(?<!^)(?=[A-Z])", "_", name).lower()


def each_exercise():
    return pytest.mark.parametrize("exercise", COURSE, ids=[exercise.path.name for exercise in COURSE])


def test_the_exercises_are_numbered_without_gaps():
    assert [exercise.number for exercise in COURSE] == list(range(COURSE[0].number, COURSE[0].number + len(COURSE)))


@each_exercise()
def test_an_exercise_has_all_its_parts(exercise):
    parts = re.findall(r"^## (.*)$", exercise.text("README.md"), re.MULTILINE)
    assert parts == ["What you will see", "Predict before you run", "Do this", "Check"]
    assert len(exercise.text("README.md").splitlines()) <= 70
    question, choices, answer = exercise.prediction
    assert question.endswith("?") and "".join(choices) in ("ab", "abc", "abcd") and answer in choices
    assert len(exercise.hints) == 3 and exercise.hints[0].endswith("?"), "three hints, a question first"


@each_exercise()
def test_every_wrong_state_of_an_exercise_is_brought_about(exercise):
    claimed = {snake(name) for name in exercise.wrong_states}
    assert len(claimed) >= 3
    assert set(exercise.states) == {"stub", "reference"} | claimed
    for kind in exercise.wrong_states.values():
        assert issubclass(kind, Wrong) and kind.next


def test_the_table_of_wrong_states_is_current():
    """`lab dev table` writes it."""
    assert table_of_wrong_states() in (ROOT / "exercises" / "TEACHING.md").read_text()
