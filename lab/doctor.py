"""What a teacher asks first, in one table: what is there, which version, and what to do about what is wrong."""

import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata

from rich.console import Console
from rich.table import Table

from lab.course import FOLDER
from lab.fault import Fault
from lab.folder import Claim, Folder
from lab.observe import Address, ask, flower_answers, management, pools, port_holder
from lab.servers import RABBITMQ

REQUIREMENTS = FOLDER.parent / "requirements.txt"
MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]–[/]"}


@dataclass
class Finding:
    """One line of the table. good is None for what is neither right nor wrong."""

    subject: str
    good: bool | None
    found: str
    remedy: str = ""


def examine(app):
    """All Findings, from the machine up to the workers; app is a Fault when it could not be imported."""
    folder = Folder()
    yield Finding("Python", sys.version_info >= (3, 11), f"{platform.python_version()} ({sys.executable})")
    yield packages()
    yield rabbitmq_installed()
    if folder.problem:
        remedy = "Make it yours, or remove it: until then nothing is kept when a lab ends"
        yield Finding(".lab", False, f"cannot be written: {folder.problem}", remedy)
    if isinstance(app, Fault):
        yield Finding("my_ml_app.py", False, str(app), app.remedy)
        return
    configured = {"broker": app.conf.broker_url, "result backend": app.conf.result_backend}
    dashboard, flower = join(folder)
    folder.remove_if_temporary()
    broker, results = Address(app.conf.broker_url), Address(app.conf.result_backend or "")
    yield from other_address("broker", configured["broker"], broker.url)
    answer = server("broker", broker)
    yield answer
    if broker.is_rabbitmq and answer.good:
        yield management_api(dashboard or broker.management, broker)
    if app.conf.result_backend:
        yield from other_address("result backend", configured["result backend"], results.url)
        yield server("result backend", results)
    else:
        yield Finding("result backend", None, "none: celeryconfig.py has no result_backend, so results are not kept")
    if answer.good:
        yield workers_online(app)
    flower = Address(flower or f"http://localhost:{os.environ.get('FLOWER_PORT', '5555')}")
    yield flower_online(flower.url)
    yield from ports(broker, results, flower)


def join(folder):
    """Ask where the lab in this folder has its servers, if one runs; return its dashboard and Flower, if any."""
    servers, stack = (Claim(folder, part).holder() or {} for part in ("servers", "stack"))
    for role, variable in (("broker", "CELERY_BROKER_URL"), ("results", "CELERY_RESULT_BACKEND")):
        if servers.get(role):
            os.environ[variable] = servers[role]["url"]
    return (servers.get("broker") or {}).get("dashboard"), stack.get("flower")


def packages():
    """Whether what requirements.txt pins is what is installed."""
    wrong, versions = [], []
    for name, wanted in re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = "missing"
        versions.append(f"{name} {version}")
        if version != wanted:
            wrong.append(name)
    return Finding("packages", not wrong, ", ".join(versions), "`rm -r .venv`, then `make lab`" if wrong else "")


def rabbitmq_installed():
    path = shutil.which("rabbitmq-server", path=RABBITMQ)
    return Finding("RabbitMQ", None, path or "not installed here", "" if path else "`make rabbitmq` installs it")


def other_address(subject, configured, used):
    """Say so when the lab in this folder uses another address than celeryconfig.py has now."""
    if configured and configured != used:
        variable = "CELERY_BROKER_URL" if subject == "broker" else "CELERY_RESULT_BACKEND"
        found = f"celeryconfig.py says {Address(configured)}; the lab that runs here uses another one"
        yield Finding("celeryconfig.py", None, found, f"Other terminals join the lab with: export {variable}={used}")


def server(subject, address):
    """Whether broker or result backend answer, and to which user."""
    try:
        product = ask(address.url)
    except Fault as fault:
        return Finding(subject, False, f"{address}\n{fault}", fault.remedy)
    user = f", logged in as {address.user!r}" if address.user else ""
    where = f", virtual host {address.virtual_host!r}" if address.is_rabbitmq else ""
    return Finding(subject, True, f"{address}\n{product}{user}{where}")


def management_api(dashboard, broker):
    try:
        version = management(dashboard, broker)["rabbitmq_version"]
    except Fault as fault:
        return Finding(
            "management API", False, str(fault), "It comes with the broker, as its plugin rabbitmq_management"
        )
    return Finding("management API", True, f"{dashboard}, RabbitMQ {version}")


def workers_online(app):
    sizes = pools(app)
    if not sizes:
        return Finding("workers", False, "none is online", "`make lab`, or `celery -A my_ml_app worker`")
    return Finding("workers", True, ", ".join(f"{name} with {size} processes" for name, size in sizes.items()))


def flower_online(url):
    if flower_answers(url):
        return Finding("Flower", True, f"{url}: {metadata.version('flower')}")
    return Finding("Flower", False, f"{url} does not answer", "`make lab`, or `celery -A my_ml_app flower`")


def ports(*addresses):
    """Who holds the ports of this machine that the lab's addresses name."""
    wanted = [a.port for a in addresses if a.port and a.is_local] + [a.port + 10000 for a in addresses if a.is_rabbitmq]
    for port in sorted(set(wanted)):
        yield Finding(f"port {port}", None, port_holder(port) or "free")


def table(findings):
    """Print Findings, and return whether nothing is wrong."""
    lines = Table(box=None, pad_edge=False, show_header=False)
    good = True
    for finding in findings:
        good = good and finding.good is not False
        remedy = f"\n→ {finding.remedy}" if finding.remedy else ""
        lines.add_row(MARKS[finding.good], finding.subject, finding.found + remedy)
    Console(highlight=False).print(lines)
    return good
