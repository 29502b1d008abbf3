"""Does the student's Compose file run RabbitMQ, Redis, worker and Flower, and run them well?

Read without Docker, checked by Docker's own command line where that is there, and looked at where it runs.
"""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab.fault import Fault, Wrong
from lab.observe import LOCAL, Address

FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")  # as Docker looks for them
PREDICTION = 10  # seconds
STOP = 15  # seconds that a worker needs at least to end: one prediction, and some more
ASK = 4  # seconds that Docker may take to answer

VARIABLE = re.compile(r"\$\{\w+(?::?-([^{}]*)|[^{}]*)\}")  # an innermost ${NAME:-default}
SECRET = re.compile(r"(PASS|PASSWORD|SECRET|TOKEN|BASIC_AUTH)$", re.IGNORECASE)
WRITTEN = re.compile(r"://[^/@\s:]*:[^$@\s/]+@|--(?:basic[-_]auth|requirepass|password)[= ][^$\s]+(?:\s|$)")

UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 0.001, "us": 0.000001}


class NoFile(Wrong):
    """There is no docker-compose.yml in {folder}."""

    next = "`python -m lab reset 10` puts the one that you fill in there"


class Invalid(Wrong):
    """{file} cannot be used: {error}."""

    next = "Correct that place. In YAML, what belongs together begins in the same column, after spaces"


class ServiceMissing(Wrong):
    """{file} has no service that is {role}: it has {services}."""

    next = "Add a service {how}"


class LooksAtItself(Wrong):
    """{service} looks for {role} at {host}: inside a container that is the container itself, and nothing listens."""

    next = "Under `environment:` of {service}, set {variable} to an address with {name} in it instead of {host}"


class NoHealthCheck(Wrong):
    """{service} has no health check: Docker sees that it was started, and not when it is ready."""

    next = "Give {service} a `healthcheck:`, for example with `test: {test}`"


class NoStartOrder(Wrong):
    """{service} does not wait until {other} is ready: it starts at the same time, and finds nobody there."""

    next = "Under `depends_on:` of {service}, give {other} a `condition: service_healthy`"


class StopTooShort(Wrong):
    """Docker kills {service} {seconds:g} seconds after it has asked it to stop: that is too short for a prediction of
    {prediction} seconds, and for the worker's own end."""

    next = "Give {service} a `stop_grace_period: 60s`"


class OpenToTheWorld(Wrong):
    """{service} opens port {port} to everybody who can reach this machine."""

    next = "Publish it on this machine only: `127.0.0.1:{port}:{target}`"


class OnlyInside(Wrong):
    """{service} listens at {address} of its own container, which its published port does not reach."""

    next = "Leave `--address` out of its command: in a container, `ports:` decides who reaches it"


class CredentialsWritten(Wrong):
    """The password in {place} of {service} is written into {file}, and goes wherever that file goes."""

    next = "Write `{variable}` in its place, and keep the real one in a file `.env` beside it, which stays out of Git"


RECOGNISES = (
    NoFile,
    Invalid,
    ServiceMissing,
    LooksAtItself,
    NoHealthCheck,
    NoStartOrder,
    StopTooShort,
    OpenToTheWorld,
    OnlyInside,
    CredentialsWritten,
)


@dataclass
class Service:
    """A service, whichever of Compose's short and long forms it is written in. image is its name without the tag."""

    name: str
    image: str
    command: str
    environment: dict  # {name: value as written}
    from_files: dict  # the same, from env_file
    ports: list  # of (address, published, target)
    depends_on: dict  # {service: condition}
    is_probed: bool
    stop_seconds: float
    has_own_network: bool

    @property
    def written(self):
        """Where a password is written in: the name of a variable, or "command"; None when there is none."""
        for name, value in self.environment.items():
            value = filled_in(value, "$")
            if WRITTEN.search(value) or SECRET.search(name) and value and "$" not in value:
                return name
        return "command" if WRITTEN.search(filled_in(self.command, "$")) else None


RABBITMQ, REDIS, WORKER, FLOWER = "RabbitMQ", "Redis", "a Celery worker", "Flower"
PLAYS = {
    RABBITMQ: lambda service: "rabbitmq" in service.image,
    REDIS: lambda service: re.search("redis|valkey", service.image),
    WORKER: lambda service: re.search(r"\bworker\b", service.command),
    FLOWER: lambda service: re.search(r"\bflower\b", f"{service.image} {service.command}"),
}
HOW = {
    RABBITMQ: "with `image: rabbitmq:4-management`",
    REDIS: "with `image: redis:8`, where exercise 11 keeps results",
    WORKER: "with `build: .` and `command: celery -A my_ml_app worker --autoscale=10,2`",
    FLOWER: "with `build: .` and `command: celery -A my_ml_app flower`",
}
PROBE = {RABBITMQ: "rabbitmq-diagnostics -q check_port_listener 5672", REDIS: "redis-cli ping"}


