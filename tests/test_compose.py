"""docker-compose.yml, run for real: what a student sees of it, with everything that can go wrong."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml
from celery import Celery
from conftest import ID, ROOT, Student, eventually, require
from test_readme import DOCKER_BLOCKS, README, follow

PORTS = (5672, 15672, 6379, 5555)
SERVICES = {"rabbitmq", "redis", "worker", "flower"}
FILES = ("docker-compose.yml", "Dockerfile", ".dockerignore", ".env.example", "requirements.txt", "monitoring")
pytestmark = [pytest.mark.xdist_group("compose"), pytest.mark.timeout(300)]  # one stack, one worker of pytest


class Stack(Student):
    """A student's folder in which docker compose runs, with the addresses that are in the files."""

    def __init__(self, path):
        super().__init__(path, "amqp://myuser:mypassword@localhost:5672//", "redis://localhost:6379/0")
        (path / "requirements.txt").unlink()
        for name in FILES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, path / name)
        self.flower = "http://localhost:5555"

    @property
    def env(self):
        """No addresses: the student's files have them. A project of its own: a student's volumes are safe."""
        env = super().env | {"COMPOSE_PROJECT_NAME": "celery-lab-tests"}
        return {
            name: value for name, value in env.items() if name not in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")
        }

    def compose(self, *arguments, **options):
        """What docker compose prints, and its exit status."""
        return self.run("docker", "compose", *arguments, seconds=150, **options)

    def do(self, *arguments, **options):
        """What docker compose prints; it must not fail."""
        printed, status = self.compose(*arguments, **options)
        assert status == 0, printed
        return printed

    def up(self, seconds=1, *arguments):
        """Bring up all that is not as it should be, with predictions of so many seconds."""
        return self.do("up", "--build", "--wait", "--wait-timeout", "120", *arguments, PREDICT_SECONDS=str(seconds))

    def down(self, *arguments):
        self.do("--profile", "*", "down", "--remove-orphans", *arguments)

    def containers(self, service=None):
        """What `docker inspect` knows of each container, or of those of a service."""
        ids = self.do("ps", "--all", "--quiet", *([service] if service else [])).split()
        return json.loads(self.run("docker", "inspect", *ids)[0]) if ids else []

    def inside(self, service, command):
        """What a shell in the service's container prints."""
        return self.compose("exec", "-T", service, "sh", "-c", command)[0]

    def log(self, *services):
        return self.do("logs", "--no-log-prefix", *services)

    def started(self, message):
        """How often the worker's log says that a prediction of this message began or ended."""
        return self.log("worker").count(f"{{'message': '{message}'}}")

    def sent(self, count):
        """Type so many messages at the producer, which waits for RabbitMQ's confirmations; their tasks' ids."""
        typed = "\n".join(f"message-{number}" for number in range(count))
        return re.findall(ID, self.run("python", "use_ml_app.py", typed=typed)[0])

    def succeed(self, ids, seconds=60):
        """All of these tasks have, or get, a result."""
        app = Celery("my_ml_app", broker=self.broker, backend=self.results)
        eventually(lambda: all(app.AsyncResult(id).state == "SUCCESS" for id in ids), "all have a result", seconds)


def engine_answers():
    with suppress(OSError):
        return subprocess.run(["docker", "compose", "ls"], capture_output=True).returncode == 0
    return False


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """A stack of which nothing is left over from before, and of which nothing is left afterwards."""
    require("A Docker engine with Compose", engine_answers())
    stack = Stack(tmp_path_factory.mktemp("compose"))
    stack.down("--volumes", "--rmi", "local")
    for port in PORTS:
        require(f"A free port {port}", is_free(port))
    try:
        yield stack
    finally:
        stack.down("--volumes", "--rmi", "local")
        stack.close()


@pytest.fixture
def stack(engine):
    """Everything runs, as docker-compose.yml says."""
    engine.up()
    return engine


def names(words, printed):
    """The words are printed, and the README explains them."""
    assert words in printed
    assert words in README


