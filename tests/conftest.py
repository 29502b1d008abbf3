"""What all tests share: a folder with an awkward name, ports that are free, and servers that answer oddly."""

import json
import os
import random
import re
import socket
import textwrap
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from lab.course.exercise import course
from lab.fault import Fault

# The terminal may have addresses, and no test may send there; and a size, which is not that of a test's terminal.
for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "COLUMNS", "LINES"):
    os.environ.pop(name, None)

ROOT = Path(__file__).parent.parent
AWKWARD = "Größe 📦 x"  # as folders are called: letters beyond ASCII, one beyond 16 bits, and spaces


@pytest.fixture
def tmp_path(tmp_path):
    """pytest's folder for one test, in whose path there is a space, an umlaut and an emoji."""
    path = tmp_path / AWKWARD
    path.mkdir()
    return path


def free_port():
    """A port below the range from which clients get theirs, with the one 10000 above it free too."""
    while True:
        port = random.randrange(10000, 22000)
        try:
            for number in (port, port + 10000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port


def pass_all(folder):
    """Write the progress of a student who has passed every exercise."""
    record = {"checks": 2, "hints": 1, "passed": "2026-01-01T10:00:00+00:00", "seconds": 1.5, "facts": ["found"]}
    (folder / "progress.json").write_text(json.dumps({one.path.name: record for one in course()}))


def said(function, *arguments):
    """The sentence with which a function ends, or nothing."""
    try:
        function(*arguments)
    except Fault as fault:
        return fault.sentences()


def words(markdown):
    """A text without its marks and line ends."""
    return " ".join(re.sub(r"```\w*|[*`•]", "", markdown).split())


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file of the student's, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (tmp_path / name).write_text(textwrap.dedent(text))

    return write


@pytest.fixture
def answering():
    """Start a server that says the same to everybody, in one piece or byte by byte; its port is returned."""
    stop, listeners = threading.Event(), []

    def talk(connection, says, pause):
        with connection, suppress(OSError):
            for piece in [says] if pause is None else (says[i : i + 1] for i in range(len(says))):
                connection.sendall(piece)
                stop.wait(pause or 0)
            connection.shutdown(socket.SHUT_WR)
            stop.wait(5)

    def listen(listener, says, pause):
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=[listener.accept()[0], says, pause], daemon=True).start()

    def start(says, pause=None):
        listeners.append(socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=listen, args=[listeners[-1], says, pause], daemon=True).start()
        return listeners[-1].getsockname()[1]

    yield start
    stop.set()
    for listener in listeners:
        listener.close()
