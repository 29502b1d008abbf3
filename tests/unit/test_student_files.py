"""The files that a student ends with, as they are written."""

from conftest import ROOT


def test_student_files_fit_on_a_screen():
    for name in ("celeryconfig.py", "my_ml_app.py", "use_ml_app.py"):
        assert len((ROOT / name).read_text().splitlines()) <= 50, name


def test_a_student_ends_with_the_guard_of_the_lab():
    assert (ROOT / "exercises/16_poison/solution/guard.py").read_text() == (ROOT / "guard.py").read_text()
