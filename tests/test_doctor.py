"""`lab doctor`: one table, with what is wrong and what to do about it."""

import re
import socket
import threading

import pytest
from celery import Celery
from conftest import free_port

from lab.probe import connection, login, rabbitmq
from lab.probe.address import Address
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
    assert "→ Other terminals join the lab with: export CELERY_BROKER_URL=redis://" in found["celeryconfig.py"][1]


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
    "user": ("myuser", "someone", "refuses the user 'someone' with this password → Put a user and password"),
    "port": ("localhost:[0-9]+", "localhost:1", "Nothing listens at localhost:1 → `make lab` or `make servers`"),
    "host": ("localhost", "nowhere.invalid", "No machine is called 'nowhere.invalid'"),
    "virtual host": ("[^/]+$", "missing", "has no virtual host 'missing' for the user 'myuser' → Correct the end"),
}


@pytest.mark.parametrize("part, wrong, sentence", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_broker_url(with_rabbitmq, part, wrong, sentence):
    with_rabbitmq.broker = re.sub(part, wrong, with_rabbitmq.broker)
    found, status = table(with_rabbitmq)
    assert status == 1
    assert found["broker"][0] == "✗" and sentence in found["broker"][1]


def test_a_package_of_another_version(tmp_path, monkeypatch):
    pins = tmp_path / "requirements.txt"
    pins.write_text("click==0.1  # a reason\nnobody-made-this==1\n")
    monkeypatch.setattr(doctor, "REQUIREMENTS", pins)
    found = doctor.packages()
    assert not found.good and "nobody-made-this missing" in found.found
    assert found.remedy == "`rm -r .venv`, then `make lab`"


def test_a_broken_app(student):
    (student.path / "my_ml_app.py").write_text("def f(:\n")
    found, status = table(student)
    assert status == 1
    assert found["my_ml_app.py"][0] == "✗" and "(my_ml_app.py, line 1)" in found["my_ml_app.py"][1]


def test_a_lab_folder_that_cannot_be_written(student):
    (student.path / ".lab").write_text("a file is in the way")
    found, _ = table(student)
    assert found[".lab"][0] == "✗" and "File exists → Make it yours" in found[".lab"][1]


def test_servers_that_answer_oddly_or_never_to_the_end(answering, tmp_path, monkeypatch, capsys):
    """As a program that holds the port of a server, or a broken one, may do."""
    monkeypatch.chdir(tmp_path)
    for module, name in ((login, "LOGIN"), (login, "ANSWER"), (connection, "ANSWER")):
        monkeypatch.setattr(module, name, 0.3)
    monkeypatch.setenv("FLOWER_PORT", str(answering(b"HTTP/1.1 200 OK\r\n" * 99, pause=0.02)))
    slow, odd = answering(b"+" * 99, pause=0.02), answering(b":5\r\n[/red]\x1b[2J" * 9)
    app = Celery(broker=f"redis://localhost:{slow}/0", backend=f"redis://localhost:{odd}/0")
    findings = list(doctor.examine(app))
    found = {finding.subject: finding for finding in findings}
    assert [found[subject].good for subject in ("broker", "result backend", "Flower")] == [False] * 3
    assert "does not answer" in found["broker"].found and found["broker"].remedy.startswith("See below which program")
    assert "is not Redis" in found["result backend"].found
    assert doctor.table([*findings, doctor.Finding("odd", True, "[/red] \x1b[2J")]) is False
    assert "[/red] ?[2J" in capsys.readouterr().out


DASHBOARD = {
    "401": (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "401", "rabbitmqctl set_user_tags myuser management"),
    "a list": (b"HTTP/1.1 200 OK\r\n\r\n[1]", "is not RabbitMQ's management API", "rabbitmq-plugins enable"),
    "no JSON": (b"HTTP/1.1 200 OK\r\n\r\n<html>", "is not RabbitMQ's management API", "rabbitmq-plugins enable"),
}


@pytest.mark.parametrize("says, sentence, remedy", DASHBOARD.values(), ids=DASHBOARD.keys())
def test_a_dashboard_that_refuses_or_is_none(answering, says, sentence, remedy):
    broker = Address("amqp://myuser:mypassword@localhost//")
    finding = doctor.asked("management API", doctor.management_api, broker, f"http://localhost:{answering(says)}")
    assert not finding.good and sentence in finding.found and remedy in finding.remedy


def test_whatever_a_question_raises_and_however_long_it_takes_there_is_a_finding(monkeypatch):
    def broken(subject):
        raise KeyError("\x1b[2J")

    assert "answers what nobody understands" in doctor.asked("workers", broken).found
    monkeypatch.setattr(doctor, "PATIENCE", 0.1)
    assert "does not answer within 0.1 seconds" in doctor.asked("workers", lambda _: threading.Event().wait(3)).found


@pytest.mark.parametrize("port", ["abc", "70000", "0"])
def test_a_port_for_flower_that_is_none(port, monkeypatch):
    monkeypatch.setenv("FLOWER_PORT", port)
    findings = {finding.subject: finding for finding in doctor.examine(Celery(broker="redis://localhost:1/0"))}
    assert findings["addresses"].found == f"FLOWER_PORT is {port!r}, and no number from 1 to 65535"


def test_a_full_broker(monkeypatch):
    """Whose disk or memory is short: not even a question to the workers would come back."""
    monkeypatch.setattr(rabbitmq, "ask", lambda url: "RabbitMQ 4.3.6")
    monkeypatch.setattr(rabbitmq, "alarm", lambda broker, dashboard: "disk space")
    app = Celery(broker="amqp://myuser:mypassword@broker.invalid//")
    findings = {finding.subject: finding for finding in doctor.examine(app)}
    assert "has too little disk space left" in findings["broker"].found and "workers" not in findings