def check(desk):
    file = next((desk.folder / name for name in FILES if (desk.folder / name).exists()), None)
    if not file:
        raise NoFile(folder=desk.folder)
    services = read(file)
    cast = {role: [service for service in services.values() if plays(service)] for role, plays in PLAYS.items()}
    for role, players in cast.items():
        if not players:
            names = ", ".join(services) or "no service at all"
            raise ServiceMissing(file=file.name, role=role, services=names, how=HOW[role])
    yield f"{file.name}: " + ", ".join(f"{players[0].name!r} is {role}" for role, players in cast.items())

    broker, results, clients = cast[RABBITMQ][0], cast[REDIS][0], cast[WORKER] + cast[FLOWER]
    for client in clients:
        finds(client, broker, RABBITMQ, "CELERY_BROKER_URL", desk.configuration.broker_url)
        finds(client, results, REDIS, "CELERY_RESULT_BACKEND", desk.configuration.result_backend)
    yield f"addresses: {' and '.join(repr(client.name) for client in clients)} find them by their names"

    for role, service in (RABBITMQ, broker), (REDIS, results):
        if not service.is_probed:
            raise NoHealthCheck(service=service.name, test=PROBE[role])
    waits = [(worker, server) for worker in cast[WORKER] for server in (broker, results)]
    for client, server in waits + [(flower, broker) for flower in cast[FLOWER]]:
        if server.name not in ready_before(client, services):
            raise NoStartOrder(service=client.name, other=server.name)
    yield f"start order: first {broker.name!r} and {results.name!r}, and the others when these are healthy"

    for worker in cast[WORKER]:
        if worker.stop_seconds < STOP:
            raise StopTooShort(service=worker.name, seconds=worker.stop_seconds, prediction=PREDICTION)
        yield f"stop: {worker.name!r} has {worker.stop_seconds:g} s to end its predictions"

    for service in services.values():
        for address, published, target in service.ports:
            if address.strip("[]") not in LOCAL:
                raise OpenToTheWorld(service=service.name, port=published or target, target=target)
    for flower in cast[FLOWER]:
        address = re.search(r"--address[= ](\S+)", flower.command)
        if address and address[1] in LOCAL and flower.has_own_network:
            raise OnlyInside(service=flower.name, address=address[1])
    own = [published or target for players in cast.values() for one in players for _, published, target in one.ports]
    yield f"ports: {', '.join(own) or 'none'}, for this machine only"

    for service in services.values():
        if place := service.written:
            variable = "${RABBITMQ_PASSWORD:-mypassword}"
            raise CredentialsWritten(service=service.name, place=place, file=file.name, variable=variable)
    yield "credentials: none is written in"

    yield as_it_runs(desk, {one.name for players in cast.values() for one in players})


def finds(client, server, role, variable, url):
    """Raise LooksAtItself when a client knows a server by celeryconfig.py's url only, and that means its container."""
    environment = client.from_files | client.environment
    named = any(re.search(rf"\b{re.escape(server.name)}\b", value) for value in environment.values())
    url = filled_in(environment.get(variable, "")) or url
    if url and not named and client.has_own_network and Address(url).is_local:
        raise LooksAtItself(service=client.name, role=role, host=Address(url).host, variable=variable, name=server.name)


def ready_before(service, services):
    """Names of the services that are healthy before this one starts, be it that another one waits for them."""
    found, todo, seen = set(), [service], set()
    while todo:
        service = todo.pop()
        for name, condition in service.depends_on.items():
            if condition == "service_healthy":
                found.add(name)
            if name not in seen:
                seen.add(name)
                todo.append(services[name])
    return found


def as_it_runs(desk, services):
    """What Docker says of the containers, as a fact. Raises Fault when one of these services does not run well."""
    containers = running()
    if containers is None:
        return "Docker: does not run here, so the file was read, and not run"
    if not containers:
        return "Docker: nothing of it runs. Start it with `docker compose up --build --wait`"
    desk.wait(lambda: "starting" not in states(running() or []).values(), "all containers to be ready", 3)
    found = states(running() or containers)
    for name, state in found.items():
        if name in services and state not in ("running", "healthy", "starting", "created", "exited"):
            raise Fault(f"The container of {name} is {state}", f"See why: `docker compose logs {name}`")
    return "Docker: " + ", ".join(f"{name} is {state}" for name, state in found.items())


def running():
    """What `docker compose ps` says of each container, when one of them runs; None where Docker does not answer."""
    said = docker("ps", "--all", "--format", "json")
    if said is None or said.returncode:
        return None
    containers = [one for line in said.stdout.splitlines() for one in as_list(json.loads(line))]
    return containers if any(container["State"] in ("running", "restarting") for container in containers) else []


def as_list(said):
    """Compose before 2.21 says one list; later ones say one container per line."""
    return said if isinstance(said, list) else [said]


def states(containers):
    """{service: healthy, unhealthy, starting, running, restarting or exited, with its status unless that is 0}.

    Where a service has several containers, one that is not healthy speaks for them.
    """
    said = [
        (c["Service"], f"{c['State']} ({c['ExitCode']})" if c["ExitCode"] else c["Health"] or c["State"])
        for c in containers
    ]
    return dict(sorted(said, key=lambda one: one[1] == "healthy", reverse=True))


