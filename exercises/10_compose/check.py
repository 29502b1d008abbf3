"""Does the student's Compose file run RabbitMQ, Redis, worker and Flower, and run them well?

The file is read without Docker. Where Docker's own command line is there, it checks the file too; where it runs, the
check looks at the containers.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

import yaml

from lab.course.kit import LOCAL, Address, Desk, Fault, Wrong

FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")  # as Docker looks for them
PREDICTION = 10  # seconds
STOP = 15  # seconds that a worker needs at least to end: one prediction, and some more
ASK = 4  # seconds that Docker may take to answer

VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?:(:?[-+?])([^{}]*))?\}|(\w+))")  # $$, $NAME, or an innermost ${NAME:-default}
SECRET = re.compile(r"(PASS|PASSWORD|SECRET|TOKEN|BASIC_AUTH)$", re.IGNORECASE)
WRITTEN = re.compile(r"://[^/@\s:]*:[^$@\s/]+@|--(?:basic[-_]auth|requirepass|password)[= ][^$\s]+(?:\s|$)")
ASKED = re.compile(r"--basic[-_]auth[= ](\S+)")

DONE = "\0"  # a $ that begins no variable any more
CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
YAML = {  # what its reader says, and what a student does
    "block end": "this line, or one above it, begins in the wrong column",
    "mapping values": "a space is missing after a colon, here or in the line above",
    "end of stream": "a quote or bracket is opened and not closed",
    "start any token": "a line begins with a tab, or with a sign that needs quotes",
}
WHOLE = {"command", "entrypoint", "test"}  # lists that replace another one
QUOTES = "\"'"
PROBES = ("NONE", "CMD", "CMD-SHELL")  # with which the list of a health check may begin
UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 0.001, "us": 0.000001}
# What Compose knows, as far as a slip of the pen could come near it.
KEYS = {"build", "command", "configs", "depends_on", "entrypoint", "env_file", "environment", "expose", "extends"}
KEYS |= {"healthcheck", "hostname", "image", "links", "network_mode", "networks", "ports", "profiles", "restart"}
KEYS |= {"secrets", "stop_grace_period", "stop_signal", "volumes", "volumes_from"}


class NoComposeFile(Wrong):
    """There is no docker-compose.yml in {folder}."""

    next = "`lab reset 10` puts the file there for you to fill in"


class Invalid(Wrong):
    """{file} cannot be used: {error}."""

    next = "Correct that place. In YAML, lines that belong together begin in the same column, after spaces"


class BadService(Wrong):
    """{service} in {file} cannot be used: {why}."""

    next = "Correct this setting of {service}, or add what it needs"


class ServiceMissing(Wrong):
    """{file} has no service that is {role}: it has {services}."""

    next = "Add a service: {how}"


class LooksAtItself(Wrong):
    """{service} looks for {role} at {host}. Inside a container, that is the container itself, and nothing listens
    there."""

    next = """Between containers, a service's name is its address: here {name}. Celery uses {variable} from a service's
        environment instead of the address in celeryconfig.py"""


class NoAddress(Wrong):
    """{variable} of {service} is not an address of {role}: {why}."""

    next = """Correct it, or the value in `.env` that is filled in there. In a user or password, write @ as %40, / as
        %2F, # as %23"""


class NotThere(Wrong):
    """{service} looks for {role} at {host}, but no service with that name is {role}."""

    next = "A service's name is its address: here {name}. Correct {variable} of {service}, or the service's name"


class OutsidePort(Wrong):
    """{service} looks for {role} at port {port} of {name}, but that is its port on your machine."""

    next = "Containers do not use published ports. Take the port at which {name} itself listens: {target}"


class OtherUser(Wrong):
    """{service} logs in to {name} as {user!r}, but {name} makes {made}: it will refuse {service}."""

    next = """RabbitMQ makes one user, from two variables in its own environment that begin with RABBITMQ_DEFAULT_.
        {name} and {service} should take user and password from the same place"""


class NoHealthCheck(Wrong):
    """{service} has no health check: Docker knows that it has started, but not when it is ready."""

    next = "Tell Docker how to ask it: with a command in the container that succeeds only when {service} takes requests"


