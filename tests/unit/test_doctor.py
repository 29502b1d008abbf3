"""What the doctor makes of what it finds."""

import threading

import pytest
from celery import Celery

from lab.probe import login, rabbitmq, web
from lab.probe.address import Address
from lab.run import doctor


@pytest.fixture
def examine(monkeypatch):
    """The doctor, where there is no Docker to be asked."""
    monkeypatch.setattr(doctor, "images", list)
    return doctor.examine


def test_a_package_of_another_version(tmp_path, monkeypatch):
    pins = tmp_path / "requirements.txt"
    pins.write_text("click==0.1  # a reason\nnobody-made-this==1\n")
    monkeypatch.setattr(doctor, "REQUIREMENTS", pins)
    found = doctor.packages()
    assert not found.good and "nobody-made-this missing" in found.found
    assert found.remedy == "`rm -r .venv`, then `make lab`"


def test_servers_that_answer_oddly_or_never_to_the_end(examine, answering, tmp_path, monkeypatch, capsys):
    """As a program that holds the port of a server, or a broken one, may do."""
    monkeypatch.chdir(tmp_path)
    for module, name in ((login, "LOGIN"), (login, "ANSWER"), (web, "ANSWER")):
        monkeypatch.setattr(module, name, 0.3)
    monkeypatch.setenv("FLOWER_PORT", str(answering(b"HTTP/1.1 200 OK\r\n" * 99, pause=0.02)))
    slow, odd = answering(b"+" * 99, pause=0.02), answering(b":5\r\n[/red]\x1b[2J" * 9)
    app = Celery(broker=f"redis://localhost:{slow}/0", backend=f"redis://localhost:{odd}/0")
    findings = list(examine(app))
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

    assert "its answer makes no sense" in doctor.asked("workers", broken).found
    monkeypatch.setattr(doctor, "PATIENCE", 0.1)
    assert "does not answer within 0.1 seconds" in doctor.asked("workers", lambda _: threading.Event().wait(3)).found


@pytest.mark.parametrize("port", ["abc", "70000", "0"])
def test_a_port_for_flower_that_is_none(examine, port, monkeypatch):
    monkeypatch.setenv("FLOWER_PORT", port)
    findings = {finding.subject: finding for finding in examine(Celery(broker="redis://localhost:1/0"))}
    assert findings["addresses"].found == f"FLOWER_PORT is {port!r}, not a number from 1 to 65535"


def test_a_full_broker(examine, monkeypatch):
    """Whose disk or memory is short: not even a question to the workers would come back."""
    monkeypatch.setattr(rabbitmq, "ask", lambda url: "RabbitMQ 4.3.6")
    monkeypatch.setattr(rabbitmq, "alarm", lambda broker, dashboard: "disk space")
    app = Celery(broker="amqp://myuser:mypassword@localhost:1//")
    findings = {finding.subject: finding for finding in examine(app)}
    assert "has too little disk space left" in findings["broker"].found and "workers" not in findings


def test_the_dashboard_and_flower_of_a_lab_in_its_own_folder_are_asked_from_a_students(examine, monkeypatch):
    """At the ports that they got there, which need not be the usual ones."""
    broker = {"url": "amqp://myuser:mypassword@localhost:1//", "dashboard": "http://localhost:2", "instead": None}
    runs = {"servers": {"broker": broker}, "stack": {"flower": "http://localhost:3"}}
    monkeypatch.setattr(doctor.Claim, "held", lambda name, folders=None: {} if folders else runs[name])
    monkeypatch.setattr(rabbitmq, "ask", lambda url: "RabbitMQ 4.3.6")
    monkeypatch.setattr(rabbitmq, "alarm", lambda broker, dashboard: None)
    monkeypatch.delenv("FLOWER_PORT", raising=False)
    findings = {finding.subject: finding for finding in examine(Celery(broker=broker["url"]))}
    assert "http://localhost:2" in findings["management API"].found
    assert "http://localhost:3" in findings["Flower"].found


