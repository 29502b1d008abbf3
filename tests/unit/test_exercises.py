"""The parts of every exercise."""

import pytest
from conftest import ROOT

from lab.cli.teach import table_of_wrong_states
from lab.course.exercise import course
from lab.course.gaps import gaps

COURSE = course()


def test_the_exercises_are_numbered_without_gaps():
    assert [exercise.number for exercise in COURSE] == list(range(COURSE[0].number, COURSE[0].number + len(COURSE)))


@pytest.mark.parametrize("exercise", COURSE, ids=[exercise.path.name for exercise in COURSE])
def test_an_exercise_has_all_its_parts(exercise):
    assert not list(gaps(exercise))


def test_the_table_of_wrong_states_is_current():
    """`lab dev table` writes it."""
    assert table_of_wrong_states() in (ROOT / "exercises" / "TEACHING.md").read_text()