class NoStartOrder(Wrong):
    """{service} does not wait until {other} is ready: it starts at the same time, and cannot reach it yet."""

    next = "Make {service} depend on {other}, with the condition that {other} is healthy, not only started"


class StopTooShort(Wrong):
    """Docker kills {service} {seconds:g} seconds after it asks it to stop. That is too short for a prediction of
    {prediction} seconds and the end of the worker itself."""

    next = "Give {service} more time to stop than a prediction takes. Compose calls this a grace period"


class OpenToTheWorld(Wrong):
    """{service} opens port {port} to everybody who can reach this machine."""

    next = """The address before a port says who can reach it. 127.0.0.1 is this machine only. Without an address,
        everybody can"""


class PublishedPassword(Wrong):
    """{service} opens port {port} to everybody who can reach this machine, with the password that everybody knows."""

    next = "Set your own password in `.env`, or open the port to this machine only"


class OpenInterface(Wrong):
    """{service} takes orders from every web page that you visit: FLOWER_UNAUTHENTICATED_API is set."""

    next = "Leave it out. Flower's own pages work without it, and its interface for programs then asks for a password"


class HostNetwork(Wrong):
    """{service} is in this machine's own network: everybody who can reach this machine can reach all its ports."""

    next = "Leave it in Compose's network, and publish only the ports that you need, for this machine only"


class OnlyInside(Wrong):
    """{service} listens at {address} inside its own container. Its published port does not reach that address."""

    next = "Leave the address out of its command. In Compose, the address before a port says who can reach it"


class CredentialsWritten(Wrong):
    """The password in {place} of {service} is written in {file}: everybody who gets the file gets the password."""

    next = """Write a variable there, and Compose fills it in, as exercise 10 shows for RabbitMQ's password. The real
        password is in a file `.env` beside it, which does not go into Git"""


class Unacceptable(ValueError):
    """What Compose or Celery would refuse, in a sentence's last words."""


RECOGNISES = (
    NoComposeFile,
    Invalid,
    BadService,
    ServiceMissing,
    LooksAtItself,
    NoAddress,
    NotThere,
    OutsidePort,
    OtherUser,
    NoHealthCheck,
    NoStartOrder,
    StopTooShort,
    OpenToTheWorld,
    PublishedPassword,
    OpenInterface,
    HostNetwork,
    OnlyInside,
    CredentialsWritten,
)


@dataclass
class Service:
    """A service, whichever of Compose's short and long forms it is written in, with variables filled in."""

    name: str
    names: set  # by which others find it
    image: str  # without registry and tag
    tag: str  # the version, be it a rough one
    command: str
    environment: dict  # {name: value}, env_file included
    ports: list  # of (address, published, target)
    depends_on: dict  # {service: condition}
    is_probed: bool
    stop_seconds: float
    network: str  # "": Compose's; or host, service:NAME, container:NAME
    is_optional: bool  # starts only with its profile
    is_configured: bool  # by files of the student's in /etc
    written: str | None  # where a password is written in: the name of a variable, or "command"


RABBITMQ, REDIS, WORKER, FLOWER = "RabbitMQ", "Redis", "a Celery worker", "Flower"
PLAYS = {
    RABBITMQ: lambda service: "rabbitmq" in service.image,
    REDIS: lambda service: re.search("redis|valkey", service.image),
    WORKER: lambda service: re.search(r"\bworker\b", service.command),
    FLOWER: lambda service: re.search(r"\bflower\b", f"{service.image} {service.command}"),
}
HOW = {
    RABBITMQ: "its image is RabbitMQ's, with the management plugin",
    REDIS: "exercise 11 keeps results there. Its image is Redis's own",
    WORKER: "it is built from the Dockerfile in this folder, and its command is what you typed in terminal 2",
    FLOWER: "it is built as the worker is, and its command is what you typed in terminal 4, without an address",
}