WSL_1 = "Linux version 4.4.0-22621-Microsoft (Microsoft@Microsoft.com) (gcc version 5.4.0 (GCC) ) #1-Microsoft Sat"
WSL_2 = "Linux version 5.15.167.4-microsoft-standard-WSL2 (root@f9c826d3017f) (gcc (GCC) 11.2.0) #1 SMP Tue Nov 5"
ROOT_9P = r"C:\134 {} 9p rw,noatime,aname=drvfs;path=C:\;uid=1000;gid=1000;symlinkroot=/mnt/,mmap,access=client 0 0"
ROOT_EXT4 = "/dev/sdc {} ext4 rw,relatime,discard,errors=remount-ro,data=ordered 0 0"


@pytest.fixture
def windows(tmp_path, monkeypatch):
    """Make this machine look like one with Windows, with files in place of those that WSL has."""
    monkeypatch.chdir(tmp_path)

    def make(kernel=WSL_2, mount=ROOT_EXT4, config=None):
        files = {"KERNEL": tmp_path / "version", "MOUNTS": tmp_path / "mounts", "WINDOWS": tmp_path / "c"}
        (tmp_path / "c" / "Users" / "ada").mkdir(parents=True)
        files["KERNEL"].write_text(kernel)
        files["MOUNTS"].write_text(mount.format(str(tmp_path).replace(" ", r"\040")) + "\n" + ROOT_EXT4.format("/"))
        if config:
            (tmp_path / "c" / "Users" / "ada" / ".wslconfig").write_text(config, encoding="utf-8-sig")
        for name, path in files.items():
            monkeypatch.setattr(doctor, name, path)
        return list(doctor.wsl())

    return make


FORWARDING = "[wsl2]\nmemory=4GB\nlocalhostForwarding=false\n"


@pytest.mark.parametrize(
    "here, subject, sentence, remedy",
    [
        ({"mount": ROOT_9P}, "this folder", "is on a Windows drive, /", "Clone the lab into your home folder"),
        ({"mount": "none {} drvfs rw 0 0"}, "this folder", "is on a Windows drive, /", "Clone the lab into your home"),
        ({"kernel": WSL_1}, "WSL", "this is WSL 1", "`wsl --set-version Debian 2`. If that says that virtualisation"),
        ({"config": FORWARDING}, "WSL", ".wslconfig has localhostForwarding=false", "`wsl --shutdown` in Windows"),
    ],
    ids=["drive", "drive in WSL 1", "WSL 1", "localhost"],
)
def test_what_often_goes_wrong_on_windows(windows, monkeypatch, here, subject, sentence, remedy):
    monkeypatch.setenv("WSL_DISTRO_NAME", "Debian")
    [finding] = windows(**here)
    assert finding.subject == subject and not finding.good
    assert sentence in finding.found and remedy in finding.remedy


@pytest.mark.parametrize(
    "here",
    [
        {},
        {"kernel": "Linux version 6.1.0-26-amd64 (debian-kernel@lists.debian.org)"},
        {"kernel": ""},
        {"config": FORWARDING + "networkingMode=mirrored\n"},
        {"config": "localhostForwarding=false"},
        {"config": "[wsl2]\nmemory=4GB\n"},
    ],
)
def test_where_nothing_is_wrong_there_is_no_line_about_windows(windows, here):
    assert windows(**here) == []


def test_images_that_a_whole_class_would_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        'case "$*" in *--images) printf "redis:8\\nlab-worker\\nrabbitmq:4\\n";; *"inspect redis:8") exit 1;; esac\n'
    )
    docker.chmod(0o755)
    [finding] = doctor.images()
    assert finding.good is None and finding.found.startswith(
        "has to fetch redis:8. From Docker Hub, all behind one router get 100"
    )
    assert "docker load --input offline/images.tar" in finding.remedy
    docker.write_text("#!/bin/sh\nexit 1\n")  # Docker does not run
    assert list(doctor.images()) == []
