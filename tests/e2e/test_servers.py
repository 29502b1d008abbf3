"""The rule for brokers: what answers is used, what does not is started at its very address, or replaced by Valkey."""

import os
import pwd
import re
import signal
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from conftest import AWKWARD, free_port

from e2e.student import RABBITMQ, Student, eventually, require
from lab.fault import Fault
from lab.probe.address import Address
from lab.probe.login import ask
from lab.probe.ports import port_holder, stranger
from lab.probe.rabbitmq import ManagementAway
from lab.run.keeper import Keeper
from lab.run.servers import NotAdministrator, own_virtual_host

SERVERS = ["python", "-m", "lab", "servers"]
START = ["python", "-m", "lab", "start"]


@contextmanager
def node(name):
    """A student with a RabbitMQ of their own, which does not run yet.

    In a folder of that name outside of pytest's own: that one is closed to other users, each time a pytest begins.
    """
    require("RabbitMQ", RABBITMQ)
    with tempfile.TemporaryDirectory(prefix=name) as folder:
        student = Student(Path(folder), broker=f"amqp://myuser:mypassword@localhost:{free_port()}//")
        yield student
        student.close()


@pytest.fixture
def own_node():
    with node(f"{AWKWARD} ") as student:
        yield student


@pytest.fixture
def own_node_in_any_folder():
    """RabbitMQ and Valkey write its name into their configurations."""
    with node('it\'s "ä" \\ 🐇\n#') as student:
        yield student


def port(url):
    return int(re.search(r":(\d+)/", url)[1])


def test_a_node_of_its_own_knows_the_configured_user_and_keeps_what_waits(own_node):
    lab = own_node.open(*START, PREDICT_SECONDS="60")
    lab.see("Starting RabbitMQ", r"RabbitMQ [\d.]+, started here", r"dashboard +(http://localhost:\d+)")
    dashboard = lab.match[1]
    assert dashboard == f"http://localhost:{port(own_node.broker) + 10000}"
    lab.see("Enter a message:")
    assert httpx.get(f"{dashboard}/api/whoami", auth=("myuser", "mypassword")).json()["tags"] == ["administrator"]
    assert httpx.get(f"{dashboard}/api/whoami", auth=("guest", "guest")).status_code == 401
    listening = [c.laddr.ip for p in own_node.processes() for c in p.net_connections("tcp") if c.status == "LISTEN"]
    assert listening and set(listening) <= {"127.0.0.1", "::1"}
    tasks = [own_node.ask(f"message {number}") for number in range(15)]
    lab.see("Received:")
    os.kill(lab.pid, signal.SIGKILL)  # the hardest end of all
    own_node.nothing_runs()

    own_node.broker = own_node.broker.replace("mypassword", "another-p%40ss")  # as if celeryconfig.py had been edited
    again = own_node.open(*START, PREDICT_SECONDS="0")
    again.see("Enter a message:")
    app = own_node.app
    eventually(lambda: all(app.AsyncResult(task.id).ready() for task in tasks), "all are predicted")
    again.sendline("exit")
    assert again.left() == 0
    own_node.nothing_runs()


def test_an_ordinary_user_can_run_it_in_any_folder_and_a_taken_management_port_does_not_stop_it(own_node_in_any_folder):
    """As root, by becoming nobody; who may still read what root can, because Python may be in root's home.

    Three facts in one test, because a node takes long to start.
    """
    own_node, become = own_node_in_any_folder, []
    if os.getuid() == 0:
        os.chown(own_node.path, *pwd.getpwnam("nobody")[2:4])
        become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    taken = port(own_node.broker) + 10000
    with socket.create_server(("127.0.0.1", taken)):
        printed, status = own_node.run(*become, *START, typed="hi\n")
    assert status == 0 and "Result of" in printed and "stands in" not in printed
    assert len(re.findall(r"(?:RabbitMQ|Valkey) [\d.]+, started here", printed)) == 2
    assert (own_node.path / ".lab" / "rabbitmq" / "data").is_dir()
    assert re.search(r"dashboard +http://localhost:(\d+)", printed)[1] != str(taken)
    assert "cannot be used" not in printed
    own_node.nothing_runs()


