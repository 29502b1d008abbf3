"""Copies from Redis, which repeats every command that it gets to MONITOR: messages, and results."""

import json
import re
import time
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
from celery import Celery

from lab.fault import Wrong, printable
from lab.live.copies import LOOK, Source, message
from lab.live.history import Fact
from lab.probe.address import Address
from lab.probe.connection import ANSWER
from lab.probe.dead import DEAD
from lab.probe.protocol import ENDS
from lab.probe.web import ODD

IDS = 10_000  # messages that are remembered
LINE = re.compile(rb'\d+\.\d+ \[(\d+) (\S+)\] "(\w+)"(.*)', re.DOTALL)
ARGUMENT = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
NO_ENVELOPE = "It is not what Kombu writes into Redis: a dictionary with properties, headers and body, as JSON."
SEPARATOR = "\x06\x16"  # Kombu's, between a queue's name and a priority


class NoMonitor(Wrong):
    """Redis at {where} does not tell which commands it gets: {found}."""

    next = "Its user must be allowed MONITOR: `ACL SETUSER {user} +monitor`"


class Monitor(Source):
    """The messages of a broker on Redis, and who took and acknowledged them; results on Redis, and who stored and read
    them. Either address may be None: it is on another server."""

    def __init__(
        self, app: Celery, broker: Address | None, results: Address | None, queue: str, note: Callable[[Fact], None]
    ):
        super().__init__(note)
        self._address = broker or results
        self._queue = queue
        self._broker, self._results = (one and (one.virtual_host.strip("/") or "0") for one in (broker, results))
        self._meta = app.backend.get_key_for_task("x").decode()[:-1] if results else ""
        self._tags: dict[str, str] = {}  # delivery tag: id
        self._stored: dict[str, str] = {}  # id: by whom
        self._waits: dict[str, set[str]] = {}  # id: who waits for its result
        self._leaving: dict[str, str] = {}  # who: the id of a message that it acknowledges, or gives back

    def listen(self) -> None:
        assert self._address
        pool = redis.ConnectionPool.from_url(self._address.url, socket_timeout=ANSWER, protocol=2)
        connection = pool.make_connection()
        try:
            connection.connect()
            connection.send_command("MONITOR")
            connection.read_response()
            while self._goes_on():
                if connection.can_read(LOOK):
                    self._see(connection.read_response(disable_decoding=True))
        except redis.ResponseError as error:
            where = f"{self._address.host}:{self._address.port}"
            raise NoMonitor(where=where, found=printable(error), user=self._address.user or "default") from None
        finally:
            connection.disconnect()

    def _see(self, line: bytes) -> None:
        if not (found := LINE.fullmatch(line)):
            return
        database, who, command = found[1].decode(), found[2].decode(errors="replace"), found[3].decode().upper()
        act = getattr(self, f"_on_{command.lower()}", None)
        if act:
            with suppress(*ODD):  # it is of another kind
                act(database, who, *(unescaped(one) for one in ARGUMENT.findall(found[4])))

    def _on_lpush(self, database: str, who: str, key: bytes, *items: bytes) -> None:
        queue = key.decode(errors="replace").split(SEPARATOR)[0]
        if database != self._broker or queue.endswith(".pidbox"):
            return
        for item in items:
            fact = envelope(item, queue, by=who)
            if "task" in fact["headers"] or queue in (self._queue, DEAD):
                given_back = self._leaving.get(who) == fact["id"]
                if given_back:
                    del self._leaving[who]
                self._note(fact | {"given_back": given_back})

    _on_rpush = _on_lpush

    def _on_hset(self, database: str, who: str, key: bytes, *pairs: bytes) -> None:
        if database == self._broker and key == b"unacked":
            for tag, value in zip(pairs[::2], pairs[1::2], strict=True):
                fact = taken(value, by=who)
                remember(self._tags, tag.decode(), fact["id"])
                self._note(fact)

    def _on_hdel(self, database: str, who: str, key: bytes, *tags: bytes) -> None:
        if database == self._broker and key == b"unacked":
            for tag in tags:
                if task := self._tags.pop(tag.decode(), None):
                    self._leaving[who] = task

    def _on_exec(self, database: str, who: str) -> None:
        if task := self._leaving.pop(who, None):
            self._note({"time": time.time(), "fact": "acknowledged", "id": task, "by": who})

    def _task(self, database: str, key: bytes) -> str:
        """The id of the task whose result has this key; nothing for other keys."""
        text = key.decode(errors="replace")
        return text.removeprefix(self._meta) if database == self._results and text.startswith(self._meta) else ""

    def _on_set(self, database: str, who: str, key: bytes, value: bytes, *_: bytes) -> None:
        if task := self._task(database, key):
            remember(self._stored, task, who)
            status = printable(json.loads(value)["status"])
            self._note({"time": time.time(), "fact": "stored", "id": task, "status": status, "by": who})

    def _on_setex(self, database: str, who: str, key: bytes, _: bytes, value: bytes) -> None:
        self._on_set(database, who, key, value)

    def _on_publish(self, database: str, who: str, key: bytes, _: bytes) -> None:
        for reader in sorted(self._waits.get(self._task(database, key), ())):
            self._read(self._task(database, key), reader, told=True)

    def _on_get(self, database: str, who: str, *keys: bytes) -> None:
        for task in filter(None, (self._task(database, key) for key in keys)):
            if task in self._stored and self._stored[task] != who:
                self._read(task, who, told=False)

    _on_mget = _on_get

    def _on_subscribe(self, database: str, who: str, *keys: bytes) -> None:
        for task in filter(None, (self._task(database, key) for key in keys)):
            remember(self._waits, task, self._waits.get(task, set()) | {who})

    def _on_unsubscribe(self, database: str, who: str, *keys: bytes) -> None:
        for task in filter(None, (self._task(database, key) for key in keys)):
            self._waits.get(task, set()).discard(who)

    def _read(self, task: str, who: str, told: bool) -> None:
        """told: who had subscribed to it, and was told; otherwise who asked."""
        self._note({"time": time.time(), "fact": "read", "id": task, "by": who, "told": told})