def check(desk: Desk) -> Iterator[str]:
    file = next((desk.folder / name for name in FILES if (desk.folder / name).exists()), None)
    if not file:
        raise NoComposeFile(folder=desk.folder)
    services = read(file)
    usual = [service for service in services.values() if not service.is_optional]
    cast = {role: [service for service in usual if plays(service)] for role, plays in PLAYS.items()}
    for role, players in cast.items():
        if not players:
            names = (one.name + " (only with its profile)" * one.is_optional for one in services.values())
            names = ", ".join(names) or "no service at all"
            raise ServiceMissing(file=file.name, role=role, services=names, how=HOW[role])
    yield f"{file.name}: " + ", ".join(f"{players[0].name!r} is {role}" for role, players in cast.items())

    code = " ".join(path.read_text(errors="replace") for path in desk.folder.glob("*.py") if path.is_file())
    broker, results, clients = cast[RABBITMQ][0], cast[REDIS][0], cast[WORKER] + cast[FLOWER]
    for client in clients:
        urls = {
            "CELERY_BROKER_URL": (broker, RABBITMQ, desk.configuration.broker_url),
            "CELERY_RESULT_BACKEND": (results, REDIS, desk.configuration.result_backend),
        }
        for variable, (server, role, url) in urls.items():
            finds(client, server, role, variable, url, services, code)
    yield f"addresses: {' and '.join(repr(client.name) for client in clients)} find them by their names"

    for service in broker, results:
        if not service.is_probed:
            raise NoHealthCheck(service=service.name)
    waits = [(worker, server) for worker in cast[WORKER] for server in (broker, results)]
    for client, server in waits + [(flower, broker) for flower in cast[FLOWER]]:
        if server.name not in ready_before(client, services):
            raise NoStartOrder(service=client.name, other=server.name)
    yield f"start order: first {broker.name!r} and {results.name!r}, and the others when these are healthy"

    for worker in cast[WORKER]:
        if worker.stop_seconds < STOP:
            raise StopTooShort(service=worker.name, seconds=worker.stop_seconds, prediction=PREDICTION)
        yield f"stop: {worker.name!r} has {worker.stop_seconds:g} s to end its predictions"

    has_dashboard = broker.image != "rabbitmq" or "management" in broker.tag or broker.is_configured
    if not has_dashboard and "15672" in [target for *_, target in broker.ports]:
        why = "its port 15672 is the dashboard's, which only an image with management in its tag has"
        raise BadService(service=broker.name, file=file.name, why=why)
    for service in services.values():
        reaches(service, service in cast[FLOWER])
    for service in cast[RABBITMQ] + cast[REDIS] + cast[FLOWER]:
        if service.network == "host" and (service not in cast[FLOWER] or listens(service) not in LOCAL):
            raise HostNetwork(service=service.name)
    for flower in cast[FLOWER]:
        if is_true(flower.environment.get("FLOWER_UNAUTHENTICATED_API")):
            raise OpenInterface(service=flower.name)
        if listens(flower) in LOCAL and not flower.network:
            raise OnlyInside(service=flower.name, address=listens(flower))
    own = [published or target for players in cast.values() for one in players for _, published, target in one.ports]
    yield f"ports: {', '.join(own) or 'none'}, for this machine only"

    for service in services.values():
        if service.written:
            raise CredentialsWritten(service=service.name, place=service.written, file=file.name)
    yield "credentials: none is written in the file"

    if loose := [service.name for service in usual if service.tag in ("", "latest")]:
        yield f"versions: {', '.join(loose)} can change tomorrow. A tag, as in `redis:8`, fixes the version"

    yield as_it_runs(desk, {one.name for players in cast.values() for one in players})


