"""What a teacher asks first, in one table: what is there, in which version, and what to do if something is wrong."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from configparser import ConfigParser, ParsingError
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from celery import Celery
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.fault import Fault, printable
from lab.paths import ROOT
from lab.probe.address import Address
from lab.probe.login import NotAnswering
from lab.probe.ports import port_holder
from lab.probe.rabbitmq import ManagementAway, management, takes_messages
from lab.probe.wait import within
from lab.probe.web import flower_answers
from lab.probe.workers import pools
from lab.run import running
from lab.run.folder import Claim, Folder
from lab.run.servers import RABBITMQ

REQUIREMENTS = ROOT / "requirements.txt"
PATIENCE = 6  # seconds that one question may take
KERNEL, MOUNTS, WINDOWS = Path("/proc/version"), Path("/proc/mounts"), Path("/mnt/c")
HELD = "See below which program has its port, and start it again"
LONG = 1000  # characters that one line may have
MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[dim]–[/]"}


@dataclass
class Finding:
    """One line of the table. good is None for what is neither right nor wrong."""

    subject: str
    good: bool | None
    found: str
    remedy: str = ""


def examine(app: Celery | Fault) -> Iterator[Finding]:
    """All Findings, from the machine up to the workers; app is a Fault when it could not be imported."""
    yield Finding("Python", sys.version_info >= (3, 11), f"{platform.python_version()} ({sys.executable})")
    yield packages()
    yield rabbitmq_installed()
    yield from own_folder()
    yield from wsl()
    yield from images()
    if isinstance(app, Fault):
        yield Finding("my_ml_app.py", False, str(app), app.remedy)
        return
    configured = {"broker": app.conf.broker_url, "result backend": app.conf.result_backend}
    join(app)
    try:
        flower = running.flower()
        addresses = [Address(url) for url in (app.conf.broker_url, app.conf.result_backend or "", flower)]
    except Fault as fault:
        yield Finding("addresses", False, str(fault), fault.remedy)
        return
    broker, results, _ = addresses
    yield from other_address("broker", configured["broker"], broker.url)
    dashboard = running.dashboard(broker)
    answer = asked("broker", server, broker, dashboard)
    yield answer
    if dashboard and answer.good:
        yield asked("management API", management_api, broker, dashboard)
    if app.conf.result_backend:
        yield from other_address("result backend", configured["result backend"], results.url)
        yield asked("result backend", server, results)
    else:
        yield Finding("result backend", None, "none: celeryconfig.py has no result_backend, so results are not kept")
    if answer.good:
        yield asked("workers", workers_online, app)
    yield asked("Flower", flower_online, flower)
    yield from ports(*addresses)


def asked(subject: str, question: Callable[..., Finding], *facts: Any) -> Finding:
    """The Finding of question(subject, *facts), even if the server answers nonsense, or slowly."""
    try:
        return within(PATIENCE, question, subject, *facts)
    except TimeoutError:
        found = f"does not answer within {PATIENCE} seconds"
    except Fault as fault:
        return Finding(subject, False, str(fault), fault.remedy)
    except Exception as error:
        found = f"its answer makes no sense ({type(error).__name__}: {error})"
    return Finding(subject, False, found, HELD)


def own_folder() -> Iterator[Finding]:
    """Whether .lab can be used. It is not made here."""
    problem = None
    if os.path.lexists(".lab"):
        folder = Folder()
        folder.remove_if_temporary()
        problem = folder.problem
    elif not os.access(".", os.W_OK):
        problem = "you may not write in this folder"
    if problem:
        remedy = "Make it yours, or remove it. Until then, nothing is kept when a lab ends"
        yield Finding(".lab", False, f"cannot be used: {problem}", remedy)


def wsl() -> Iterator[Finding]:
    """What often goes wrong on Windows, as far as it is so here and can be seen from within its Linux."""
    if drive := windows_drive(Path.cwd()):
        found = f"is on a Windows drive, {drive}: slow, and no file can be private or locked there"
        yield Finding("this folder", False, found, "Clone the lab into your home folder: type `cd` first")
    with suppress(OSError, IndexError):
        if KERNEL.read_text().split()[2].endswith("-Microsoft"):  # WSL 2 has a kernel of its own: …-microsoft-standard
            remedy = f"In Windows: `wsl --set-version {os.environ.get('WSL_DISTRO_NAME', 'Ubuntu')} 2`. If that says"
            remedy += " that virtualisation is off, switch it on in the computer's firmware (BIOS, UEFI), and try again"
            yield Finding("WSL", False, "this is WSL 1, in which servers and Docker do not work as in Linux", remedy)
    for file in sorted(WINDOWS.glob("Users/*/.wslconfig")):
        settings = ConfigParser(strict=False, interpolation=None)
        with suppress(OSError, ParsingError, UnicodeDecodeError):
            settings.read_string(file.read_text(encoding="utf-8-sig"))
            off = settings.get("wsl2", "localhostForwarding", fallback="true").lower() == "false"
            if off and settings.get("wsl2", "networkingMode", fallback="nat").lower() != "mirrored":
                found = f"{file} has localhostForwarding=false: no browser in Windows reaches http://localhost here"
                yield Finding("WSL", False, found, "Take that line out, and type `wsl --shutdown` in Windows")


def windows_drive(folder: Path) -> str | None:
    """Where the Windows drive is mounted on which a folder lies; None when it lies on none."""
    mounts = {}
    with suppress(OSError):
        for line in MOUNTS.read_text(errors="replace").splitlines():
            mounts[Path(line.split()[1].replace(r"\040", " "))] = "drvfs" in line
    place = next((place for place in [folder, *folder.parents] if place in mounts), None)
    return str(place) if place and mounts[place] else None


def images() -> Iterator[Finding]:
    """Which images docker-compose.yml still has to fetch, where Docker runs."""

    def docker(*words: str) -> str | None:
        with suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(["docker", *words], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
            return done.stdout if done.returncode == 0 else None
        return None

    if not shutil.which("docker") or docker("version") is None:
        return
    wanted = [name for name in (docker("compose", "config", "--images") or "").split() if ":" in name]  # not built here
    if missing := sorted(name for name in wanted if docker("image", "inspect", name) is None):
        found = f"has to fetch {', '.join(missing)}. From Docker Hub, all behind one router get 100 images in six hours"
        remedy = "In a class: `docker load --input offline/images.tar`, which `make offline` makes; or `docker login`"
        yield Finding("Docker", None, found, remedy)


def join(app: Celery) -> None:
    """Ask where the lab in this folder has its servers, if one runs; otherwise what stands in for the broker, as the
    checks do."""
    if servers := Claim.held("servers", [Path(".lab")]):
        running.use(servers)
    else:
        running.join(app.conf.broker_url)


def packages() -> Finding:
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


def rabbitmq_installed() -> Finding:
    path = shutil.which("rabbitmq-server", path=RABBITMQ)
    return Finding("RabbitMQ", None, path or "not installed here", "" if path else "`make rabbitmq` installs it")


def other_address(subject: str, configured: str | None, used: str) -> Iterator[Finding]:
    """Say so when the lab in this folder uses another address than celeryconfig.py has now."""
    if configured and configured != used:
        variable = "CELERY_BROKER_URL" if subject == "broker" else "CELERY_RESULT_BACKEND"
        found = f"celeryconfig.py says {Address(configured)}; the lab that runs here uses another address"
        yield Finding("celeryconfig.py", None, found, f"Type this in the other terminals: export {variable}={used}")


def server(subject: str, address: Address, dashboard: str | None = None) -> Finding:
    """Whether broker or result backend answer, and to which user. A broker that is full does not even take
    questions."""
    try:
        product = takes_messages(address.url, dashboard)
    except Fault as fault:
        remedy = HELD if isinstance(fault, NotAnswering) else fault.remedy  # its own remedy is to ask the doctor
        return Finding(subject, False, f"{address}\n{fault}", remedy)
    user = f", logged in as {address.user!r}" if address.user else ""
    where = f", virtual host {address.virtual_host!r}" if address.is_rabbitmq else ""
    return Finding(subject, True, f"{address}\n{product}{user}{where}")


def management_api(subject: str, broker: Address, dashboard: str) -> Finding:
    try:
        return Finding(subject, True, f"{dashboard}, RabbitMQ {management(dashboard, broker)['rabbitmq_version']}")
    except Fault as fault:
        raise ManagementAway(found=fault, user=broker.user) from None


def workers_online(subject: str, app: Celery) -> Finding:
    sizes = pools(app)
    if not sizes:
        return Finding(subject, False, "none is online", "`make lab`, or `celery -A my_ml_app worker`")
    return Finding(subject, True, ", ".join(f"{name} with {size} processes" for name, size in sizes.items()))


def flower_online(subject: str, url: str) -> Finding:
    if flower_answers(url):
        return Finding(subject, True, f"{url}: {metadata.version('flower')}")
    return Finding(subject, False, f"{url} does not answer", "`make lab`, or `celery -A my_ml_app flower`")


def ports(*addresses: Address) -> Iterator[Finding]:
    """Who holds the ports of this machine that the lab's addresses name."""
    wanted = [a.port for a in addresses if a.port and a.is_local] + [a.port + 10000 for a in addresses if a.is_rabbitmq]
    for port in sorted(port for port in set(wanted) if port < 65536):
        yield Finding(f"port {port}", None, port_holder(port) or "free")


def table(findings: Iterable[Finding]) -> bool:
    """Print Findings, and return whether nothing is wrong."""
    lines = Table(box=None, pad_edge=False, show_header=False)
    good = True
    for finding in findings:
        good = good and finding.good is not False
        said = "\n".join(printable(line, LONG) for line in finding.found.splitlines())
        remedy = f"\n→ {finding.remedy}" if finding.remedy else ""
        lines.add_row(MARKS[finding.good], finding.subject, Text(said + remedy))
    Console(highlight=False).print(lines)
    return good
