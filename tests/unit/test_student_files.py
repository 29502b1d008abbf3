"""celeryconfig.py, my_ml_app.py and use_ml_app.py, as they are written."""

from conftest import ROOT


def test_student_files_fit_on_a_screen():
    for name in ("celeryconfig.py", "my_ml_app.py", "use_ml_app.py"):
        assert len((ROOT / name).read_text().splitlines()) <= 50, name
