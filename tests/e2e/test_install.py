"""What `make lab` says on a machine on which it cannot install itself, and that it installs itself where it can."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT

from e2e.student import Student

TOOLS = ["sh", "make", "mkdir", "grep", "tail", "id", "env", "cat", "cp", "mv", "rm"]
COMMANDS = [["lab"], ["python", "-m", "lab"]]


@pytest.fixture
def bare(tmp_path):
    """A clone of the lab without .venv, and a PATH with nothing but what every machine has."""
    student = Student(tmp_path)
    for name in (".venv", "lab", "requirements.txt"):
        (tmp_path / name).unlink()
    shutil.copytree(ROOT / "lab", tmp_path / "lab")
    for name in ("pyproject.toml", "requirements.txt", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    yield student
    student.close()


def script(folder, name, text):
    """A program of that name."""
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def make_lab(student, python, **env):
    """What `make lab` prints and its exit status, where python3 is a shell script."""
    script(student.path / "bin", "python3", python)
    return student.run("make", "lab", PATH=str(student.path / "bin"), seconds=100, **env)


REAL = f'exec {sys.base_prefix}/bin/python3 "$@"'


def test_an_old_python(bare):
    old = 'case "$*" in *version_info*) exit 1;; *--version*) echo Python 3.9.2;; esac'
    printed, status = make_lab(bare, old)
    assert status != 0
    assert "The lab needs Python 3.11 or newer, and python3 is Python 3.9.2. Install one, or name it:" in printed


def test_no_python_at_all(bare):
    printed, status = bare.run("make", "lab", PATH=str(bare.path / "bin"))
    assert status != 0
    assert "newer, and there is no python3 here. Install one, or name it: make lab PYTHON=python3.12" in printed
    printed, _ = bare.run("make", "lab", "PYTHON=python4", PATH=str(bare.path / "bin"))
    assert "newer, and there is no python4 here." in printed


def test_no_venv_module(bare):
    printed, status = make_lab(bare, f'case "$*" in *ensurepip*) exit 1;; esac; {REAL}')
    assert status != 0
    assert "Please install python3-venv with this machine's package manager" in printed
    assert "Without Python's venv module the lab cannot be installed." in printed


NOWHERE = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_NO_INDEX": "", "PIP_FIND_LINKS": ""}


def test_no_network(bare):
    printed, status = make_lab(bare, REAL, **NOWHERE)
    assert status != 0
    assert "The packages could not be fetched: is there a network? pip's own messages are in .venv/inst" in printed
    assert not (bare.path / ".venv" / "installed").exists()


def test_no_compiler(bare):
    """The lab stands for a package whose build says what setuptools says when there is no compiler."""
    (bare.path / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "build"\nbackend-path = ["."]\n'
    )
    (bare.path / "build.py").write_text("def build_editable(*_): raise SystemExit(\"error: command 'cc' failed\")\n")
    printed, status = make_lab(bare, REAL)
    assert status != 0
    assert "A package has to be compiled on this machine, and no compiler was found." in printed


@pytest.fixture
def quick(bare):
    """One in which nothing has to be fetched."""
    (bare.path / "requirements.txt").write_text("# nothing\n")
    return bare


@pytest.mark.timeout(400)
def test_without_a_network_it_installs_what_make_offline_gathered(quick):
    """As far as that is for this Python and this kind of machine, which is said otherwise."""
    programs = quick.path / "bin"
    script(programs, "python3", REAL)
    for tool in ("sed", "du", "cut"):
        (programs / tool).symlink_to(shutil.which(tool))

    def run(*command, **env):
        return quick.run(*command, PATH=str(programs), seconds=180, **env)

    printed, status = run("make", "offline")
    assert status == 0, printed
    assert "Without RabbitMQ's packages" in printed and "Without images: Docker does not run here." in printed
    shutil.rmtree(quick.path / ".venv")
    install = "sh", "lab/setup/install.sh", "requirements.txt"
    printed, status = run(*install, **NOWHERE)
    assert status == 0, printed
    assert "lab" in {entry.name for entry in (quick.path / ".venv" / "bin").iterdir()}
    (quick.path / "requirements.txt").write_text("nobody-made-this==1\n")
    printed, status = run(*install, **NOWHERE)
    assert status == 1 and "What is in offline/ is not for this Python on this kind of machine." in printed


def test_it_installs_once_and_for_every_folder(quick):
    """Where the path has a space in it, too. A student's own modules hide nothing of it, nor does it lend any."""
    quick.path = quick.path.rename(quick.path.with_name("the lab"))
    first, _ = make_lab(quick, REAL)
    second, _ = make_lab(quick, REAL)
    assert "Installing the packages of requirements.txt into .venv, this once. It takes a minute or two" in first
    assert "Installing" not in second and "anew" not in first + second
    assert not list(quick.path.glob("*.egg-info"))
    own = next((quick.path / ".venv").glob("lib/*/site-packages"))
    (own / "and.pth").write_text(sysconfig.get_path("purelib"))  # before lab.pth: the packages of the tests' own .venv
    folder = quick.path.with_name("my_celery")
    folder.mkdir()
    (folder / "lab.py").write_text("print('mine')")
    quick.path, clone = folder, quick.path
    path = {"PATH": f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}"}
    for command in COMMANDS:
        assert "has none of" in quick.run(*command, "list", **path)[0]
    names = {entry.stem for entry in ROOT.iterdir() if entry.suffix in ("", ".py") and entry.stem.isidentifier()}
    names -= {"__pycache__"}  # Python's own
    assert {"lab", "tests", "exercises", "my_ml_app", "celeryconfig"} <= names
    look = f"from importlib.util import find_spec as f; print([n for n in {sorted(names)} if f(n)], f('lab').origin)"
    assert quick.run("python", "-c", look, **path)[0] == f"['lab'] {clone}/lab/__init__.py\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_comes_before_the_command(student, command):
    """Another module of the name of one of Python's, a Python without docstrings, and Ctrl-C while it starts."""
    (student.path / "random.py").touch()
    said = "Your random.py hides the module random, which Python or one of its packages needs."
    assert said in student.run(*command, "doctor")[0]
    (student.path / "random.py").unlink()
    assert "A lab in which predictions travel" in student.run(*command, "--help", PYTHONOPTIMIZE="2")[0]
    (student.path / "before").mkdir()
    (student.path / "before" / "sitecustomize.py").write_text("import os; os.kill(os.getpid(), 2)")
    assert student.run(*command, "--help", PYTHONPATH="before") == ("", -signal.SIGINT)