def finds(client, server, role, variable, url, services, code):
    """Raise unless a client finds a server by the variable of its environment, or by celeryconfig.py's url."""
    given = client.environment.get(variable)
    own = [value for name, value in client.environment.items() if name in code]  # which the student's files read
    if client.network or not given and any(re.search(rf"\b{re.escape(server.name)}\b", value) for value in own):
        return
    try:
        address = Address((given or url or "").partition(";")[0])
    except Fault:
        raise NoAddress(service=client.name, variable=variable, role=role, why="it cannot be read") from None
    if re.match(r"[^/]*:(?!//)", given or ""):
        why = "after the protocol and its colon, `//` is missing"
        raise NoAddress(service=client.name, variable=variable, role=role, why=why)
    if role == RABBITMQ and not address.is_rabbitmq:
        why = f"it begins with {address.scheme}://, but RabbitMQ's begins with amqp://"
        raise NoAddress(service=client.name, variable=variable, role=role, why=why)
    if not (address.is_rabbitmq or address.is_redis):
        return  # results that need no server
    facts = {"service": client.name, "role": role, "variable": variable, "name": server.name, "host": address.host}
    if address.is_local:
        raise LooksAtItself(**facts)
    if address.host not in server.names:
        found = [one for one in services.values() if address.host in one.names]
        if "." in address.host.replace("host.docker.internal", "") or any(PLAYS[role](one) for one in found):
            return  # elsewhere, or another one of the same kind
        raise NotThere(**facts)
    inside = {target for *_, target in server.ports}
    for _, published, target in server.ports:
        if str(address.port) == published and published not in inside:
            raise OutsidePort(**facts, port=published, target=target)
    if role == RABBITMQ and server.image == "rabbitmq" and not server.is_configured:
        made = [server.environment.get(f"RABBITMQ_DEFAULT_{what}", "guest") for what in ("USER", "PASS")]
        if made != [address.user, address.password]:
            other = "that user with another password" if made[0] == address.user else f"the user {made[0]!r}"
            raise OtherUser(service=client.name, name=server.name, user=address.user, made=other)


def reaches(service, is_flower):
    """Raise when everybody reaches a port of a service. Flower may be open, with a password of one's own."""
    for address, published, target in service.ports:
        if address.strip("[]") in LOCAL:
            continue
        asked = ASKED.search(service.command)
        password = (asked[1] if asked else service.environment.get("FLOWER_BASIC_AUTH", "")) if is_flower else ""
        if not password:
            raise OpenToTheWorld(service=service.name, port=published or target)
        if password.endswith(":mypassword"):
            raise PublishedPassword(service=service.name, port=published or target)


def listens(flower):
    """The address at which Flower's command, or its environment, lets it listen; "" for all."""
    found = re.search(r"--address[= ](\S+)", flower.command)
    return found[1] if found else flower.environment.get("FLOWER_ADDRESS", "")


def ready_before(service, services):
    """Names of the services that are healthy before this one starts, be it that another one waits for them."""
    found, todo, seen = set(), [service], set()
    while todo:
        service = todo.pop()
        for name, condition in service.depends_on.items():
            if condition == "service_healthy":
                found.add(name)
            if name not in seen and name in services:
                seen.add(name)
                todo.append(services[name])
    return found


def as_it_runs(desk, services):
    """What Docker says of the containers, as a fact. Raises Fault when one of these services does not run well."""
    containers = running()
    if containers is None:
        return "Docker: does not run here, so the check only read the file"
    if not containers:
        return "Docker: no container of it runs. Start them with `docker compose up --build --wait`"
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
    # Compose before 2.21 says one list; later ones say one container per line.
    containers = [one for line in said.stdout.splitlines() for one in as_list(json.loads(line))]
    return containers if any(container["State"] in ("running", "restarting") for container in containers) else []


def as_list(said):
    """A list as it is, and anything else as the only one in a list."""
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
    """{name: Service} of a Compose file. Raises Invalid, in Docker's words or YAML's."""
    said = docker("--profile", "*", "config", "--no-interpolate", "--format", "json")
    if said and said.returncode == 0:
        document = json.loads(said.stdout)
    else:
        document = without_docker(file)  # which names the right line, where it is no YAML
        if said and docker("version").returncode == 0 and isinstance(document, dict) and document.get("services"):
            complain(file, said.stderr)
    if not isinstance(document, dict) or not isinstance(document.get("services"), dict):
        complain(file, "it has no `services:`, with each service below it")
    settings = variables(lines(file.parent / ".env")) if (file.parent / ".env").exists() else {}
    services = {}
    for name, given in document["services"].items():
        try:
            services[name] = as_service(name, given, file.parent, settings)
            for volume in named_volumes(given) - (document.get("volumes") or {}).keys():
                raise Unacceptable(f"its volume {volume} is not in the list `volumes:` beside `services:`")
        except FileNotFoundError as error:
            missing = str(error.filename).replace(f"{file.parent}/", "")
            raise BadService(service=name, file=file.name, why=f"it needs {missing}, which is not there") from None
        except Unacceptable as error:
            raise BadService(service=name, file=file.name, why=error) from None
        except (AttributeError, TypeError, ValueError, KeyError):
            raise BadService(
                service=name, file=file.name, why="it does not have the form that Compose expects"
            ) from None
    for one in services.values():
        for other in one.depends_on.keys() - services:
            raise BadService(service=one.name, file=file.name, why=f"it depends on {other}, which is not there")
    return services