def stands_in(student, why, before=()):
    """Check that a lab runs on the stand-in, says why, and how other terminals join."""
    start = [*before, *START]
    lab = student.open(*start)
    lab.see(
        why, r"uses Valkey instead\. Type this in the other terminals: export CELERY_BROKER_URL=(redis://:(\w+)@\S+/0)"
    )
    url, password = lab.match.groups()
    with pytest.raises(Fault, match="wants a password"):
        ask(url.replace(f":{password}@", ""))
    lab.see("Enter a message:")
    printed, _ = student.run("python", "use_ml_app.py", typed="from another terminal\n", CELERY_BROKER_URL=url)
    assert "Sent as task" in printed
    lab.see("'message': 'from another terminal'")
    lab.sendline("hi")
    lab.see("Result of")
    second = student.open(*start)  # joins the stand-in without being told
    second.see("Enter a message:")
    second.sendline("hi")
    second.see("Result of")
    for terminal in (second, lab):
        terminal.sendline("exit")
        assert terminal.left() == 0
    student.nothing_runs()


def test_without_rabbitmq_valkey_stands_in(student):
    """In a view of the file system of its own, in which RabbitMQ's folder is empty."""
    student.broker = f"amqp://myuser:mypassword@localhost:{free_port()}//"
    before = []
    if RABBITMQ:
        hide = f'mount -t tmpfs none {Path(RABBITMQ).parent} && exec "$@"'
        before = ["unshare", "-m" if os.getuid() == 0 else "-rm", "sh", "-c", hide, "sh"]
    stands_in(student, r"RabbitMQ is not installed on this machine\. `make rabbitmq` installs it\.", before)


def test_a_stock_node_that_knows_only_guest(with_rabbitmq):
    """Which is what a fresh RabbitMQ is to this student: it refuses their user."""
    with_rabbitmq.broker = with_rabbitmq.broker.replace("myuser:mypassword", "someone:else")
    stands_in(with_rabbitmq, r"RabbitMQ at localhost:\d+ refuses the user 'someone' with this password\.")


def test_a_missing_virtual_host(with_rabbitmq):
    with_rabbitmq.broker += "x"
    printed, status = with_rabbitmq.run(*START, typed="hi\n")
    assert status == 0 and "Result of" in printed
    assert re.search(r"RabbitMQ at localhost:\d+ has no virtual host '\w+' for the user 'myuser'\.", printed)


def test_rabbitmq_that_does_not_start(own_node):
    (own_node.path / ".lab" / "rabbitmq" / "conf.d").mkdir(parents=True)
    (own_node.path / ".lab" / "rabbitmq" / "conf.d" / "odd.conf").write_text("what is this\n")
    printed, status = own_node.run(*START, typed="hi\n")
    assert status == 0 and "Result of" in printed
    assert re.search(r"The rabbitmq ended while it started \(exit status \d+\)\. Its last lines are in .+\.", printed)
    assert not (own_node.path / "erl_crash.dump").exists()  # but in .lab, with all the rest


def test_something_else_at_the_port(student):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        student.broker = f"amqp://myuser:mypassword@localhost:{silent.getsockname()[1]}//"
        student.results = f"redis://localhost:{silent.getsockname()[1]}/0"
        printed, status = student.run(*START, typed="hi\n")
    assert status == 0 and "Result of" in printed
    assert re.search(r"The server at localhost:\d+ does not answer: it is frozen, or it is not RabbitMQ\.", printed)
    assert re.search(r"The server at localhost:\d+ does not answer: it is frozen, or it is not Redis\.", printed)
    assert "export CELERY_RESULT_BACKEND=" in printed


def test_a_broker_on_another_machine_is_not_started_here(student):
    student.broker = "amqp://myuser:mypassword@broker.invalid//"
    printed, status = student.run(*START, typed="hi\n")
    assert status == 0 and "Result of" in printed
    assert "There is no machine called 'broker.invalid'. Correct the address in CELERY_BROKER_URL, which" in printed


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


@pytest.mark.parametrize("user, host", [("", "localhost"), ("myuser", "[::1]")])
def test_valkey_asks_for_the_configured_password(student, user, host):
    host = host if has_ipv6() else "localhost"
    student.broker = student.broker.replace("//localhost", f"//{user}:p%C3%A4ss%20word@{host}")
    printed, status = student.run(*START, typed="hi\n")
    assert status == 0 and "Result of" in printed
    assert re.search(rf"broker +redis://{user}:\*\*@{re.escape(host)}:\d+/0  Valkey [\d.]+, started here", printed)


MISTYPED = {
    "amqp://myuser:my/password@localhost//": "The address amqp://myuser:**@localhost// cannot be read: there is a /",
    "ampq://myuser:mypassword@localhost//": "Celery does not know the protocol ampq://. RabbitMQ's is amqp://",
}


@pytest.mark.parametrize("url, sentence", MISTYPED.items(), ids=["slash", "scheme"])
def test_a_mistyped_address(student, url, sentence):
    student.broker = url
    printed, status = student.run(*START, typed="hi\n")
    assert status == 0 and "Result of" in printed
    assert sentence in printed
    printed, status = student.run("python", "-m", "lab", "doctor")
    assert status == 1 and "Traceback" not in printed