def docker(*command):
    """What a `docker compose` command says; None where that is not installed, or does not answer."""
    try:
        return subprocess.run(
            ["docker", "compose", *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ASK
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def read(file):
    """{name: Service} of a Compose file, variables left as they are. Raises Invalid, in Docker's words or YAML's."""
    said = docker("config", "--no-interpolate", "--format", "json")
    if said and said.returncode == 0:
        document = json.loads(said.stdout)
    elif said and docker("version").returncode == 0:
        complain(file, said.stderr)
    else:
        document = without_docker(file)
    if not isinstance(document, dict) or not isinstance(document.get("services"), dict):
        complain(file, "it has no `services:`, with each service below")
    services = {}
    for name, given in document["services"].items():
        try:
            services[name] = as_service(name, given, file.parent)
        except FileNotFoundError as error:
            complain(file, f"{name} needs {error.filename}, which is not there")
        except (AttributeError, TypeError, ValueError, KeyError):
            complain(file, f"{name} is not written as Compose expects a service")
    for one in services.values():
        for other in one.depends_on.keys() - services:
            complain(file, f"{one.name} depends on {other}, which is not there")
    return services


def without_docker(file):
    try:
        return yaml.safe_load(file.read_text())
    except yaml.MarkedYAMLError as error:
        complain(file, f"{error.problem} (line {error.problem_mark.line + 1})")
    except (yaml.YAMLError, ValueError) as error:
        complain(file, str(error))


def complain(file, words):
    """Raise Invalid with these words, in which the folder is left out."""
    said = " ".join(line for line in words.splitlines() if not line.startswith("time="))
    raise Invalid(file=file.name, error=" ".join(said.replace(f"{file.parent}/", "").split()).rstrip("."))


def as_service(name, given, folder):
    """The Service that stands under a name, given in Compose's short or long forms."""
    built = instructions(given["build"], folder) if given.get("build") else {}
    image = built.get("FROM") or given.get("image") or ""
    command = given.get("command") or ("" if given.get("entrypoint") else built.get("CMD"))
    words = f"{line(given.get('entrypoint') or built.get('ENTRYPOINT'))} {line(command)}"
    depends_on = given.get("depends_on") or {}
    probe = given.get("healthcheck") or {}
    return Service(
        name=name,
        image=image.split(" ")[0].rpartition("/")[2].partition(":")[0],
        command=re.sub(r"(-A|--app)[= ]?\S+", "", words).strip(),
        environment=variables(given.get("environment") or {}),
        from_files=variables([text for path in files(given.get("env_file")) for text in lines(folder / path)]),
        ports=[port(one) for one in given.get("ports") or []],
        depends_on={other: (depends_on[other] or {}).get("condition") for other in depends_on}
        if isinstance(depends_on, dict)
        else dict.fromkeys(depends_on),
        is_probed=probe.get("test", "NONE") not in ("NONE", ["NONE"]) and not probe.get("disable"),
        stop_seconds=seconds(given.get("stop_grace_period") or "10s"),
        has_own_network=not given.get("network_mode"),
    )


def instructions(build, folder):
    """The last FROM, ENTRYPOINT and CMD of the Dockerfile that a service is built from."""
    build = {"context": build} if isinstance(build, str) else build
    file = folder / build.get("context", ".") / build.get("dockerfile", "Dockerfile")
    text = build.get("dockerfile_inline") or Path(file).read_text()
    found = re.findall(r"^\s*(FROM|ENTRYPOINT|CMD)\s+(.+)$", text.replace("\\\n", " "), re.MULTILINE | re.IGNORECASE)
    return {word.upper(): rest for word, rest in found}


def line(command):
    """A command, given as a string or a list or a string that holds a list, as one line."""
    if isinstance(command, str) and command.startswith("["):
        command = json.loads(command)
    return command if isinstance(command, str) else " ".join(map(str, command or []))


def variables(environment):
    """{name: value}, given so or as a list of NAME=value; a value that comes from the terminal is empty."""
    if isinstance(environment, list):
        environment = dict(one.partition("=")[::2] for one in environment)
    return {name: "" if value is None else str(value) for name, value in environment.items()}


def lines(path):
    return [text for text in path.read_text().splitlines() if not text.startswith("#")]


def files(given):
    """The paths of env_file, given as one, or as a list, each as a string or a mapping."""
    given = given if isinstance(given, list) else [given] if given else []
    return [one["path"] if isinstance(one, dict) else one for one in given]


def port(given):
    """(address, published, target) of a port, given as a mapping or as [[address:]published:]target."""
    if isinstance(given, dict):
        return tuple(filled_in(str(given.get(key, ""))) for key in ("host_ip", "published", "target"))
    parts = filled_in(str(given)).partition("/")[0].rsplit(":", 2)
    return tuple(["", "", *parts][-3:])


def seconds(duration):
    """Seconds of a duration such as 1m30s."""
    return sum(
        float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|us|h|m|s)", filled_in(duration))
    )


def filled_in(text, value=None):
    """Text with each ${NAME:-default} replaced by its default, as Docker does when nothing is set, or by this value."""
    while (less := VARIABLE.sub(lambda match: match[1] or "" if value is None else value, text)) != text:
        text = less
    return text