class Loader(yaml.SafeLoader):
    """YAML as Docker reads it: 22:22 is text, as every word and number here, and Compose's own tags are known."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag.rpartition(":")[2] in ("null", "merge")]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def override(self, node):
        """What replaces a list: a tuple, which merged() does not put behind it."""
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.construct_sequence(node, deep=True))
        return self.construct_mapping(node, deep=True)


Loader.add_constructor("!reset", lambda loader, node: None)
Loader.add_constructor("!override", Loader.override)


def without_docker(file):
    """A Compose file with all that it includes, extends, and is overridden by."""
    try:
        document = load(file, file)
    except RecursionError:
        complain(file, "it includes itself")
    for beside in (file.parent / f"{file.stem}.override{ending}" for ending in (".yml", ".yaml")):
        if beside.exists():
            document = merged(document, load(beside, file))
    return document


def load(path, file, within=()):
    """What a YAML file says, with all that it includes and extends. Raises Invalid, about the student's file.

    within are the files that include it.
    """
    if path.resolve() in within:
        complain(file, "it includes itself")
    try:
        document = yaml.load(path.read_text(), Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.context_mark if "end of stream" in error.problem else error.problem_mark
        text = path.read_text().splitlines()
        number = min(mark.line, len(text) - 1)
        why = next((ours for theirs, ours in YAML.items() if theirs in error.problem), error.problem)
        complain(file, f"line {number + 1}, {text[number].strip()!r}: {why}")
    except FileNotFoundError:
        complain(file, f"it needs {path}, which is not there")
    except (yaml.YAMLError, ValueError, OSError) as error:
        complain(file, str(error))
    if not isinstance(document, dict) or not isinstance(document.get("services", {}), dict):
        return document
    for one in document.get("include") or []:
        for name in as_list(one["path"] if isinstance(one, dict) else one):
            document = merged(load(path.parent / name, file, (*within, path.resolve())), document)
    for name, service in document.get("services", {}).items():
        if isinstance(service, dict):
            for key in service.keys() - KEYS:
                if close := get_close_matches(key, KEYS, 1, 0.8):
                    why = f"Compose does not know {key!r}; it knows {close[0]!r}"
                    raise BadService(service=name, file=file.name, why=why)
            document["services"][name] = extended(service, document["services"], path, file)
    return document


def extended(service, services, path, file):
    """A service with what it extends: another one of this file, or of another file."""
    if not (extends := service.pop("extends", None)):
        return service
    extends = extends if isinstance(extends, dict) else {"service": extends}
    if "file" in extends:
        services = load(path.parent / extends["file"], file)["services"]
    if extends["service"] not in services:
        complain(file, f"it extends {extends['service']}, which is not there")
    return merged(extended(services[extends["service"]], services, path, file), service)


def merged(first, then):
    """As Compose merges two: mappings name by name, lists one after the other; anything else is replaced."""
    if isinstance(first, dict) and isinstance(then, dict):
        return first | {key: value if key in WHOLE else merged(first.get(key), value) for key, value in then.items()}
    if isinstance(first, list) and isinstance(then, dict) or isinstance(first, dict) and isinstance(then, list):
        return {**variables(first), **variables(then)}
    return [*first, *then] if isinstance(first, list) and isinstance(then, list) else then


def complain(file, words):
    """Raise Invalid with these words, in which the folder is left out."""
    said = " ".join(line for line in words.splitlines() if not line.startswith("time="))
    raise Invalid(file=file.name, error=" ".join(said.replace(f"{file.parent}/", "").split()).rstrip("."))


def as_service(name, raw, folder, settings):
    """The Service that stands under a name, given in Compose's short or long forms."""
    if not isinstance(raw, dict):
        raise Unacceptable("each of its settings needs a line of its own, below its name and further right")
    given = filled_in(raw, settings)
    built = instructions(given["build"], folder) if given.get("build") else {}
    image = (built.get("FROM") or given.get("image") or "").split(" ")[0].rpartition("/")[2]
    command = given.get("command") or ("" if given.get("entrypoint") else built.get("CMD"))
    words = f"{line(given.get('entrypoint') or built.get('ENTRYPOINT'))} {line(command)}"
    if isinstance(command, (list, tuple)) and len(command) == 1 and " " in command[0].strip():
        raise Unacceptable("a command that is a list needs a comma after each word")
    if re.search(r"\bcelery\s+(worker|flower)\s.*(-A|--app)", words):
        raise Unacceptable("in its command, -A and the app come first")
    depends_on = given.get("depends_on") or {}
    if not isinstance(depends_on, dict):
        depends_on = dict.fromkeys(depends_on)
    for other, how in depends_on.items():
        if how and how.get("condition") not in CONDITIONS:
            raise Unacceptable(f"it waits for {other} to be {how.get('condition')}, not {' or '.join(CONDITIONS)}")
    probe = given.get("healthcheck") or {"test": built.get("HEALTHCHECK", "NONE")}
    if not isinstance(probe, dict):
        raise Unacceptable("below healthcheck, its command is called test")
    test = probe.get("test")
    if isinstance(test, (list, tuple)) and (not test or test[0] not in PROBES):
        raise Unacceptable("a health check that is a list begins with CMD")
    network = given.get("network_mode") or ""
    return Service(
        name=name,
        names={name, *other_names(given)},
        image=image.partition(":")[0].partition("@")[0],
        tag=image.partition(":")[2],
        command=re.sub(r"(-A|--app)[= ]?\S+", "", words).strip(),
        environment=variables([text for path in files(given.get("env_file"), folder) for text in lines(path)])
        | variables(given.get("environment") or {}),
        ports=[port(one) for one in given.get("ports") or []],
        depends_on={other: (how or {}).get("condition") for other, how in depends_on.items() if is_needed(how)},
        is_probed=probe.get("test", "NONE") not in ("NONE", ["NONE"]) and not is_true(probe.get("disable")),
        stop_seconds=seconds(given.get("stop_grace_period") or "10s"),
        network=network if network.partition(":")[0] in ("host", "service", "container") else "",
        is_optional=bool(given.get("profiles")),
        is_configured="/etc/" in f"{given.get('volumes')} {given.get('configs')}",
        written=written(raw),
    )


