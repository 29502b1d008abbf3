"""What is in the queue dead, where guard.py or a dead-letter exchange puts messages that no worker shall take again."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import amqp
from celery import Celery
from kombu import Connection

from lab.fault import Fault
from lab.probe.address import Address
from lab.probe.connection import ANSWER, AWAY, ONCE
from lab.probe.login import ask

DEAD = "dead"
UNKNOWN = "Nobody says why."


@dataclass
class DeadMessage:
    """A message in the queue dead. message is what the broker gave: RabbitMQ an amqp.Message, Redis a text.

    name is its task's id; without one, eight digits, always the same for this message. since is in seconds since 1970,
    queue is where it came from: None where nobody says so.
    """

    message: Any
    headers: dict[str, Any]
    body: str | bytes
    place: str = ""  # one of Redis's lists

    @property
    def name(self) -> str:
        task = self.headers.get("id")
        if isinstance(task, str) and task:
            return task
        return hashlib.sha256(repr((self.headers, self.body)).encode(errors="replace")).hexdigest()[:8]

    @property
    def reason(self) -> str:
        if isinstance(said := self.headers.get("dead-reason"), str):
            return said
        return f"RabbitMQ says: {self._death['reason']}." if "reason" in self._death else UNKNOWN

    @property
    def queue(self) -> str | None:
        found = self.headers.get("dead-queue") or self._death.get("queue")
        return found if isinstance(found, str) else None

    @property
    def since(self) -> float | None:
        found = self.headers.get("dead-time", self._death.get("time"))
        if isinstance(found, datetime):
            found = found.replace(tzinfo=UTC).timestamp()
        return found if isinstance(found, int | float) else None

    @property
    def _death(self) -> dict[str, Any]:
        """What RabbitMQ notes when it moves a message to a dead-letter exchange itself."""
        deaths = self.headers.get("x-death")
        return deaths[-1] if isinstance(deaths, list) and deaths and isinstance(deaths[-1], dict) else {}


@contextmanager
def dead(app: Celery) -> Iterator[tuple[Connection, list[DeadMessage]]]:
    """What is in the queue dead, the oldest first, and the connection that holds it until the end.

    What is not acknowledged then, or whatever happens, stays where it was. Raises Fault.
    """
    ask(app.conf.broker_url)
    connection = app.connection_for_write(transport_options=ONCE)
    try:
        if Address(app.conf.broker_url).is_redis:
            yield connection, list(_in_redis(connection))
        else:
            with _in_rabbitmq(connection) as found:
                yield connection, found
    except AWAY as error:
        raise Fault(f"The broker does not answer: {str(error).rstrip('.')}") from None
    finally:
        connection.collect()  # closing it properly waits for an answer, which may never come after Ctrl-C


@contextmanager
def _in_rabbitmq(connection: Connection) -> Iterator[list[DeadMessage]]:
    channel, found = connection.channel(), []

    def take(message: amqp.Message) -> None:
        found.append(DeadMessage(message, message.properties.get("application_headers") or {}, message.body))

    try:
        number = channel.queue_declare(DEAD, passive=True).message_count
    except connection.channel_errors:  # there is no such queue
        yield []
        return
    channel.basic_consume(DEAD, callback=take)
    while len(found) < number:
        connection.drain_events(timeout=ANSWER)
    yield found
    channel.close()  # the others go back to where they were


def _in_redis(connection: Connection) -> Iterator[DeadMessage]:
    channel = connection.default_channel
    for key in [channel._q_for_pri(DEAD, step) for step in channel.priority_steps]:
        for item in reversed(channel.client.lrange(key, 0, -1)):
            with suppress(ValueError, KeyError, TypeError, AttributeError):  # nothing of Celery's
                message = json.loads(item)
                body = channel.decode_body(message["body"] or "", message["properties"].get("body_encoding"))
                yield DeadMessage(item, dict(message["headers"]), body, key)