def test_all_of_it_starts_in_order_from_nothing_and_is_small(stack):
    containers = stack.containers()
    assert {container["Config"]["Labels"]["com.docker.compose.service"] for container in containers} == SERVICES
    assert {container["State"]["Health"]["Status"] for container in containers} == {"healthy"}
    assert "Cannot connect" not in stack.log("worker", "flower")  # their servers were ready before
    usage, _ = stack.run(
        "docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", *(container["Id"] for container in containers)
    )
    assert sum(float(size) for size in re.findall(r"([\d.]+)MiB /", usage)) < 400, usage


def test_the_producer_in_a_container_as_the_readme_shows_it(stack):
    for command, promised in DOCKER_BLOCKS:
        terminal = stack.open("sh", "-c", f"exec {command}")
        task = follow(terminal, promised)
        assert terminal.left() == 0
        stack.succeed([task])
    assert DOCKER_BLOCKS


def test_the_producer_on_the_host_and_the_result_there(stack):
    terminal = stack.open("python", "use_ml_app.py")
    terminal.see("Enter a message:")
    terminal.sendline("Is anybody there?")
    task = terminal.see(f"Sent as task ({ID})")[1]
    terminal.sendline("exit")
    assert terminal.left() == 0
    eventually(lambda: stack.started("Is anybody there?") == 2, "the worker's log says Received and Ended")
    printed, _ = stack.run("celery", "-A", "my_ml_app", "result", task)
    assert "'prediction': 'question'" in printed


def test_flower_shows_three_workers(stack):
    stack.up(1, "--scale", "worker=3")
    hosts = {f"celery@{container['Config']['Hostname']}" for container in stack.containers("worker")}
    assert len(hosts) == 3

    def online():
        return re.findall(r'flower_worker_online\{worker="([^"]+)"\} 1', httpx.get(f"{stack.flower}/metrics").text)

    eventually(lambda: hosts == set(online()), "Flower shows three workers")
    assert httpx.get(f"{stack.flower}/workers").status_code == 200  # without a password
    ids = stack.sent(60)
    for host in hosts:
        logs = ("docker", "logs", host.removeprefix("celery@"))
        eventually(lambda logs=logs: "Received" in stack.run(*logs)[0], f"{host} has its share")
    stack.succeed(ids)


def test_inside_nobody_is_root_and_nothing_of_ours_can_be_written(stack):
    for service in SERVICES:
        assert stack.inside(service, "id -u").strip() != "0", service
        assert "CapEff:\t0000000000000000" in stack.inside(service, "cat /proc/1/status"), service
        assert "NoNewPrivs:\t1" in stack.inside(service, "cat /proc/1/status"), service
    for service in SERVICES - {"rabbitmq"}:
        assert "Read-only file system" in stack.inside(service, "touch /etc/x"), service
    for service in ("worker", "flower"):
        assert stack.inside(service, "ls /app").split() == [
            "celeryconfig.py",
            "my_ml_app.py",
            "requirements.txt",
            "use_ml_app.py",
        ]
        assert "Read-only file system" in stack.inside(service, "touch /app/x")
        assert stack.inside(service, "command -v gcc cc make").strip() == ""
    for container in stack.containers():
        host = container["HostConfig"]
        assert host["Memory"] and host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["LogConfig"] == {"Type": "local", "Config": {"max-size": "10m", "max-file": "3"}}


def test_worker_flower_and_producer_are_one_small_image(stack):
    stack.do("build", "producer")
    images = [f"celery-lab-tests-{service}" for service in ("worker", "flower", "producer")]
    *ours, base = json.loads(stack.run("docker", "image", "inspect", *images, "python:3.12-slim")[0])
    assert len({tuple(image["RootFS"]["Layers"]) for image in ours}) == 1
    # Docker Hub's python:3.12-slim has some 125 MB; together they have to stay below 200.
    assert ours[0]["Size"] - base["Size"] < 60_000_000