def named_volumes(given):
    """The names of the volumes that a service has; what begins with a path, or is filled in, has none."""
    volumes = given.get("volumes") or []
    sources = {one.get("source") if isinstance(one, dict) else one.rpartition(":/")[0] for one in volumes}
    return {source for source in sources if source and re.fullmatch(r"\w[\w.-]*", source)}


def written(given):
    """Where a password is written into a service: the name of a variable, or "command"; None when there is none."""
    for name, value in variables(given.get("environment") or {}).items():
        value = filled_in(value, None)
        if WRITTEN.search(value) or SECRET.search(name) and value and "$" not in value:
            return name
    return "command" if WRITTEN.search(filled_in(line(given.get("command")), None)) else None


def other_names(given):
    """What other containers may call a service, besides its name."""
    networks = given.get("networks")
    aliases = [one.get("aliases", []) for one in (networks.values() if isinstance(networks, dict) else []) if one]
    return {given.get("container_name"), given.get("hostname"), *(alias for some in aliases for alias in some)} - {None}


def is_true(value):
    return str(value).lower() == "true"


def is_needed(how):
    return not (isinstance(how, dict) and str(how.get("required", True)).lower() == "false")


def instructions(build, folder):
    """The last FROM, ENTRYPOINT, CMD and HEALTHCHECK of the Dockerfile that a service is built from."""
    build = {"context": build} if isinstance(build, str) else build
    context = build.get("context", ".")
    if "://" in context:
        return {"FROM": context}
    file = folder / context / build.get("dockerfile", "Dockerfile")
    text = build.get("dockerfile_inline") or file.read_text(errors="replace")
    keys = r"^\s*(FROM|ENTRYPOINT|CMD|HEALTHCHECK)\s+(.+)$"
    found = re.findall(keys, text.replace("\\\n", " "), re.MULTILINE | re.IGNORECASE)
    return {word.upper(): rest for word, rest in found}


