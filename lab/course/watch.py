"""Notice when a student has changed or started something."""

import math
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from lab.course.handout import own_files

LOOK = 0.5  # seconds between two looks at what could have changed
SERVERS = re.compile(r"celery|flower|rabbitmq|beam|valkey|redis|docker", re.IGNORECASE)


class Fingerprint(NamedTuple):
    files: dict[Path, tuple[int, int] | None]  # when changed, and how large; None where that does not matter
    servers: set[int]  # process ids
    ports: set[int]  # on which somebody listens


def wait_for_change(before: Fingerprint, heed_interrupt: Callable[[], None], seconds: float = math.inf) -> None:
    """Return when the fingerprint has changed, or after this many seconds."""
    begin = time.monotonic()
    while fingerprint() == before and time.monotonic() - begin < seconds:
        heed_interrupt()
        time.sleep(LOOK)


def fingerprint() -> Fingerprint:
    """What a check may depend on, and what is quick to see: the student's files and pictures, this user's servers, and
    ports.

    It is polled, because not every file system reports changes. A worker's pool may grow or shrink without a change.
    Logs that a worker or `nohup` writes into this folder do not count.
    """
    files: dict[Path, tuple[int, int] | None] = {path: None for path in Path(".lab/runs").glob("*.svg")}
    for path in {*own_files(), *Path().glob("*.py"), *Path().glob("use_ml_app.*")}:
        with suppress(OSError):
            files[path] = path.stat().st_mtime_ns, path.stat().st_size
    servers, mine, here = {}, psutil.Process().username(), os.getcwd()
    for process in psutil.process_iter(["name", "username", "ppid"]):
        name = process.info["name"] or ""
        with suppress(psutil.Error):
            if process.info["username"] == mine and (
                SERVERS.search(name) or ("ython" in name and process.cwd() == here)
            ):
                servers[process.pid] = process.info["ppid"]
    ports = set()
    with suppress(psutil.AccessDenied):  # macOS shows them to root only
        found = psutil.net_connections("tcp")
        ports = {one.laddr.port for one in found if one.laddr and one.status == psutil.CONN_LISTEN}
    return Fingerprint(files, {pid for pid, parent in servers.items() if parent not in servers}, ports)
