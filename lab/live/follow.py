"""What happens to predictions, told as it happens: Celery's events, the broker's counts, and the workers' answers."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Self

import psutil
from celery import Celery
from celery.utils.nodenames import nodesplit
from kombu import Connection

from lab.fault import Fault
from lab.live.events import HEARING, LOOK, Event, hearing, switch_events_on
from lab.live.history import ACTIVE, FIELDS, PROCESSES, Fact, has, is_fact, is_name
from lab.probe.address import Address
from lab.probe.connection import ANSWER, AWAY, ONCE
from lab.probe.queue import ready_and_unacked
from lab.probe.rabbitmq import takes_messages
from lab.probe.workers import ask_workers

EVERY = 0.5  # seconds between two rounds of questions to workers
COUNT = 0.25  # seconds between two questions to the broker
ROLL_CALL = 5  # seconds between two calls to all workers to send events; Flower's come as often
SILENT = 3  # seconds in which a worker of Celery that has just started answers
GONE = 15  # seconds without a sign of a worker elsewhere; its heartbeat comes every 2
QUEUES = 50  # that are counted: a program that may send events could name any number of queues
MALFORMED = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError)  # what reading something odd raises
KINDS = {kind for kind, fields in FIELDS.items() if "id" in fields}  # of a task's events
WHY = 200  # characters of an error that are kept


class Follower:
    """Tells what happens until it is closed, as facts: {"time": seconds since 1970, "fact": kind, …}.

    dashboard() is the base URL of RabbitMQ's dashboard; None where the broker is another. The kinds of facts:

    sent, received, started, succeeded, failed, retried, rejected, revoked: Celery's event of a task (id; worker, unless
    sent; why, when it failed or is tried again; requeue, when rejected; runtime in seconds, when it succeeded).
    active: what a worker runs (worker; tasks, each with id, process or None, and when it started).
    pool: the processes of a worker's pool, when they have changed; None for each thread. A worker that sends events but
    answers no questions, such as one that is not Celery's, has none.
    gone: a worker was not heard after this time (worker; lost, unless it had said that it ends).
    takes: the queues from which a worker takes. suspended: whether a worker is, when that has changed (worker; is).
    asked: the broker's counts come next, and belong to this moment.
    counts: the broker's: ready, {queue: messages that wait}; unacked, how many workers hold, or None if unknown.
    broker: whether it answers; why, if not. unread: how many events, or answers, could not be read so far (number).
    """

    def __init__(self, app: Celery, dashboard: Callable[[], str | None]):
        self._app, self._dashboard = app, dashboard
        self._told: SimpleQueue[Fact] = SimpleQueue()
        self._queues: set[str] = {app.conf.task_default_queue}
        self._signs: dict[str, float] = {}  # worker: when it was last heard
        self._silent: dict[str, float] = {}  # worker that has answered no question yet: when it was first asked
        self._pools: dict[str, list[int | None]] = {}  # worker: its processes
        self._mains: dict[str, int] = {}  # worker: its main process, if it runs on this machine
        self._suspended: set[str] = set()  # workers that are
        self._leaving: set[str] = set()  # workers that have said that they end, but may still finish what they run
        self._unread = self._unread_told = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join(2 * ANSWER)

    def facts(self) -> Iterator[Fact]:
        """All that was told since the last time."""
        with suppress(Empty):
            while True:
                yield self._told.get_nowait()

    def count_too(self, queue: object) -> None:
        """Count the messages of this queue too, from now on."""
        if is_name(queue) and len(self._queues) < QUEUES:
            self._queues.add(queue)

    def _tell(self, kind: str, at: float | None = None, **details: Any) -> None:
        fact = {"time": round(at or time.time(), 4), "fact": kind, **details}
        if is_fact(fact):
            self._told.put(fact)
        else:
            self._could_not_read()

    def _could_not_read(self) -> None:
        self._unread += 1

    def _follow(self) -> None:
        why = None
        while not self._closed.is_set():
            try:
                self._takes_messages()
                with hearing(self._app, self._note, self._could_not_read) as heard:
                    why = None
                    self._tell("broker", answers=True)
                    self._call_roll(None)
                    self._repeat_all(heard)
            except (*AWAY, Fault) as error:
                if why is None:
                    why = error.sentences() if isinstance(error, Fault) else f"The broker does not answer: {error}."
                    self._tell("broker", answers=False, why=why)
                self._closed.wait(EVERY)

    def _repeat_all(self, heard: threading.Thread) -> None:
        """Ask each question again and again, in a thread of its own, until this is closed or the broker is gone."""
        failed = threading.Event()
        jobs = (self._count, COUNT), (self._ask, EVERY), (self._call_roll, ROLL_CALL)
        threads = [threading.Thread(target=self._repeat, args=(failed, *job), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        while all(thread.is_alive() for thread in (heard, *threads)) and not self._closed.wait(LOOK):
            pass
        failed.set()
        for thread in threads:
            thread.join(ANSWER)

    def _repeat(self, failed: threading.Event, job: Callable[[Connection], None], every: float) -> None:
        with suppress(*AWAY, Fault), self._app.connection_for_read(transport_options=ONCE) as connection:
            connection.connect()
            while not failed.is_set():
                try:
                    job(connection)
                except MALFORMED:  # not a real answer: any program that may send messages can answer
                    self._could_not_read()
                failed.wait(every)

    def _note(self, event: Event) -> None:
        group, _, kind = event["type"].partition("-")
        worker = event["hostname"]
        if group == "worker":
            self._signs[worker] = time.time()
            if kind in ("offline", "online"):
                (self._leaving.add if kind == "offline" else self._leaving.discard)(worker)
        elif group == "task" and kind in KINDS:
            details = {"id": event.get("uuid")}
            if kind == "sent":
                self.count_too(event.get("queue"))
            else:
                self._signs[worker] = time.time()
                details["worker"] = worker
            if kind in ("failed", "retried"):
                details["why"] = str(event.get("exception"))[:WHY]
            if kind == "succeeded":
                details["runtime"] = event.get("runtime")
            if kind == "rejected":
                details["requeue"] = event.get("requeue")
            self._tell(kind, event["timestamp"], **details)

    def _call_roll(self, connection: Connection | None) -> None:
        """Find all workers, even those without heartbeats, and make them send events. Raises Fault."""
        if not (found := self._switch_events_on(None, connection)):
            self._takes_messages()  # or no worker can be asked
        self._see_queues(connection, found)

    def _takes_messages(self) -> None:
        takes_messages(self._app.conf.broker_url, self._dashboard())

    def _switch_events_on(self, workers: list[str] | None, connection: Connection | None) -> list[str]:
        found, _ = switch_events_on(self._app, workers, connection)
        self._signs |= dict.fromkeys(found, time.time())
        return found

    def _ask(self, connection: Connection) -> None:
        for worker in [worker for worker in self._leaving & self._signs.keys() if self._is_gone(worker)]:
            self._gone(worker)
        known = sorted(self._signs.keys() - self._leaving)
        if new := [worker for worker in known if worker not in self._pools]:
            self._switch_events_on(new, connection)
            self._see_queues(connection, new)
        if known:
            pools, active = (self._answers(connection, what, known) for what in ("stats", "active"))
            for worker in known:
                self._see(worker, pools.get(worker), active.get(worker))

    def _see_queues(self, connection: Connection | None, workers: list[str]) -> None:
        for worker, queues in (self._answers(connection, "active_queues", workers) if workers else {}).items():
            names = [queue["name"] for queue in queues]
            self._tell("takes", worker=worker, queues=names)
            for name in names:
                self.count_too(name)

    def _answers(self, connection: Connection | None, command: str, workers: list[str]) -> dict[str, Any]:
        return ask_workers(self._app, command, workers, HEARING, connection)

    def _see(self, worker: str, stats: Any, active: Any) -> None:
        if stats:
            self._signs[worker] = time.time()
            self._silent.pop(worker, None)
            if nodesplit(worker)[1] == socket.gethostname():
                self._mains[worker] = stats["pid"]
            pool = stats["pool"]
            processes = sorted(pool.get("processes") or []) or [None] * min(pool["max-concurrency"], PROCESSES)
            if self._pools.get(worker) != processes:
                self._pools[worker] = processes
                self._tell("pool", worker=worker, processes=processes)
        elif self._is_gone(worker):
            self._gone(worker)
        elif worker not in self._pools and time.time() - self._silent.setdefault(worker, time.time()) > SILENT:
            self._pools[worker] = []
            self._tell("pool", worker=worker, processes=[])
        is_suspended = not stats and self._status(worker) == psutil.STATUS_STOPPED
        if is_suspended != (worker in self._suspended):
            (self._suspended.add if is_suspended else self._suspended.discard)(worker)
            self._tell("suspended", worker=worker, **{"is": is_suspended})
        if active is not None:
            tasks = [self._running(task) for task in active if task["time_start"]]
            self._tell("active", worker=worker, tasks=[task for task in tasks if has(task, **ACTIVE)])

    def _running(self, task: dict[str, Any]) -> dict[str, Any]:
        process = task["worker_pid"]
        if process not in self._pools.get(task["hostname"], []):
            process = None  # a thread has no process of its own
        return {"id": task["id"], "process": process, "started": round(task["time_start"], 4)}

    def _is_gone(self, worker: str) -> bool:
        """Whether a worker is gone. On this machine, its process shows it; elsewhere, only silence does, or its own
        word where it answers no questions."""
        if worker in self._silent and worker in self._leaving:
            return True
        if worker in self._mains:
            return self._status(worker) in (None, psutil.STATUS_ZOMBIE)
        return time.time() - self._signs[worker] > GONE

    def _status(self, worker: str) -> str | None:
        """That of its main process, None when there is none, or none on this machine."""
        with suppress(psutil.NoSuchProcess, KeyError):
            return psutil.Process(self._mains[worker]).status()
        return None

    def _gone(self, worker: str) -> None:
        sign = self._signs.pop(worker)
        self._mains.pop(worker, None)
        self._silent.pop(worker, None)
        if self._pools.pop(worker, None) is not None:
            self._tell("gone", sign, worker=worker, lost=worker not in self._leaving)
        self._leaving.discard(worker)

    def _count(self, connection: Connection) -> None:
        if self._unread > self._unread_told:
            self._unread_told = self._unread
            self._tell("unread", number=self._unread)
        self._tell("asked")
        broker = Address(self._app.conf.broker_url)
        ready, unacked = ready_and_unacked(connection, broker, sorted(self._queues), self._dashboard())
        self._tell("counts", ready=ready, unacked=unacked)
