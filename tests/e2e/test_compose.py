"""docker-compose.yml, run for real: what a student sees of it, with everything that can go wrong."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import uuid
import warnings
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
import yaml
from celery import Celery
from conftest import AWKWARD, ROOT

from e2e.student import ID, Student, eventually, require
from e2e.test_readme import follow

PORTS = (5672, 15672, 6379, 5555)
SERVICES = {"rabbitmq", "redis", "worker", "flower"}
COMPOSE, DOCKERFILE = ((ROOT / name).read_text() for name in ("docker-compose.yml", "Dockerfile"))
PAGE, REFERENCE = (
    (ROOT / "exercises" / "10_compose" / name).read_text() for name in ("docker.md", "solution/docker-compose.yml")
)
FILES = ("docker-compose.yml", "Dockerfile", ".dockerignore", ".env.example", "requirements.txt", "constraints.txt")
FILES += ("monitoring",)
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
        """What a shell in the service's container prints, errors too, with which its last command may end."""
        return self.do("exec", "-T", service, "sh", "-c", f"{command}; true")

    def log(self, *services):
        return self.do("logs", "--no-log-prefix", *services)

    def started(self, message):
        """How often the worker's log says that a prediction of this message began or ended."""
        return self.log("worker").count(f"{{'message': '{message}'}}")

    def sent(self, count):
        """Type so many messages at the producer, which waits for RabbitMQ's confirmations; their tasks' ids."""
        typed = "\n".join(f"message-{number}" for number in range(count))
        printed, _ = self.run("python", "use_ml_app.py", typed=typed)
        ids = re.findall(ID, printed)
        assert len(ids) == count, printed
        return ids

    def succeed(self, ids, seconds=60):
        """All of these tasks have, or get, a result. There has to be one."""
        assert ids
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
    path = tmp_path_factory.mktemp(AWKWARD) / "compose"
    path.mkdir()
    stack = Stack(path)
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
    """The words are printed, and exercise 10's page about Docker explains them."""
    assert words in printed
    assert words in PAGE


def test_all_of_it_starts_in_order_from_nothing_and_is_small(stack):
    containers = stack.containers()
    assert {container["Config"]["Labels"]["com.docker.compose.service"] for container in containers} == SERVICES
    assert {container["State"]["Health"]["Status"] for container in containers} == {"healthy"}
    log = stack.log("worker", "flower")
    assert "Connected to amqp" in log and "Cannot connect" not in log  # their servers were ready before
    usage, _ = stack.run(
        "docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", *(container["Id"] for container in containers)
    )
    sizes = [float(size) for size in re.findall(r"^([\d.]+)MiB / ", usage, re.MULTILINE)]
    assert len(sizes) == len(SERVICES) and sum(sizes) < 400, usage


def test_the_producer_in_a_container_as_the_page_shows_it(stack):
    [(command, promised)] = re.findall(r"```console\n\$ (.*)\n((?:.*\n)*?)```", PAGE)
    terminal = stack.open("sh", "-c", f"exec {command}")
    task = follow(terminal, promised)
    assert terminal.left() == 0
    stack.succeed([task])


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
        assert int(stack.inside(service, "id -u")) > 0, service
        assert "CapEff:\t0000000000000000" in stack.inside(service, "cat /proc/1/status"), service
        assert "NoNewPrivs:\t1" in stack.inside(service, "cat /proc/1/status"), service
    for service in SERVICES - {"rabbitmq"}:
        assert "Read-only file system" in stack.inside(service, "touch /etc/x"), service
    for service in ("worker", "flower"):
        assert stack.inside(service, "ls /app").split() == [
            "celeryconfig.py",
            "constraints.txt",
            "guard.py",
            "my_ml_app.py",
            "requirements.txt",
            "use_ml_app.py",
        ]
        assert "Read-only file system" in stack.inside(service, "touch /app/x")
        assert stack.inside(service, "command -v gcc cc make").strip() == ""
    containers = stack.containers()
    assert len(containers) == len(SERVICES)
    for container in containers:
        host = container["HostConfig"]
        assert host["Memory"] and host["PidsLimit"] and host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["LogConfig"] == {"Type": "local", "Config": {"max-size": "10m", "max-file": "3"}}


