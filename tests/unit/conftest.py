"""The lab's commands in this process: no server is started here, and hardly a process."""

import shutil
import signal
import sys

import pytest

from lab.cli import main
from lab.course.exercise import course


class Folder:
    """A student's folder, which is the current one, as `lab new` makes it."""

    def __init__(self, path, monkeypatch, capsys):
        self.path, self._monkeypatch, self._capsys = path, monkeypatch, capsys

    def lab(self, *words):
        """What a command of the lab prints, and its exit status."""
        self._monkeypatch.setattr(sys, "argv", ["lab", *words])
        self._capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        return "".join(self._capsys.readouterr()), status

    def solve(self, number):
        """Write the solutions of all exercises up to this one."""
        for exercise in course()[: number + 1]:
            for file in exercise.solutions:
                shutil.copy(file, self.path)


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the tests' own stay
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    folder = Folder(tmp_path, monkeypatch, capsys)
    printed, status = folder.lab("new", ".")
    assert status == 0, printed
    return folder
