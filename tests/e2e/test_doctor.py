"""`lab doctor`: one table, with what is wrong and what to do about it."""

import re
import socket

import pytest
from celery import Celery
from conftest import free_port

from lab.run import doctor

DOCTOR = ["python", "-m", "lab", "doctor"]


def table(student, **env):
    """The doctor's findings by subject, each (mark, found and remedy on one line), and its exit status."""
    printed, status = student.run(*DOCTOR, COLUMNS="200", **env)
    assert "Traceback" not in printed
    found, subject = {}, None
    for line in printed.splitlines():
        if line.startswith(" "):  # what was found goes on
            found[subject] = (found[subject][0], f"{found[subject][1]} {line.strip()}")
        else:
            mark, subject, text = re.split(r"\s{2,}", line.strip(), maxsplit=2)
            found[subject] = (mark, text)
    return found, status


def test_all_is_well_in_a_running_lab(with_rabbitmq):
    lab = with_rabbitmq.open("python", "-m", "lab", "start")
    lab.see("Enter a message:")
    found, status = table(with_rabbitmq)
    assert status == 0, found
    assert {mark for mark, _ in found.values()} == {"✓", "–"}
    where = "logged in as 'myuser', virtual host '[0-9a-f]{32}'"
    assert re.fullmatch(rf"amqp://myuser:\*\*@\S+ RabbitMQ [\d.]+, {where}", found["broker"][1])
    assert re.fullmatch(r"redis://\S+ Valkey [\d.]+", found["result backend"][1])
    assert re.fullmatch(r"http://localhost:\d+, RabbitMQ [\d.]+", found["management API"][1])
    assert re.fullmatch(r"lab@\S+ with 2 processes", found["workers"][1])
    assert re.fullmatch(r"http://localhost:\d+: [\d.]+", found["Flower"][1])
    assert re.search(r"celery [\d.]+.* flower [\d.]+", found["packages"][1])
    assert re.fullmatch(r"3\.\d+\.\d+ \(.*\)", found["Python"][1])
    port = with_rabbitmq.flower.rpartition(":")[2]
    assert re.fullmatch(r"python\S* \(process \d+\)", found[f"port {port}"][1])


def test_only_servers_run(with_valkey):
    found, status = table(with_valkey)
    assert status == 1 and found["broker"][0] == "✓"
    assert found["workers"] == ("✗", "none is online → `make lab`, or `celery -A my_ml_app worker`")


def test_nothing_runs(student):
    found, status = table(student)
    assert status == 1
    for subject in ("broker", "result backend"):
        assert found[subject][0] == "✗"
        assert "Nothing listens at localhost" in found[subject][1]
        assert "→ `make lab` or `make servers` starts it" in found[subject][1]
    assert "workers" not in found  # which nobody can ask without a broker
    assert not (student.path / ".lab").exists()  # the doctor only looks
    assert found["Flower"][0] == "✗" and "→ `make lab`, or `celery -A my_ml_app flower`" in found["Flower"][1]


def test_a_stand_in_is_found(student):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        student.broker = f"amqp://myuser:mypassword@localhost:{silent.getsockname()[1]}//"
        lab = student.open("python", "-m", "lab", "start")
        lab.see("Enter a message:")
        found, status = table(student)
    assert status == 0
    assert re.fullmatch(r"redis://:\*\*@localhost:\d+/0 Valkey [\d.]+", found["broker"][1])
    assert found["workers"][0] == "✓"
    assert "→ Type this in the other terminals: export CELERY_BROKER_URL=redis://" in found["celeryconfig.py"][1]


def test_a_stand_in_of_the_labs_own_folder_is_found(with_valkey, monkeypatch):
    """In a student's folder, where no lab runs; `make servers` does so in its own."""
    stand_in = {"url": with_valkey.results, "instead": "RabbitMQ is not installed."}
    monkeypatch.setattr(doctor.Claim, "held", lambda name, folders=None: {} if folders else {"broker": stand_in})
    monkeypatch.setenv("CELERY_BROKER_URL", f"amqp://localhost:{free_port()}//")
    app = Celery("my_ml_app", set_as_current=False)
    found = {one.subject: one for one in doctor.examine(app)}
    assert found["broker"].good and "Valkey" in found["broker"].found
    assert f"export CELERY_BROKER_URL={with_valkey.results}" in found["celeryconfig.py"].remedy


WRONG = {
    "user": ("myuser", "someone", "refuses the user 'someone' with this password → Write a user and password"),
    "port": ("localhost:[0-9]+", "localhost:1", "Nothing listens at localhost:1 → `make lab` or `make servers`"),
    "host": ("localhost", "nowhere.invalid", "There is no machine called 'nowhere.invalid'"),
    "virtual host": ("[^/]+$", "missing", "has no virtual host 'missing' for the user 'myuser' → Correct the end"),
}


@pytest.mark.parametrize("part, wrong, sentence", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_broker_url(with_rabbitmq, part, wrong, sentence):
    with_rabbitmq.broker = re.sub(part, wrong, with_rabbitmq.broker)
    found, status = table(with_rabbitmq)
    assert status == 1
    assert found["broker"][0] == "✗" and sentence in found["broker"][1]


def test_a_broken_app(student):
    (student.path / "my_ml_app.py").write_text("def f(:\n")
    found, status = table(student)
    assert status == 1
    assert found["my_ml_app.py"][0] == "✗" and "(my_ml_app.py, line 1)" in found["my_ml_app.py"][1]


def test_a_lab_folder_that_cannot_be_written(student):
    (student.path / ".lab").write_text("a file is in the way")
    found, _ = table(student)
    assert found[".lab"][0] == "✗" and "File exists → Make it yours" in found[".lab"][1]
