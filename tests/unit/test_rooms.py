"""Who may import what, and when: the rooms of lab/ in one direction, and a student's files nothing of ours."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

LEAVES = {"fault", "paths"}
SERVERS = LEAVES | {"probe", "messages"}
MAY = {  # what a room of lab/ may import, besides itself
    "fault": set(),
    "paths": set(),
    "probe": LEAVES,
    "messages": LEAVES | {"probe"},
    "run": SERVERS,
    "live": SERVERS,
    "trial": SERVERS | {"run", "live"},
    "course": SERVERS | {"run", "live", "trial"},
    "cli": SERVERS | {"run", "live", "trial", "course"},
    "__main__": {"cli"},
    "__init__": set(),
}
OURS = {"lab", "exercises", "tests", "benchmarks", "conftest", "unit", "e2e"}


def imports(file):
    """Whatever of ours a file imports, as in lab.probe.login.ask, and in which line."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file.relative_to(ROOT)}, line {node.lineno}: write the whole name of the module"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] in OURS:
                yield name, node.lineno


def hold(rule, files, allowed):
    """Fail with a line for each import that is not allowed(file, name of the module)."""
    found = [
        f"{file.relative_to(ROOT)}, line {line}, imports {name}"
        for file in files
        for name, line in imports(file)
        if not allowed(file, name)
    ]
    assert not found, "\n".join([rule, *found])


def room(file):
    """The first part of the path inside lab/, which is a folder or a module."""
    return file.relative_to(ROOT / "lab").parts[0].removesuffix(".py")


def test_the_rooms_of_the_lab_import_one_way():
    files = sorted((ROOT / "lab").rglob("*.py"))
    assert {room(file) for file in files} == MAY.keys(), "say here what a new room may import"

    def allowed(file, name):
        package, other = name.split(".")[:2]
        return package == "lab" and (other in MAY[room(file)] | {room(file)} or other not in MAY)

    arrows = "fault <- probe <- messages <- run, live <- trial <- course <- cli"
    hold(f"{arrows}; run and live do not know each other", files, allowed)


def test_checks_import_from_the_one_place_that_is_documented_for_them():
    files = sorted((ROOT / "exercises").glob("*/check.py"))
    hold("a check imports from lab.course.kit", files, lambda _, name: name.startswith("lab.course.kit."))


def test_what_a_student_runs_or_copies_imports_nothing_of_ours():
    files = [ROOT / name for name in ("celeryconfig.py", "guard.py", "my_ml_app.py", "use_ml_app.py")]
    files += [file for file in (ROOT / "exercises").rglob("*.py") if file.name != "check.py"]
    hold("it has to work on a machine that never saw this lab", sorted(files), lambda *_: False)


@pytest.mark.parametrize(
    "module, late", [("lab.cli", {"asyncio", "celery", "psutil", "redis", "rich"}), ("lab.course.checking", {"httpx"})]
)
def test_what_takes_long_to_import_waits_until_it_is_needed(module, late):
    """`lab list` asks nobody, and few checks ask over HTTP: a student waits for each import."""
    look = f"import sys, {module}; print(*{late} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", look], text=True) == "\n"
