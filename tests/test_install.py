"""What `make lab` says on a machine on which it cannot install itself, and that it installs itself where it can."""

import shutil
import sys

import pytest
from conftest import Student

TOOLS = ["sh", "make", "mkdir", "grep", "tail", "touch", "id", "env", "cat"]


@pytest.fixture
def bare(tmp_path):
    """A student's folder without .venv, and a PATH with nothing but what every machine has."""
    student = Student(tmp_path)
    (tmp_path / ".venv").unlink()
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    yield student
    student.close()


def make_lab(student, python, **env):
    """What `make lab` prints and its exit status, where python3 is a shell script."""
    script = student.path / "bin" / "python3"
    script.write_text(f"#!/bin/sh\n{python}\n")
    script.chmod(0o755)
    return student.run("make", "lab", PATH=str(student.path / "bin"), **env)


REAL = f'exec {sys.base_prefix}/bin/python3 "$@"'


def test_an_old_python(bare):
    old = 'case "$*" in *version_info*) exit 1;; *--version*) echo Python 3.9.2;; esac'
    printed, status = make_lab(bare, old)
    assert status != 0
    assert "The lab needs Python 3.11 or newer, and python3 is Python 3.9.2. Install a newer one" in printed


def test_no_venv_module(bare):
    printed, status = make_lab(bare, f'case "$*" in *ensurepip*) exit 1;; esac; {REAL}')
    assert status != 0
    assert "Please install python3-venv with this machine's package manager" in printed
    assert "Without Python's venv module the lab cannot be installed." in printed


def test_no_network(bare):
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
        "PIP_NO_INDEX": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
    }
    printed, status = make_lab(bare, REAL, **nowhere)
    assert status != 0
    assert "The packages could not be fetched: is there a network? pip's own words are in .venv/install.log." in printed
    assert not (bare.path / ".venv" / "lab.done").exists()


def test_no_compiler(bare):
    """A package whose build says what setuptools says when there is no compiler."""
    package = bare.path / "needs_c"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "build"\nbackend-path = ["."]\n'
        '[project]\nname = "needs_c"\nversion = "1"\n'
    )
    (package / "build.py").write_text("def build_wheel(*_): raise SystemExit(\"error: command 'cc' failed\")\n")
    (bare.path / "requirements.txt").unlink()
    (bare.path / "requirements.txt").write_text("./needs_c\n")
    printed, status = make_lab(bare, REAL)
    assert status != 0
    assert "A package has to be compiled on this machine, and no compiler was found." in printed


def test_it_installs_once(bare):
    (bare.path / "requirements.txt").unlink()
    (bare.path / "requirements.txt").write_text("# nothing\n")
    first, _ = make_lab(bare, REAL)
    second, _ = make_lab(bare, REAL)
    assert "Installing the packages of requirements.txt into .venv, this once" in first
    assert "Installing" not in second
