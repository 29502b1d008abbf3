"""What exercise 10 makes of Compose files, read by itself; tests/e2e has them read by Docker too."""

import re
from textwrap import indent
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from conftest import ROOT

from lab.cli.course import new
from lab.course.exercise import course, load
from lab.fault import Fault

COMPOSE, DOCKERFILE = ((ROOT / name).read_text() for name in ("docker-compose.yml", "Dockerfile"))


EXERCISE = course()[10]
REFERENCE = (EXERCISE.path / "solution" / "docker-compose.yml").read_text()
CUTS = (("  build: .", "\nservices:"), ("  redis:\n    image", "  worker:"))
HEALTHY = "    rabbitmq: {condition: service_healthy}\n"
URL = "amqp://${RABBITMQ_USER:-myuser}:${RABBITMQ_PASSWORD:-mypassword}@rabbitmq:5672//"
BASE, REDIS = (REFERENCE[REFERENCE.index(begin) : REFERENCE.index(end)] for begin, end in CUTS)
RIGHT = {  # in other words than the reference's: what is written instead of what, files beside it, and what is added
    "env_file that may miss": (
        "  environment:\n    CELERY",
        "  env_file: [{path: no.env, required: false}]\n  environment:\n    CELERY",
    ),
    "env_file": (
        f"  environment:\n    CELERY_BROKER_URL: {URL}\n",
        "  env_file: my.env\n  environment:\n",
        {"my.env": "# mine\nexport CELERY_BROKER_URL='amqp://myuser:mypassword@rabbitmq' # there\n"},
    ),
    "depends_on in full": (HEALTHY, "    rabbitmq: {condition: service_healthy, restart: true, required: true}\n"),
    "depends_on what may miss": (HEALTHY, f"{HEALTHY}    db: {{condition: service_started, required: false}}\n"),
    "ports in full": (
        "- 127.0.0.1:6379:6379",
        "- {target: 6379, published: '6379', host_ip: 127.0.0.1, protocol: tcp, mode: host, app_protocol: redis}",
    ),
    "a range of ports, and udp": ("- 127.0.0.1:6379:6379", "- '127.0.0.1:6379-6380:6379-6380/udp'"),
    "a port that looks like a time": ("- 127.0.0.1:6379:6379", "- 127.0.0.1:22:22\n      - 127.0.0.1:6379:6379"),
    "IPv6": ("- 127.0.0.1:6379:6379", "- '[::1]:6379:6379'"),
    "health check for a shell": ("test: redis-cli -e ping", "test: [CMD-SHELL, redis-cli -e ping || exit 1]"),
    "a list for the environment": (
        "      RABBITMQ_DEFAULT_USER: ${RABBITMQ_USER:-myuser}\n"
        "      RABBITMQ_DEFAULT_PASS: ${RABBITMQ_PASSWORD:-mypassword}\n",
        "      - RABBITMQ_DEFAULT_USER=${RABBITMQ_USER-myuser}\n"
        "      - RABBITMQ_DEFAULT_PASS=${RABBITMQ_PASSWORD:-${OTHER:-mypassword}}\n",
    ),
    "a password with a $": ("services:\n", "services:\n", {".env": "RABBITMQ_PASSWORD=a$RABBITMQ_PASSWORD\n"}),
    "a variable for the image": ("image: redis:8.8-alpine", "image: ${REGISTRY:-docker.io}/library/${CACHE:-redis:8}"),
    "a digest": ("image: redis:8.8-alpine", f"image: redis@sha256:{'0' * 64}"),
    "profiles": ("services:\n", "services:\n  tests: {image: pytest:1, profiles: [tests], ports: ['127.0.0.1:9:9']}\n"),
    "secrets, configs, develop, resources": (
        "    stop_grace_period: 60s",
        "    stop_grace_period: 1m\n    secrets: [token]\n    configs: [{source: token, target: /token}]\n"
        "    deploy: {resources: {limits: {cpus: '2', memory: 1g, pids: 500}}}\n"
        "    develop: {watch: [{action: rebuild, path: .}]}",
        {"token": "x"},
        "\nsecrets: {token: {file: ./token}}\nconfigs: {token: {file: ./token}}\n",
    ),
    "extends": (
        "  flower:\n    <<: *celery\n",
        "  flower:\n    extends: {file: base.yml, service: base}\n    environment: [A=1]\n",
        {"base.yml": f"services:\n  base:\n{indent(BASE, '  ')}"},
    ),
    "include": (
        REDIS,
        "",
        {"store.yml": f"services:\n{REDIS}volumes: {{redis: }}\n"},
        "include: [{path: [store.yml]}]\n",
    ),
    "a file that overrides": (
        "- 127.0.0.1:6379:6379",
        "- 6379:6379",
        {
            "docker-compose.override.yml": "services:\n  redis:\n    ports: !override ['127.0.0.1:6379:6379']\n"
            "    labels: !reset null\n"
        },
    ),
    "the machine's network for the worker": ("    stop_grace_period", "    network_mode: host\n    stop_grace_period"),
    "Flower open with a password of one's own": (
        "- 127.0.0.1:5555:5555",
        f"- 5555:5555\n    environment: {{FLOWER_BASIC_AUTH: 'me:${{SECRET}}', CELERY_BROKER_URL: '{URL}', "
        "CELERY_RESULT_BACKEND: redis://redis}",
        {".env": "SECRET=lovelace\n"},
    ),
    "another name on the network": (
        "@rabbitmq:5672//",
        "@queue:5672//",
        {"docker-compose.override.yml": "services: {rabbitmq: {networks: {default: {aliases: [queue]}}}}\n"},
    ),
}