def test_nothing_listens_beyond_this_machine(stack):
    published = {
        (binding["HostIp"], int(binding["HostPort"]))
        for container in stack.containers()
        for bindings in container["NetworkSettings"]["Ports"].values()
        for binding in bindings or ()
    }
    assert published == {("127.0.0.1", port) for port in PORTS}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect(("192.0.2.1", 9))  # sends nothing; an address that nobody has
        own_address = route.getsockname()[0]
    for port in PORTS:
        with socket.socket() as client, pytest.raises(OSError):
            client.settimeout(5)
            client.connect((own_address, port))


def test_another_network_does_not_reach_broker_and_results(stack):
    connect = "import socket, sys; socket.create_connection(sys.argv[1:], 1)"
    for service, port in (("rabbitmq", 5672), ("rabbitmq", 15692), ("redis", 6379)):
        [network] = stack.containers(service)[0]["NetworkSettings"]["Networks"].values()
        python = ("python", "-c", connect, network["IPAddress"], str(port))
        printed, status = stack.run("docker", "run", "--rm", "celery-lab-tests-worker", *python)
        assert status == 1 and "TimeoutError" in printed, printed
        assert stack.compose("exec", "worker", *python) == ("", 0)


def test_stop_lets_running_predictions_finish_and_down_keeps_what_waits(stack):
    stack.up(10)
    ids = stack.sent(14)
    begun = {f"message-{number}" for number in range(10)}
    eventually(lambda: all(stack.started(message) == 1 for message in begun), "ten predictions run")
    stack.do("stop")
    [worker] = stack.containers("worker")
    assert worker["State"]["ExitCode"] == 0
    assert all(stack.started(message) == 2 for message in begun)  # Received, Ended
    finished = [id for number, id in enumerate(ids) if stack.started(f"message-{number}") == 2]
    stack.down()
    stack.up(1)
    stack.succeed(finished, 1)  # Redis has kept the results
    stack.succeed(ids)
    assert [stack.started(f"message-{ids.index(id)}") for id in ids] == [0 if id in finished else 2 for id in ids]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_what_is_killed_under_load_comes_back_and_nothing_is_lost(stack, service):
    [before] = stack.containers(service)
    process = Path(f"/proc/{before['State']['Pid']}")
    require("Root, on the engine's own machine,", os.geteuid() == 0 and process.exists())
    ids = stack.sent(20)
    eventually(lambda: stack.started("message-0"), "predictions run")
    os.kill(before["State"]["Pid"], signal.SIGKILL)

    def is_back():
        [now] = stack.containers(service)
        return now["RestartCount"] == before["RestartCount"] + 1 and now["State"]["Health"]["Status"] == "healthy"

    eventually(is_back, f"{service} is back", 60)
    stack.succeed(ids, 90)


def test_a_port_that_is_taken_is_named(engine):
    for port in PORTS:
        engine.down()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            printed, status = engine.compose("up", "--wait")
        assert status == 1
        assert f"127.0.0.1:{port}" in printed
        names("address already in use", printed)


def test_a_password_that_the_volume_does_not_know(stack):
    (stack.path / ".env").write_text("RABBITMQ_PASSWORD=another\n")
    printed, status = stack.compose("up", "--wait")
    (stack.path / ".env").unlink()
    assert status == 1
    assert re.search(r"container celery-lab-tests-worker-1 (is unhealthy|exited)", printed), printed
    names("ACCESS_REFUSED", stack.log("worker"))


def test_rabbitmq_short_of_memory_says_so(stack):
    limit = ("exec", "rabbitmq", "rabbitmqctl", "-q", "set_vm_memory_high_watermark")
    stack.do(*limit, "absolute", "20MB")
    try:
        eventually(lambda: "memory resource limit alarm set" in stack.log("rabbitmq"), "RabbitMQ says so")
        names("memory resource limit alarm set", stack.log("rabbitmq"))
        printed, _ = stack.run("python", "use_ml_app.py", typed="hello\n")
        assert "Not sent: 'hello'" in printed
    finally:
        stack.do(*limit, "0.6")