def test_worker_flower_and_producer_are_one_small_image(stack):
    stack.do("build", "producer")
    pinned = (ROOT / "requirements.txt").read_text() + (ROOT / "constraints.txt").read_text()
    for package in stack.inside("worker", "pip freeze 2>/dev/null").replace("_", "-").split():
        assert re.search(rf"^{package}\b", pinned, re.MULTILINE | re.IGNORECASE), package
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
    assert len(finished) >= 10
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


def test_the_solution_of_exercise_10_runs(engine):
    engine.down("--volumes")
    (engine.path / "docker-compose.yml").write_text(REFERENCE)
    try:
        engine.up()
        engine.succeed(engine.sent(1))
        eventually(
            lambda: "flower_worker_online" in httpx.get(f"{engine.flower}/metrics").text, "Flower sees the worker"
        )
    finally:
        engine.down("--volumes")
        (engine.path / "docker-compose.yml").write_text(COMPOSE)


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
        read = ("exec", "-T", "worker", "cat", "my_ml_app.py")
        eventually(lambda: "10**9" in stack.compose(*read)[0], "the worker has the change")
        [id] = stack.sent(1)
        eventually(lambda: stack.app.AsyncResult(id).state == "FAILURE", "it is given up")
        names("signal 9 (SIGKILL)", stack.log("worker"))
        code.write_text(before.replace('"statement"', '"a statement"'))
        eventually(lambda: '"a statement"' in stack.compose(*read)[0], "the worker has the other change")
        [id] = stack.sent(1)
        stack.succeed([id])
        printed, _ = stack.run("celery", "-A", "my_ml_app", "result", id)
        assert "a statement" in printed
    finally:
        watch.sendintr()
        watch.left()
        code.write_text(before)


def test_two_clones_do_not_remove_each_others_data(engine):
    """Only created: no port is needed."""
    ada, bob = (f"{name}-{uuid.uuid4().hex[:8]}" for name in ("ada", "bob"))

    def compose(folder, *command):
        file = f"{folder}/docker-compose.yml"
        printed, status = engine.run("env", "-u", "COMPOSE_PROJECT_NAME", "docker", "compose", "-f", file, *command)
        assert status == 0, printed

    for folder in (ada, bob):
        (engine.path / folder).mkdir()
        shutil.copy(ROOT / "docker-compose.yml", engine.path / folder)
    try:
        compose(ada, "create", "redis")
        compose(bob, "down", "--volumes")
        volumes, _ = engine.run("docker", "volume", "ls", "--format", "{{.Name}}")
        assert f"{ada}_redis" in volumes.split()
    finally:
        compose(ada, "down", "--volumes")


def test_a_name_of_the_folder_that_docker_may_not_like(engine):
    """Compose 2.40 builds two images at once only where it has letters of ASCII alone; later ones do so everywhere."""
    folder = shutil.copytree(engine.path, engine.path / AWKWARD, ignore=shutil.ignore_patterns(".*", AWKWARD))
    build = ("docker", "compose", "-f", folder / "docker-compose.yml", "build")
    printed, status = engine.run(*build, seconds=150)
    if status:
        names("non-printable ASCII characters", printed)
    printed, status = engine.run(*build, seconds=150, COMPOSE_BAKE="false")
    assert status == 0, printed


