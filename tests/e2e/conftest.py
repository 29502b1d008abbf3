"""Real servers, each started when the first test asks for it."""

import fcntl
import os
import re
import subprocess
import sys
import uuid

import httpx
import pytest
from conftest import AWKWARD, ROOT, free_port

from e2e.student import RABBITMQ, SECONDS, Student, eventually, require, with_results


def pytest_collection_modifyitems(items):
    """What takes longest begins first: grading the whole course, minutes in one process."""
    items.sort(key=lambda item: item.path.name != "test_grade.py")


@pytest.fixture
def student(tmp_path):
    """A student whose servers do not run yet; both are Valkey."""
    student = Student(tmp_path)
    yield student
    student.close()


@pytest.fixture(scope="session")
def rabbitmq(request, tmp_path_factory):
    """The management API of the node that all tests share, and its broker URL for the virtual host /.

    While you work on one test, a node that runs already saves its 8 seconds: LAB_TEST_RABBITMQ is its URL.
    """
    require("RabbitMQ", RABBITMQ)
    url = os.environ.get("LAB_TEST_RABBITMQ") or shared_node(request.config, tmp_path_factory.getbasetemp())
    port = int(re.search(r":(\d+)//$", url)[1]) + 10000
    with httpx.Client(base_url=f"http://localhost:{port}/api", auth=("myuser", "mypassword")) as api:

        def ready():
            try:
                return api.get("/whoami").is_success
            except httpx.HTTPError:
                return False

        eventually(ready, "RabbitMQ is ready", 60)
        yield api, url


def shared_node(config, folder):
    """The broker URL of the one RabbitMQ of this session, started as `make servers` does by whoever asks first."""
    session = os.getpid()
    if hasattr(config, "workerinput"):  # one of several processes of pytest-xdist
        session, folder = os.getppid(), folder.parent
    known = folder / "rabbitmq.url"
    with open(folder / "rabbitmq.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not known.exists():
            path = folder / f"RabbitMQ {AWKWARD}"
            path.mkdir()
            node = Student(path, f"amqp://myuser:mypassword@localhost:{free_port()}//")
            keep = [sys.executable, ROOT / "tests/e2e/keep.py", str(session), sys.executable, "-m", "lab", "servers"]
            with open(folder / "rabbitmq.log", "w") as log:
                subprocess.run(
                    keep, cwd=path, env=node.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True
                )
            known.write_text(node.broker)
    return known.read_text()


@pytest.fixture
def with_rabbitmq(student, rabbitmq):
    """A student whose broker and result backend run, with a virtual host of their own."""
    api, url = rabbitmq
    name = uuid.uuid4().hex
    api.put(f"/vhosts/{name}").raise_for_status()
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    api.put(f"/permissions/{name}/myuser", json=everything).raise_for_status()
    student.broker = f"{url[:-1]}{name}"
    yield with_results(student)
    student.close()
    api.delete(f"/vhosts/{name}", timeout=SECONDS)  # each costs the dashboard time, and a student's has few


@pytest.fixture
def with_valkey(student):
    """A student whose broker and result backend run."""
    student.broker = re.sub("/0$", "/1", student.results)
    return with_results(student)


@pytest.fixture(params=["rabbitmq", "valkey"])
def served(request):
    """A student whose broker and result backend run: once with each kind of broker."""
    return request.getfixturevalue(f"with_{request.param}")