@pytest.fixture
def docker():
    """What stands in for the command line of Docker: it is not installed."""
    return lambda *command: None


@pytest.fixture
def check_10(docker, tmp_path, monkeypatch):
    """What exercise 10's check finds in a folder with these files: facts, and the Fault that it ended with."""
    monkeypatch.chdir(tmp_path)
    module = load(EXERCISE.path / "check.py")
    if docker:
        monkeypatch.setattr(module, "docker", docker)
    monkeypatch.setattr(module, "as_it_runs", lambda desk, services: "")
    settings = SimpleNamespace(broker_url="amqp://myuser:mypassword@localhost//", result_backend="redis://localhost")

    def check(text, beside):
        for name, content in {"docker-compose.yml": text, "Dockerfile": DOCKERFILE, **beside}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
        facts = []
        try:
            facts.extend(module.check(SimpleNamespace(folder=tmp_path, configuration=settings)))
        except Fault as fault:
            return facts, fault
        return facts, None

    return check


WRONG = {
    "a key that is nearly right": (
        "    stop_grace_period",
        "    enviroment: {A: 1}\n    stop_grace_period",
        "enviroment",
    ),
    "a time without a unit": ("stop_grace_period: 60s", "stop_grace_period: 60", "stop_grace_period|60 is not a time"),
    "an env_file that is not there": (
        "  environment:\n    CELERY",
        "  env_file: my.env\n  environment:\n    CELERY",
        "my.env",
    ),
    "open for a short port": ("- 127.0.0.1:6379:6379", "- 6379", "redis opens port 6379 to everybody"),
    "open in full": (
        "- 127.0.0.1:6379:6379",
        "- {target: 6379, published: 6379}",
        "redis opens port 6379 to everybody",
    ),
    "only its profile starts it": (
        "    stop_grace_period",
        "    profiles: [work]\n    stop_grace_period",
        r"worker \(only with",
    ),
    "a misspelt variable, which nobody reads": (
        "CELERY_BROKER_URL",
        "CELERY_BROKER",
        "looks for RabbitMQ at localhost",
    ),
    "an address of another kind": ("amqp://", "http://", "CELERY_BROKER_URL of worker .*begins with http://"),
    "the machine's own name": ("@rabbitmq", "@host.docker.internal", "looks for RabbitMQ at host.docker.internal"),
    "results at the broker": ("//redis:", "//rabbitmq:", "looks for Redis at rabbitmq, but no service"),
    "a condition that there is not": (HEALTHY, HEALTHY.replace("service_", ""), "healthy"),
    "a port turned round": ("127.0.0.1:6379:6379", "6379:127.0.0.1:6379", "6379:127.0.0.1:6379|invalid"),
    "a name for an address": ("- 127.0.0.1:6379", "- localhost:6379", "localhost is 127.0.0.1"),
    "an image without dashboard": ("4.3-management", "4.3", "its port 15672 is the dashboard's"),
    "a list of one word": ("command: celery -A my_ml_app flower", "command: [celery -A my_ml_app flower]", "each word"),
    "a health check in one line": (
        "      test: redis-cli -e ping\n      start_period: 30s\n      start_interval: 1s\n",
        "      redis-cli ping\n",
        "is called test|must be a mapping",
    ),
    "a list of pairs": (
        "      RABBITMQ_DEFAULT_USER: ${RABBITMQ_USER:-myuser}\n      RABBITMQ_DEFAULT_PASS",
        "      - RABBITMQ_DEFAULT_USER: ${RABBITMQ_USER:-myuser}\n      - RABBITMQ_DEFAULT_PASS",
        "NAME=value|unexpected type",
    ),
    "the app behind": ("celery -A my_ml_app worker", "celery worker -A my_ml_app", "-A and the app come first"),
    "a password in the command": ("app flower", "app flower --basic-auth=me:mine", "password in command of flower"),
    "no space": ("image: redis", "image:redis", "a space is missing after a colon"),
    "another column": (
        "  redis:\n    image",
        "redis:\n    image",
        "'worker:': this line, or one above it, begins in the wrong column",
    ),
    "an open quote": ("- 127.0.0.1:5555:5555", '- "127.0.0.1:5555:5555', "line 5[0-9], .*5555.*not closed"),
    "no settings": ("  redis:\n    image", "  nothing:\n  redis:\n    image", "nothing.*(settings|mapping)"),
    "includes itself": ("services:\n", "include: [docker-compose.yml]\nservices:\n", "itself|cycle"),
    "a list": (REFERENCE, "- a\n", "no `services:`"),
    "nothing at all": (REFERENCE, "", "no `services:`"),
    "a tab": ("    stop_grace_period", "\tstop_grace_period", "line 4[5-9], .*begins with a tab"),
    "a health check without CMD": ("test: redis-cli -e ping", "test: [redis-cli, ping]", "begins with CMD|must start"),
    "an address without slashes": ("redis://redis:6379/0", "redis:6379", "CELERY_RESULT_BACKEND of worker .*`//`"),
    "a volume that is nowhere": ("\nvolumes:\n  rabbitmq:\n", "\nvolumes:\n", "volume.* rabbitmq"),
    "a service depends on nothing": (HEALTHY, HEALTHY + "    db: {condition: service_started}\n", "db"),
}


