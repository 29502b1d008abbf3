"""Each command of CONTRIBUTING.md that shows output, in its order, in a copy of the lab, prints what is promised."""

import re
import shutil

from conftest import ROOT

from e2e.student import Terminal
from e2e.test_readme import pattern

BLOCKS = re.findall(r"```console\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__")


def test_contributing_shows_what_happens(student, rabbitmq):
    copy = student.path / "copy"  # which a new exercise may be added to
    shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
    commands = [part.split("\n", 1) for block in BLOCKS for part in re.findall(r"\$ ([^$]*)", block)]
    for command, promised in commands:
        in_copy = command.startswith("lab")
        env = student.env | {"LAB_TEST_RABBITMQ": rabbitmq[1]} | ({"PYTHONPATH": str(copy)} if in_copy else {})
        env = {name: value for name, value in env.items() if not name.startswith("PYTEST")}
        terminal = Terminal(["sh", "-c", f"exec {command}"], cwd=str(copy if in_copy else ROOT), env=env)
        terminal.timeout = 100  # seconds: pytest itself takes some to begin, while other tests run
        student.terminals.append(terminal)
        terminal.see(*map(pattern, promised.splitlines()))
        assert terminal.left() == (1 if "lacks" in promised else 0), terminal.before
    assert [command.split()[0] for command, _ in commands] == ["pytest", "pytest", "lab", "lab"]