def test_prometheus_collects_what_the_dashboard_shows_also_of_long_predictions(stack):
    """Grafana's own image is not run: it needs a registry, and Debian has no Grafana."""
    [short] = stack.sent(1)
    stack.succeed([short])  # a counter that is new counts from its second scrape on
    monitoring = ("--profile", "monitoring")
    _, status = stack.compose(*monitoring, "pull", "--policy", "missing", "prometheus")
    require("An image of Prometheus", status == 0)
    stack.do(*monitoring, "up", "--wait", "prometheus")
    [image] = re.findall(r"prom/\S+", COMPOSE)
    compare(stack, image, stack.do(*monitoring, "exec", "-T", "prometheus", "prometheus", "--version"))
    folder = stack.path / "monitoring"
    [source] = yaml.safe_load((folder / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    panels = json.loads((folder / "dashboard.json").read_text())["panels"]
    assert len(panels) == 6 and {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    queries = {target["expr"] for panel in panels for target in panel["targets"]}

    def values(query):
        url = f"http://127.0.0.1:9090/api/v1/query?{urlencode({'query': query})}"
        answer = json.loads(stack.do(*monitoring, "exec", "-T", "prometheus", "wget", "-qO-", url))
        return [float(series["value"][1]) for series in answer["data"]["result"]]

    eventually(lambda: values("up") == [1, 1], "Flower and RabbitMQ have been asked")
    stack.app.send_task("my_ml_app.predict", [{"message": "long", "seconds": 10.5}])
    eventually(lambda: all(map(values, queries)), "each curve has a value")
    [slowest] = [query for query in queries if query.startswith("histogram_quantile(0.95")]
    eventually(lambda: 10 < values(slowest)[0] <= 11, "10.5 seconds are drawn as between 10 and 11", 60)
    configured = json.loads(stack.do(*monitoring, "config", "--format", "json"))["services"]["grafana"]["volumes"]
    assert configured and all(Path(volume["source"]).is_file() for volume in configured)


def test_what_runs_is_the_pinned_version_or_a_stand_in_of_the_same_major(stack):
    runs = {
        "rabbitmq": stack.inside("rabbitmq", "rabbitmqctl version"),
        "redis": stack.inside("redis", "redis-server --version"),
        "python": stack.inside("worker", "python --version"),
    }
    pinned = re.findall(r"^(?:FROM|    image:) ((\w+):\S+)", COMPOSE + DOCKERFILE, re.MULTILINE)
    assert {name for _, name in pinned} == runs.keys()
    for image, name in pinned:
        compare(stack, image, runs[name])


def compare(stack, image, said):
    """What runs is what is pinned. Where no registry answers, .ci/run's stand-in may: pytest's summary says so."""
    pinned, running = (re.search(r"\d+(\.\d+)+", text)[0] for text in (image.partition(":")[2], said))
    [about] = json.loads(stack.run("docker", "image", "inspect", image)[0])
    if not f"{running}.".startswith(f"{pinned}."):
        assert not about["RepoDigests"], f"{image} was fetched, and {running} runs"
        assert running.split(".")[0] == pinned.split(".")[0], f"{running} cannot stand in for {image}"
        warnings.warn(f"{image} was not fetched: version {running} stands in for it", stacklevel=1)


def test_flower_is_not_opened_with_the_password_that_everybody_knows(stack):
    printed, status = stack.compose("up", "--wait", "flower", FLOWER_ADDRESS="0.0.0.0")
    assert status == 1, printed
    names("Flower does not start", stack.log("flower"))
    with pytest.raises(httpx.TransportError):
        httpx.get(stack.flower)


def test_a_password_of_ones_own_is_in_env_and_flower_asks_for_it(engine):
    engine.down("--volumes")
    example = (ROOT / ".env.example").read_text()
    example = example.replace("myuser", "ada").replace("mypassword", "lovelace").replace("#FLOWER", "FLOWER")
    (engine.path / ".env").write_text(example)
    try:
        engine.up()
        assert httpx.get(engine.flower).status_code == 401
        assert httpx.get(engine.flower, auth=("ada", "lovelace")).status_code == 200
        [flower] = engine.containers("flower")
        assert {binding["HostIp"] for binding in flower["NetworkSettings"]["Ports"]["5555/tcp"]} == {"0.0.0.0"}
        commands = engine.inside("flower", "cat /proc/[0-9]*/cmdline")  # which others may read
        assert "flower" in commands and "lovelace" not in commands
        users = {"ada": "lovelace", "myuser": "mypassword", "guest": "guest"}
        api = "http://localhost:15672/api/whoami"
        assert [httpx.get(api, auth=pair).status_code for pair in users.items()] == [200, 401, 401]
        printed = engine.do("run", "--rm", "--no-TTY", "producer", typed="hello\n")
        engine.succeed(re.findall(ID, printed))
        printed, status = engine.run("python", "use_ml_app.py", typed="hello\n")  # which has the old password
        names("ACCESS_REFUSED", printed)
        image = "celery-lab-tests-worker"
        look = ("docker", "run", "--rm", image, "grep", "-rl")
        assert "/app/my_ml_app.py" in engine.run(*look, "predict", "/app", "/etc", "/tmp")[0]
        assert not re.search("^/", engine.run(*look, "lovelace", "/app", "/etc", "/tmp")[0], re.MULTILINE)
        for command in (("history", "--no-trunc"), ("image", "inspect")):
            printed, _ = engine.run("docker", *command, image)
            assert "celery" in printed and "lovelace" not in printed
    finally:
        (engine.path / ".env").unlink()
