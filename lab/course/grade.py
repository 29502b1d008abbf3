"""Grade what a student wrote: start what a student would start, from their own files, and check every exercise.

progress.json is not believed. What runs while an exercise is checked is what its `reference` in states.py starts.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from celery import Celery

from lab.course import check as checker
from lab.course.exercise import Exercise, course
from lab.course.handout import ROOMS, handed_out
from lab.course.progress import FILE, Progress
from lab.course.student import literal
from lab.fault import Fault
from lab.probe.address import Address
from lab.probe.connection import AWAY
from lab.probe.ports import takes_connections
from lab.probe.queue import consumers
from lab.probe.wait import wait_until
from lab.probe.web import flower_port
from lab.probe.workers import workers
from lab.run.keeper import Child, Keeper
from lab.run.servers import free_port
from lab.run.stack import Lab

VARIABLES = "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"
LECTURE = "amqp://myuser:mypassword@localhost:5672//"  # where send.py and receive.py are, as they are handed out
LEFT = shutil.ignore_patterns(FILE, ".*", "__pycache__")  # not copied
LIMIT = 11 * 60  # seconds, after which no further check begins: a job at Classroom 50 has 15 minutes, to install in too
LOOK = 0.2  # seconds between two looks at a fact
START = 15  # seconds that a program of the student's may take to start; 3 on two cores
COMMAND = 60  # seconds for a command that ends by itself: 15 predictions of ten seconds took 25
TYPE = 10  # seconds in which a line is typed at the producer, and has become a message
TYPING = "30"  # seconds that a check waits for such a line
NOWHERE = subprocess.DEVNULL
LARGEST = 20_000  # blocks of 512 bytes that a program may write, for one may print without an end


def students_folders(place: Path) -> list[Path]:
    """The folders in a place, and the place itself, in which a student has started: first the one to grade.

    That is the one in which most has passed, as its progress.json says, and then the one with most files. The lab's own
    folder, in which everything is solved, is none.
    """
    given = {str(name) for name in handed_out() if name.suffix == ".py"}
    found = {}
    for name, inside, files in os.walk(place):
        path = Path(name)
        is_lab = {"exercises", "lab"} <= set(inside)
        inside[:] = sorted(name for name in inside if not name.startswith(".") and not (is_lab and name in ROOMS))
        if not is_lab and (number := len(given & set(files))):
            records = Progress(path).everything(course()).values()
            found[path] = sum(bool(one["passed"]) for one in records), number
    return sorted(found, key=found.__getitem__, reverse=True)


@contextmanager
def grading(folder: Path, tell: Callable[[str], None]) -> Iterator["Grading"]:
    """Copy a student's folder, go there, and start the servers at the addresses in its files: a Grading.

    For a process of its own, whose folder and environment it changes. tell(sentence) is called with what a teacher
    should know. Raises Fault where something listens at these addresses already.
    """
    with tempfile.TemporaryDirectory(prefix="lab-grade-", ignore_cleanup_errors=True) as copies:
        copy = Path(copies, folder.resolve().name)
        with suppress(shutil.Error):  # what is no file, or cannot be read, is left out
            shutil.copytree(folder, copy, symlinks=True, ignore=LEFT)
        sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]  # its celeryconfig.py would count
        os.chdir(copy)
        for name in (*VARIABLES, "PREDICT_SECONDS"):
            os.environ.pop(name, None)  # a teacher's own
        broker = written("celeryconfig.py", "broker_url") or written("send.py", "BROKER") or LECTURE
        results = written("celeryconfig.py", "result_backend")
        for url in filter(None, (broker, results)):
            must_be_free(url)
        app = Celery("grading", broker=broker, backend=results, set_as_current=False)
        lab = Lab(app, tell, parts=["servers"])
        try:
            lab.start_servers()
            set_environment(lab)
            with closing(Keeper()) as keeper:
                yield Grading(app, keeper)
        finally:
            lab.leave()
            os.chdir("/")  # the copy goes


def written(file: str, name: str) -> str | None:
    """An address that a file of the student's gives to a name as a plain text; None otherwise. Nothing of it is run."""
    with suppress(Fault, MemoryError, RecursionError):  # the last two: what is nested too deeply to be read
        return literal(file, name)
    return None


def must_be_free(url: str) -> None:
    """Raise Fault where somebody else's server would be asked. What is wrong with the address itself, a check says."""
    try:
        address = Address(url)
    except Fault:
        return
    if address.is_local and takes_connections(address.port):
        found = f"Something listens at {address.host}:{address.port} already, where this student's servers have to be"
        raise Fault(found, "Leave the lab that runs there, or stop that server, and try again")