# A Python of which .venv is made in no time
QUICK = """case "$*" in
*"-m venv"*) rm -rf .venv && mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
*sysconfig*) mkdir -p .venv/lib && echo .venv/lib ;;
*-VV*) echo Python 3.12.1 ;;
esac"""


def test_it_installs_again_what_no_longer_fits(quick):
    """Its folder was renamed, its Python is gone, it is too old, or another one is wanted."""

    def again(*arguments):
        printed, _ = quick.run("make", "lab", *arguments, PATH=str(quick.path / "bin"))
        assert ("The folder .venv does not fit any more, so it is made again." in printed) == ("Installing" in printed)
        return "Installing" in printed

    make_lab(quick, QUICK)
    assert not again()
    quick.path = quick.path.rename(quick.path.with_name("renamed"))
    assert again() and not again()
    python = quick.path / ".venv" / "bin" / "python"
    python.unlink()
    assert again() and not again()
    python.write_text("#!/bin/sh\nexit 1\n")  # which is what one that is too old says
    assert again() and not again()
    script(quick.path / "bin", "python3.99", QUICK.replace("3.12.1", "3.99.0"))
    for named in ("python3.99", quick.path / "bin" / "python3.99"):  # whose path has spaces in it
        assert again(f"PYTHON={named}") and not again(f"PYTHON={named}") and not again()
        python.write_text("#!/bin/sh\nexit 1\n")


def test_a_venv_of_another_user(quick):
    """Which `sudo make lab` leaves behind. As root, by becoming nobody."""
    make_lab(quick, QUICK)
    (quick.path / ".venv" / "installed").unlink()
    (quick.path / ".venv").chmod(0o555)
    become = []
    if os.geteuid() == 0:
        for folder in [quick.path, *quick.path.parents[:-2]]:  # up to /tmp
            folder.chmod(folder.stat().st_mode | 0o055)
        read_all = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]  # also what is root's alone
        become = [shutil.which("setpriv"), "--reuid=nobody", "--regid=nogroup", "--clear-groups", *read_all]
    printed, status = quick.run(*become, "make", "lab", PATH=str(quick.path / "bin"))
    assert status != 0 and "belongs to somebody else (was it made with sudo?). Remove it: sudo rm -r .venv" in printed