def line(command):
    """A command, given as a string or a list or a string that holds a list, as one line."""
    if isinstance(command, str) and command.startswith("["):
        try:
            command = json.loads(command)
        except ValueError:
            return command  # a shell's, which may begin so
    return command if isinstance(command, str) else " ".join(map(str, command or []))


def variables(environment):
    """{name: value}, given so or as a list of NAME=value; a value that comes from the terminal is empty."""
    if isinstance(environment, (list, tuple)):
        if not all(isinstance(one, str) for one in environment):
            raise Unacceptable("a list of variables has NAME=value in each line; NAME: value is for lines without -")
        environment = dict(one.partition("=")[::2] for one in environment)
    return {name: "" if value is None else str(value) for name, value in environment.items()}


def lines(path):
    """The NAME=value lines of an env_file, without quotes and remarks."""
    texts = (text.strip().removeprefix("export ") for text in path.read_text(errors="replace").splitlines())
    pairs = (text.partition("=") for text in texts if text and not text.startswith("#"))
    return [f"{name.strip()}={re.sub(' #.*', '', value).strip().strip(QUOTES)}" for name, _, value in pairs]


def files(given, folder):
    """The paths of env_file, given as one, or as a list, each as a string or a mapping. One may be allowed to miss."""
    for one in [given] if isinstance(given, (str, dict)) else given or []:
        one = one if isinstance(one, dict) else {"path": one}
        if is_needed(one) or (folder / one["path"]).exists():
            yield folder / one["path"]


def port(given):
    """(address, published, target) of a port, given as a mapping or as [[address:]published:]target."""
    if isinstance(given, dict):
        parts = [str(given.get(key, "")) for key in ("host_ip", "published", "target")]
    else:
        parts = str(given).partition("/")[0].rsplit(":", 2)
    if not all(re.fullmatch(r"[\d-]*|\$\w+", number) for number in parts[-2:]):
        raise Unacceptable(f"{given} is not a port: write address, port outside and port inside, in this order")
    if parts[0] == "localhost":
        raise Unacceptable(f"{given} has a machine's name, but Docker wants its address: localhost is 127.0.0.1")
    return tuple(["", "", *parts][-3:])


def seconds(duration):
    """Seconds of a duration such as 1m30s."""
    found = re.findall(r"([\d.]+)(ms|us|h|m|s)", str(duration))
    if not found:
        raise Unacceptable(f"{duration} is not a time such as 60s or 1m30s")
    return sum(float(number) * UNITS[unit] for number, unit in found)


def filled_in(given, settings):
    """What is given, with each variable in it filled in as Docker does: from these settings, or its default.

    One that has neither stays, as $NAME. Without settings, each becomes $.
    """
    if isinstance(given, dict):
        return {key: filled_in(value, settings) for key, value in given.items()}
    if isinstance(given, (list, tuple)):
        return type(given)(filled_in(value, settings) for value in given)
    if not isinstance(given, str):
        return given

    def value(match):
        name, how, word = match[1] or match[4], match[2] or "", match[3] or ""
        if settings is None or not name:
            return DONE if name else DONE * 2
        if how.endswith("+"):
            return word if settings.get(name) else ""
        if name in settings and (settings[name] or not how.startswith(":")):
            return settings[name].replace("$", DONE)
        return word if how.endswith("-") else f"{DONE}{name}"

    while (less := VARIABLE.sub(value, given)) != given:
        given = less
    return given.replace(DONE, "$")
