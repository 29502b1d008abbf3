"""The life of one message: copies of it, Celery's events, and its result, put together."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self
from urllib.parse import quote

import redis
from celery import Celery

from lab.fault import Fault
from lab.live.copies import Source
from lab.live.firehose import Firehose
from lab.live.history import Attempt, Fact
from lab.live.life import Life, about, is_dead, kept
from lab.live.monitor import Monitor, envelope, held, taken
from lab.live.recording import Recording
from lab.probe.address import Address
from lab.probe.connection import ANSWER, AWAY, ONCE
from lab.probe.dead import DEAD
from lab.probe.rabbitmq import management
from lab.probe.wait import wait_until
from lab.probe.web import ODD
from lab.probe.workers import ask_workers

MESSAGES = 1000  # whose facts are kept
READY = 5  # seconds until workers send events; one, where the broker answers
CONFIRMS = 6  # seconds after which RabbitMQ's dashboard knows what a channel has asked for; it collects every 5


class XRay(Recording):
    """A Recording that also has copies of messages; its file ends in .xray, which no picture is drawn of.

    lives has each message's Life. problems are sentences about what cannot be seen. Raises Fault when no copies can be
    made.
    """

    def __init__(self, app: Celery, queue: str, dashboard: Callable[[], str | None], folder: Path):
        super().__init__(app, dashboard, folder)
        self.path = self.path.with_suffix(".xray")
        self.lives: dict[str, Life] = {}
        self.problems: list[str] = []
        self._told: SimpleQueue[Fact] = SimpleQueue()
        self._source: Source
        self._optional: Source | None = None
        self._stack = ExitStack()
        self._broker, self._dashboard = Address(app.conf.broker_url), dashboard
        broker, backend = self._broker, app.conf.result_backend
        results = Address(backend) if str(backend).startswith("redis://") else None
        if broker.is_rabbitmq:
            self._source = Firehose(app, dashboard(), queue, self._told.put)
        elif broker.is_redis:
            same = results and (results.host, results.port) == (broker.host, broker.port)
            self._source = Monitor(app, broker, results if same else None, queue, self._told.put)
            results = None if same else results
        else:
            raise Fault(f"Nobody gives copies of the messages at {broker}", "Use RabbitMQ or Redis as the broker")
        if results:
            self._optional = Monitor(app, None, results, queue, self._told.put)
        self.knows_results = bool(results) or isinstance(self._source, Monitor) and bool(backend)
        if not backend:
            self.problems.append("There is no result backend: nobody stores or reads a result.")
        elif not self.knows_results:
            self.problems.append("Only in Redis can be seen when a result is stored and read.")

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._stack.enter_context(self._source)
            if self._optional:
                try:
                    self._stack.enter_context(self._optional)
                except Fault as fault:
                    self.knows_results = False
                    self.problems.append(f"Its result cannot be seen. {fault.sentences()}")
            wait_until(self._follows, READY)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _follows(self) -> bool:
        """Whether the workers have been told to send events: the broker is counted next."""
        self.take()
        return self.history.moment is not None

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        super().__exit__()

    @property
    def happened(self) -> bool:
        return bool(self.lives)

    @property
    def fault(self) -> str | None:
        """Why no copies come now, in sentences."""
        return self._source.fault.sentences() if self._source.fault else None

    def take(self) -> list[Attempt]:
        ended = super().take()
        with suppress(Empty):
            while True:
                self.keep(self._told.get_nowait())
        self._file.flush()
        return ended

    def note(self, fact: Fact) -> None:
        super().note(fact)
        for one in about(fact):
            self._add(*one)

    def keep(self, fact: Fact) -> None:
        """Keep a fact about a message, and write it down."""
        self._file.write(json.dumps(fact, default=str) + "\n")
        self._add(fact["id"], fact)
        for queue in fact.get("queues", ()):
            self._follower.count_too(queue)

    def _add(self, task: str, fact: Fact) -> None:
        self.lives.setdefault(task, Life(task)).facts.append(fact)
        if len(self.lives) > MESSAGES:
            del self.lives[next(iter(self.lives))]

    def look_at_sender(self, life: Life) -> None:
        """Note whether RabbitMQ confirms to the sender's channel, as soon as that is known."""
        copy = life.copy
        if not (self._broker.is_rabbitmq and copy and copy.get("channel")) or life.has("confirmed"):
            return
        age, name = time.time() - copy["time"], f"{copy['by']} ({copy['channel']})"
        confirmed = None
        try:
            confirmed = management(self._dashboard(), self._broker, f"/channels/{quote(name, safe='')}")["confirm"]
        except (Fault, *ODD):
            age *= CONFIRMS  # its connection has ended, and nobody can know any more
        if confirmed or age > CONFIRMS:
            self.keep({"time": time.time(), "fact": "confirmed", "id": life.id, "is": confirmed})

    def newest(self) -> Life | None:
        """The first message that was sent since this began."""
        return next((life for life in self.lives.values() if life.copy and not is_dead(life.copy)), None)


def known(app: Celery, queue: str, folder: Path, task: str) -> list[Fact]:
    """What is known about a message: what an earlier x-ray has kept, and what can be asked now."""
    found = kept(folder, task)
    kinds = {fact["fact"] for fact in found}
    return found + [fact for fact in now(app, queue, task) if fact["fact"] not in kinds]


def now(app: Celery, queue: str, task: str) -> Iterator[Fact]:
    """What Redis and the workers know about a message at this moment."""
    broker = Address(app.conf.broker_url)
    if broker.is_redis:
        with suppress(*AWAY), app.connection_for_read(transport_options=ONCE) as connection:
            yield from _in_redis(connection.default_channel, queue, task)
    for worker, answer in ask_workers(app, "query_task", ids=[task]).items():
        with suppress(*ODD):
            state, request = answer[task]
            yield {"time": time.time(), "fact": "received", "id": task, "worker": worker}
            if state == "active":
                told = {"id": task, "worker": worker, "process": request["worker_pid"]}
                yield {"time": float(request["time_start"]), "fact": "runs", **told}
    if str(app.conf.result_backend).startswith("redis://"):
        client = redis.Redis.from_url(app.conf.result_backend, socket_timeout=ANSWER, socket_connect_timeout=ANSWER)
        with suppress(*AWAY, *ODD), client:
            said = json.loads(client.get(app.backend.get_key_for_task(task)) or "{}")
            when = datetime.fromisoformat(said["date_done"]).timestamp() if said.get("date_done") else time.time()
            yield {"time": when, "fact": "stored", "id": task, "status": str(said["status"])}


def _in_redis(channel: Any, queue: str, task: str) -> Iterator[Fact]:
    """The message that waits in a queue on Redis, or that a worker holds."""
    for name in (queue, DEAD):
        for step in channel.priority_steps:
            items = channel.client.lrange(channel._q_for_pri(name, step), 0, -1)
            for before, item in enumerate(reversed(items)):
                if (fact := envelope(item, name))["id"] == task:
                    yield fact | {"before": before}
    for value in channel.client.hvals(channel.unacked_key):
        with suppress(*ODD):
            if (fact := envelope(held(value), queue))["id"] == task:
                yield from (fact, taken(value))