def test_make_servers_stays_until_ctrl_c(student):
    servers = student.open("make", "servers")
    servers.see("Ctrl-C ends what was started here")
    student.ask("kept")
    second, status = student.run(*SERVERS)
    assert status == 0 and "Both answer already, so there is nothing to start." in second
    servers.sendintr()
    servers.left()
    student.nothing_runs()
    student.open(*SERVERS).see("Ctrl-C ends")
    assert student.messages() == ["kept"]


def test_make_lab_uses_the_servers_of_make_servers(student):
    student.open("make", "servers").see("Ctrl-C ends")
    printed, status = student.run("make", "lab", typed="hi\n")
    assert status == 0 and "Result of" in printed and ", started here" not in printed
    assert student.ask("the servers still run").id


def test_without_a_result_backend(student):
    text = (student.path / "celeryconfig.py").read_text()
    (student.path / "celeryconfig.py").write_text(re.sub("(?m)^result_backend = .*$", "", text))
    student.results = ""
    printed, status = student.run(*START, typed="hi\n")
    assert status == 0 and "none: celeryconfig.py has no result_backend" in printed and "Sent as task" in printed


@contextmanager
def become(uid):
    """Do as another user does; root can."""
    require("root", os.geteuid() == 0)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def listening(uid=None):
    """The port of a silent server, another user's if need be."""
    with become(uid) if uid else contextmanager(lambda: (yield))():
        server = socket.create_server(("127.0.0.1", 0))
    with server:
        yield server.getsockname()[1]


ADA = 12345  # a person; the system's accounts have lower numbers


def test_the_server_of_another_person_is_neither_used_nor_told_the_password(student):
    with listening(ADA) as port:
        student.broker = f"amqp://myuser:mypassword@localhost:{port}//"
        printed, status = student.run(*START, typed="hi\n")
    assert status == 0 and "Result of" in printed
    assert f"The server at localhost:{port} belongs to the user 12345, and is not for you" in printed
    assert "another port into the address in CELERY_BROKER_URL" in printed and f"for example {port + 1}," in printed
    assert "The lab uses Valkey instead." in printed


def test_whose_server_it_is(monkeypatch):
    with listening() as own, listening(ADA) as adas, listening(103) as systems:
        assert [stranger(port) for port in (own, adas, systems)] == [None, "the user 12345", None]
        monkeypatch.setattr(psutil, "net_connections", lambda _: [])  # as an ordinary user sees it
        assert port_holder(adas) == "a process of the user 12345"
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # or from its close() on the tests would ignore Ctrl-C
        keeper = Keeper()
        with become(ADA):
            assert stranger(own) == "the user 'root'"  # of whom a lab runs
            monkeypatch.setattr(psutil, "process_iter", lambda: [])
            assert stranger(own) is None  # Docker's, perhaps
        keeper.close()


def test_a_terminal_that_allows_few_open_files(student):
    """Fewer than a process of the lab needs: allowed, if this user may; otherwise said."""
    printed, _ = student.run("sh", "-c", "ulimit -Sn 64 && exec python -m lab start", typed="hi\n")
    assert "Result of" in printed
    printed, status = student.run("sh", "-c", "ulimit -n 64 && exec python -m lab start")
    assert status == 1 and "This terminal allows 64 open files, but the lab needs 256. Open a new terminal" in printed


def test_a_virtual_host_of_a_checks_own_is_gone_when_it_ends(rabbitmq):
    api, url = rabbitmq
    before = {one["name"] for one in api.get("/vhosts").json()}
    with pytest.raises(ZeroDivisionError), own_virtual_host(Address(url), None, max_length=0) as own:
        assert ask(own.url).startswith("RabbitMQ ")
        name = own.virtual_host
        assert name not in before
        assert api.get(f"/policies/{name}").json()[0]["definition"] == {"max-length": 0}
        1 / 0  # noqa: B018
    assert name not in {one["name"] for one in api.get("/vhosts").json()}
    with pytest.raises(ManagementAway, match="401"), own_virtual_host(Address(url.replace("my", "no")), None):
        pass
    nobody = f"http://localhost:{free_port()}"
    with pytest.raises(ManagementAway, match="does not answer"), own_virtual_host(Address(url), nobody):
        pass
    api.put("/users/watcher", json={"password": "mypassword", "tags": "management"}).raise_for_status()
    try:
        with pytest.raises(NotAdministrator), own_virtual_host(Address(url.replace("myuser", "watcher")), None):
            pass
    finally:
        api.delete("/users/watcher")