def test_redis_short_of_memory_says_so(stack):
    stack.do("exec", "redis", "redis-cli", "config", "set", "maxmemory", "1")
    try:
        stack.ask("hello")
        words = "command not allowed when used memory > 'maxmemory'"
        eventually(lambda: words in stack.log("worker"), "the worker says so")
        names(words, stack.log("worker"))
    finally:
        stack.do("exec", "redis", "redis-cli", "config", "set", "maxmemory", "64mb")


def test_a_change_of_code_reaches_the_worker_and_one_that_needs_too_much_memory_is_named(stack):
    watch = stack.open("docker", "compose", "watch", "--no-up", PREDICT_SECONDS="1")
    watch.see("Watch enabled")
    code = stack.path / "my_ml_app.py"
    before = code.read_text()
    try:
        code.write_text(before.replace('print("Received:")', 'b"x" * 10**9'))
        eventually(lambda: "10**9" in stack.inside("worker", "cat my_ml_app.py"), "the worker has the change")
        [id] = stack.sent(1)
        eventually(lambda: "signal 9 (SIGKILL)" in stack.log("worker"), "the worker says so")
        names("signal 9 (SIGKILL)", stack.log("worker"))
        code.write_text(before.replace('"statement"', '"a statement"'))
        stack.succeed([id])  # its message was kept, and the worker has the other change
        printed, _ = stack.run("celery", "-A", "my_ml_app", "result", id)
        assert "a statement" in printed
    finally:
        watch.sendintr()
        watch.left()
        code.write_text(before)


def test_monitoring_asks_for_what_flower_and_rabbitmq_tell(stack):
    configured = json.loads(stack.do("--profile", "monitoring", "config", "--format", "json"))["services"]
    for service in ("prometheus", "grafana"):
        for volume in configured[service]["volumes"]:
            assert volume["type"] == "volume" or Path(volume["source"]).is_file()
    folder = stack.path / "monitoring"
    [source] = yaml.safe_load((folder / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    scrapes = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]
    targets = [target for scrape in scrapes for config in scrape["static_configs"] for target in config["targets"]]
    stack.succeed(stack.sent(1))

    def told():
        read = "from urllib.request import urlopen; print(urlopen('http://{}/metrics').read().decode())"
        return {
            name
            for target in targets
            for name in re.findall(r"^\w+", stack.inside("worker", f'python -c "{read.format(target)}"'), re.MULTILINE)
        }

    panels = json.loads((folder / "dashboard.json").read_text())["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    queries = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    asked = set(re.findall(r"\b(?:flower|rabbitmq)_\w+", queries))
    assert len(asked) > 5
    eventually(lambda: asked <= told(), f"{asked} are told")


def test_env_has_the_credentials_and_flower_asks_for_them_once_it_is_open(engine):
    engine.down("--volumes")
    example = (ROOT / ".env.example").read_text()
    example = example.replace("myuser", "ada").replace("mypassword", "lovelace").replace("#FLOWER", "FLOWER")
    (engine.path / ".env").write_text(example)
    try:
        engine.up()
        assert httpx.get(engine.flower).status_code == 401
        assert httpx.get(engine.flower, auth=("ada", "lovelace")).status_code == 200
        users = {"ada": "lovelace", "myuser": "mypassword", "guest": "guest"}
        api = "http://localhost:15672/api/whoami"
        assert [httpx.get(api, auth=pair).status_code for pair in users.items()] == [200, 401, 401]
        printed = engine.do("run", "--rm", "--no-TTY", "producer", typed="hello\n")
        engine.succeed(re.findall(ID, printed))
        printed, status = engine.run("python", "use_ml_app.py", typed="hello\n")  # which has the old password
        names("ACCESS_REFUSED", printed)
        image = "celery-lab-tests-worker"
        content, _ = engine.run("docker", "run", "--rm", image, "grep", "-rl", "lovelace", "/app", "/etc", "/tmp")
        history, _ = engine.run("docker", "history", "--no-trunc", image)
        settings, _ = engine.run("docker", "image", "inspect", image)
        assert "lovelace" not in content + history + settings
    finally:
        (engine.path / ".env").unlink()
