"""What workers answer, and which of this machine's processes are workers."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from celery import Celery
from celery.utils.nodenames import nodesplit
from kombu import Connection, Producer
from kombu.pidbox import Mailbox
from kombu.utils import uuid

from lab.fault import counted
from lab.probe.connection import AWAY, ONCE


def ask_workers(
    app: Celery,
    command: str,
    names: list[str] | None = None,
    timeout: float = 1,
    connection: Connection | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """What workers answer to a command of `celery inspect` or `celery control`, by their names.

    Asked are those in names, or all that answer within timeout seconds.
    """
    return dict(each_answer(app, command, names, timeout, connection, **arguments))


def each_answer(
    app: Celery,
    command: str,
    names: list[str] | None = None,
    timeout: float = 1,
    connection: Connection | None = None,
    **arguments: Any,
) -> list[tuple[str, Any]]:
    """As ask_workers, but two workers may have one name.

    When the broker is away, frozen, or takes no messages, it takes a few seconds longer, no more: Celery's own way to
    ask tries forever, and needs two connections of a pool that may have only one. With a connection of the caller's,
    its errors are raised.
    """
    own = connection or app.connection_for_write(transport_options=ONCE)
    try:
        mailbox = _Mailbox(
            app.conf.control_exchange,
            "fanout",
            own,
            app.clock,
            app.conf.accept_content,
            app.conf.task_serializer,
        )
        answers = mailbox.call(names, command, arguments, timeout)
        return [item for answer in answers for item in answer.items()]
    except AWAY:
        if connection:
            raise
        return []
    finally:
        if not connection:
            own.collect()  # closing it properly would wait for an answer


class _Mailbox(Mailbox):
    """It asks once, on the connection on which the answers come."""

    oid = cached_property(lambda self: uuid())  # names the queue of answers; another question's queue may be locked

    @contextmanager
    def producer_or_acquire(self, producer: Producer | None = None, channel: Any = None) -> Iterator[Producer]:
        yield _Once(channel, auto_declare=False)


class _Once(Producer):
    def publish(self, *arguments: Any, **options: Any) -> Any:
        return super().publish(*arguments, **options | {"retry": False})


def workers(app: Celery, names: list[str] | None = None, timeout: float = 1) -> list[str]:
    """Names of the workers that answer within timeout seconds; only those in names, if given, and then at once."""
    return sorted(ask_workers(app, "ping", names, timeout))


def in_hand(app: Celery, worker: str) -> int | None:
    """How many messages a worker works on, or has taken from the queue; None when it says nothing for 5 seconds."""
    number = 0
    for command in ("active", "reserved"):
        answer = ask_workers(app, command, [worker], timeout=5).get(worker)
        if answer is None:
            return None
        number += len(answer)
    return number


def pools(app: Celery) -> dict[str, int]:
    """The workers that answer within a second, each with the number of its pool processes now."""
    stats = ask_workers(app, "stats")
    return {name: len(facts["pool"].get("processes", [1])) for name, facts in sorted(stats.items())}


@dataclass
class Worker:
    """A worker that answered: its name, `celery inspect stats`, the tasks that it knows, its queues, and when it
    started (seconds since 1970; it may be up to one second too late)."""

    name: str
    stats: dict[str, Any]
    tasks: list[str]
    queues: list[str]
    started: float

    @property
    def processes(self) -> list[int]:
        """Process ids of its pool."""
        return self.stats["pool"].get("processes", [])

    @property
    def size(self) -> int:
        """How many predictions it makes at once, by now."""
        return len(self.processes) or self.stats["pool"].get("max-concurrency", 0)

    @property
    def pool(self) -> str:
        """The size of its pool, in words."""
        if self.processes and self.processes == [self.stats.get("pid")]:
            return "without a pool"  # --pool=solo
        what = "pool process" if self.processes else "thread"
        return counted(self.size, what) if self.size else "no pool process yet"

    @property
    def autoscale(self) -> tuple[int, int] | None:
        """(most, least) pool processes, or None when it does not scale."""
        limits = self.stats.get("autoscaler")
        return limits and (limits["max"], limits["min"])

    @property
    def process(self) -> psutil.Process | None:
        """Its main process, when that runs on this machine and may be looked at; otherwise None."""
        if nodesplit(self.name)[1] != socket.gethostname():
            return None
        with suppress(psutil.Error):
            process = psutil.Process(self.stats["pid"])
            if "worker" in process.cmdline() or "celery" in process.name():
                return process
        return None

    @property
    def folder(self) -> Path | None:
        """Where its main process runs, when that can be seen; otherwise None."""
        with suppress(psutil.Error):
            return Path(self.process.cwd()) if self.process else None
        return None


def is_main(process: psutil.Process, processes: dict[int, psutil.Process]) -> bool:
    """Whether a process is a worker, and not one of a worker's pool."""
    command = process.info["cmdline"] or [""]
    names = [os.path.basename(part) for part in command]
    parent = processes.get(process.info["ppid"])
    is_worker = "python" in names[0].lower() and "celery" in names and "worker" in command
    return is_worker and not (parent and parent.info["cmdline"] == command)


def told_broker(process: psutil.Process) -> str | None:
    """The broker that a process got from its command, or else from its terminal; None if from neither. Raises
    psutil.Error."""
    for option, value in pairwise([*process.cmdline(), ""]):
        if option in ("-b", "--broker"):
            return value
        if option.startswith("--broker="):
            return option.removeprefix("--broker=")
    return process.environ().get("CELERY_BROKER_URL")