def set_environment(lab: Lab) -> None:
    """What the student's programs are told, and the checks too: where Flower is to be, and what stands in for what."""
    for variable, server in zip(VARIABLES, (lab.broker, lab.results), strict=True):
        if server and not server.instead:
            del os.environ[variable]  # so that the student's own files count
    os.environ |= {"FLOWER_PORT": str(free_port(flower_port())), "LAB_TYPING": TYPING, "PYTHONUNBUFFERED": "1"}
    if lab.broker.flower_api:
        os.environ["FLOWER_BROKER_API"] = lab.broker.flower_api


class Grading:
    """Checks exercises in the current folder: for each, a Student starts what it needs, and all of that ends again."""

    def __init__(self, app: Celery, keeper: Keeper) -> None:
        self._app, self._keeper = app, keeper
        self._end = time.monotonic() + LIMIT

    def check(self, exercise: Exercise, tell: Callable[[checker.Line], None]) -> checker.Outcome:
        """The Outcome of an exercise. tell(line) is called for each line of its check as it comes."""
        if time.monotonic() > self._end:
            outcome = checker.Outcome(wrong="Not checked: what came before took too long", next="See what hangs there")
            tell({"wrong": outcome.wrong, "next": outcome.next})
            return outcome
        student = Student(self._app, self._keeper)

        def hear(line: checker.Line) -> None:
            tell(line)
            if "waiting" in line:
                student.type()

        try:
            exercise.states["reference"](student)
            return checker.run(exercise, hear)
        finally:
            student.leave()


class Student:
    """At the terminals of the folder that is graded: takes the part of the tests' student in states.py.

    Nothing raises an error here: what does not work, the check finds out.
    """

    def __init__(self, app: Celery, keeper: Keeper) -> None:
        self._app, self._keeper = app, keeper
        self._children: list[Child] = []
        self._line = ""

    def solve(self, **_: str) -> None:
        """The files are as the student left them."""

    def edit(self, *_: str) -> None:
        """Nor does it change them: it would make a slow model fast."""

    def open(self, *command: str) -> "Program":
        """A Program in a terminal of its own."""
        name = f"terminal-{len(self._keeper.children)}"
        limited = ["sh", "-c", f'ulimit -f {LARGEST}; exec "$@"', name, *by_this_python(command)]
        self._children.append(self._keeper.start(name, limited, Path(f".lab/{name}.log").absolute()))
        return Program(self._children[-1])

    def celery(self, *command: str) -> "Program":
        return self.open("celery", "-A", "my_ml_app", *command)

    def worker(self, *options: str) -> "Program":
        """A worker, once it answers."""
        program = self.celery("worker", *options)
        program.wait(lambda: workers(self._app))
        return program

    def run(self, *command: str, seconds: float = COMMAND) -> None:
        """A command that ends by itself, in so many seconds."""
        with suppress(subprocess.TimeoutExpired, OSError):  # it is not installed
            subprocess.run(by_this_python(command), stdin=NOWHERE, stdout=NOWHERE, stderr=NOWHERE, timeout=seconds)

    def install(self) -> None:
        """The packages of Node.js that the student chose, unless they are there: nobody hands them in."""
        if not os.path.exists("node_modules"):
            self.run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")

    def types(self, line: str) -> None:
        """This line is typed at the producer whenever the check waits for something."""
        self._line = line

    def type(self) -> None:
        if self._line:
            command = by_this_python(["python", "use_ml_app.py"])
            typed = f"{self._line}\nexit\n".encode()
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(command, input=typed, stdout=NOWHERE, stderr=NOWHERE, timeout=TYPE)

    def leave(self) -> None:
        """End what runs, and take what it held and what waits out of the queue."""
        for child in reversed(self._children):
            self._keeper.signal(child, signal.SIGKILL)  # the keeper ends its pool too
            child.ended.wait()
        queue = self._app.conf.task_default_queue
        with suppress(*AWAY):
            wait_until(lambda: not consumers(self._app, queue), START)  # RabbitMQ has taken back what it held
            self._app.control.purge()


class Program:
    """A student's program that runs, until it is ready or has ended, and not for longer than START."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def see(self, text: str) -> None:
        """Wait until it has printed this."""
        self.wait(lambda: text in Path(self._child.log).read_text(errors="replace"))

    def wait(self, fact: Callable[[], object]) -> None:
        wait_until(lambda: fact() or self._child.ended.is_set(), START, LOOK)


def by_this_python(command: Sequence[str]) -> list[str]:
    """A command of the exercises'; python and celery are this Python's, whatever is on the PATH."""
    programs = {"python": [sys.executable], "celery": [sys.executable, "-m", "celery"]}
    return programs.get(command[0], [command[0]]) + list(map(str, command[1:]))