def test_a_folder_whose_name_breaks_activate(quick):
    quick.path = quick.path.rename(quick.path.with_name('it is "here"'))
    printed, status = make_lab(quick, QUICK)
    assert status == 0 and "`make lab` works here; activate does not." in printed


def test_a_drive_without_symbolic_links(quick):
    printed, status = make_lab(quick, QUICK.replace("rm -rf .venv", "exit 1"))
    assert status != 0 and "A Windows drive may lack the symbolic links that it needs" in printed


def test_rabbitmq_that_is_installed_already_or_cannot_be(bare):
    programs = bare.path / "bin"

    def run(*command):
        return bare.run(*command, PATH=str(programs))[0]

    script(programs, "rabbitmq-server", "")
    script(programs, "pgrep", "exit 1")
    assert run("make", "rabbitmq") == "RabbitMQ is installed. The next `make lab` uses it.\n"
    script(programs, "pgrep", "exit 0")
    assert "stop it: sudo systemctl disable --now rabbitmq-server" in run("make", "rabbitmq")
    apt = ("sh", "lab/setup/apt.sh", "rabbitmq-server")
    assert "(on macOS: brew install rabbitmq)" in run(*apt)
    script(programs, "apt-get", "")
    script(programs, "id", "echo 1000")
    script(programs, "sudo", "exit 1")
    assert "Type `sudo apt-get install rabbitmq-server`. Then repeat your command." in run(*apt)


def test_packages_that_make_offline_gathered_need_no_network(bare):
    """Only those that are not installed: another one than the newest would be put in their place."""
    programs = bare.path / "bin"
    for name, text in {
        "id": "echo 0",
        "dpkg": """[ "$1" = -s ] || { echo amd64; exit; }; [ "$2" != there ] || echo Status: install ok installed""",
        "dpkg-deb": 'basename "$2" .deb',
        "apt-get": """echo "$@" >>apt.log""",
    }.items():
        script(programs, name, text)
    (programs / "basename").symlink_to(shutil.which("basename"))
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    kind = f"{release['ID']}{release['VERSION_ID']}-amd64".replace('"', "")
    gathered = bare.path / "offline" / kind / "rabbitmq-server"
    gathered.mkdir(parents=True)
    for name in ("rabbitmq-server", "there"):
        (gathered / f"{name}.deb").touch()
    printed, status = bare.run("sh", "lab/setup/apt.sh", "rabbitmq-server", PATH=str(programs))
    assert status == 0, printed
    [line] = (bare.path / "apt.log").read_text().splitlines()
    assert line.endswith(f"install -y --no-install-recommends {gathered}/rabbitmq-server.deb")
    script(programs, "apt-get", """echo "$@" >>apt.log; case "$*" in *.deb) exit 1;; esac""")
    assert bare.run("sh", "lab/setup/apt.sh", "rabbitmq-server", PATH=str(programs))[1] == 0
    ends = [line.split()[-1] for line in (bare.path / "apt.log").read_text().splitlines()]
    assert ends[-2:] == ["update", "rabbitmq-server"]  # where they are refused, a network may help
    script(programs, "id", "echo 1000")
    script(programs, "sudo", "exit 1")
    printed, _ = bare.run("sh", "lab/setup/apt.sh", "rabbitmq-server", PATH=str(programs))
    assert "Type `sudo sh lab/setup/apt.sh rabbitmq-server`. Then repeat your command." in printed


@pytest.mark.parametrize("end", ["", "import sys; del sys.orig_argv; sys.version_info = (3, 9)"])
def test_another_python_than_that_of_venv(tmp_path, end):
    """Which a terminal has that does not know .venv."""
    (tmp_path / "lab").symlink_to(ROOT / "lab")
    (tmp_path / "sitecustomize.py").write_text(end)
    command = [f"{sys.base_prefix}/bin/python3", "-S", "-m", "lab", "doctor"]
    if end:
        command.remove("-S")
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True)
    assert done.returncode == 1 and b"Traceback" not in done.stderr
    assert b"does not have the lab's packages. Type `. .venv/bin/activate` in each terminal" in done.stdout


def test_what_is_imported_is_required():
    files = [file for folder in ("lab", "exercises") for file in (ROOT / folder).rglob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    packages = metadata.packages_distributions()
    imported = {packages.get(name.partition(".")[0], [""])[0].lower() for name in names} - {"", "celery-lab"}
    required = [ROOT / "requirements.txt", ROOT / "exercises/20_http/stub/requirements-http.txt"]
    assert imported <= {name for file in required for name in re.findall(r"^\w+", file.read_text(), re.MULTILINE)}