def unescaped(text: bytes) -> bytes:
    """What Redis wrote in letters of ASCII, with the escapes of C, as it was."""
    return text.decode("unicode_escape").encode("latin-1")


def held(value: bytes) -> bytes:
    """The message that a worker holds, of what Kombu keeps about it in the hash unacked."""
    return json.dumps(json.loads(value)[0]).encode()


def taken(value: bytes, **by: str) -> Fact:
    """The fact that a worker took the message that it holds."""
    fact = envelope(held(value), "")
    again = bool(fact["headers"].get("redelivered"))
    return {"time": fact["time"], "fact": "taken", "id": fact["id"], "redelivered": again, **by}


def remember(those: dict[str, Any], name: str, what: Any) -> None:
    those[name] = what
    if len(those) > IDS:
        del those[next(iter(those))]


def envelope(item: bytes, queue: str, **where: Any) -> Fact:
    """The fact that a message was sent to a queue on Redis, as Kombu writes it there; anything else is all body."""
    try:
        said = json.loads(item)
        properties, headers, body = dict(said["properties"]), dict(said.get("headers") or {}), said["body"] or ""
        kinds = {name: said.get(name.replace("_", "-")) for name in ("content_type", "content_encoding")}
        properties |= {name: kind for name, kind in kinds.items() if kind is not None}
        body = b64decode(body) if properties.pop("body_encoding", None) == "base64" else str(body).encode()
        route = properties.pop("delivery_info", None) or {}
        where |= {"exchange": route.get("exchange"), "keys": [route.get("routing_key")]}
        return message(properties, headers, body, queues=[queue], **where)
    except ODD:
        found = message({}, {}, item, keys=[queue], queues=[queue], **where)
        return found | {"findings": [["envelope", NO_ENVELOPE, ENDS]]}