@pytest.mark.parametrize("old, new, words", WRONG.values(), ids=WRONG)
def test_check_10_says_what_is_wrong(check_10, old, new, words):
    assert old in REFERENCE
    _, fault = check_10(REFERENCE.replace(old, new), {})
    assert fault and re.search(words, str(fault)), fault


def test_check_10_says_that_a_tag_is_missing_and_passes(check_10):
    facts, fault = check_10(REFERENCE.replace("redis:8.8-alpine", "redis:latest"), {})
    assert not fault
    assert any(fact.startswith("versions: redis can change tomorrow") for fact in facts)


def test_what_exercise_10_hands_out_is_the_labs_own(tmp_path):
    """Copies, since Git on Windows makes text files of links."""
    CliRunner().invoke(new, [str(tmp_path)], catch_exceptions=False)
    assert (tmp_path / "Dockerfile").read_text() == DOCKERFILE, "cp Dockerfile exercises/10_compose/stub"
    ours, theirs = (
        {line.split()[0] for line in (folder / "requirements.txt").read_text().splitlines() if line[0] != "#"}
        for folder in (ROOT, tmp_path)
    )
    assert len(theirs) == 2 and theirs < ours
    pins = [set(re.findall(r"^    image: (\S+)", text, re.MULTILINE)) for text in (REFERENCE, COMPOSE)]
    assert len(pins[0]) == 2 and pins[0] < pins[1]
    assert not [path for path in EXERCISE.path.rglob("*") if path.is_symlink()]
    assert ".env" in (tmp_path / ".gitignore").read_text().split()


@pytest.mark.parametrize("change", RIGHT.values(), ids=RIGHT)
def test_check_10_accepts_what_compose_accepts(check_10, change):
    old, new, beside, more = (*change, *({}, "")[len(change) - 2 :])
    assert old in REFERENCE
    facts, fault = check_10(REFERENCE.replace(old, new) + more, beside)
    assert not fault, fault.sentences()
    assert facts
