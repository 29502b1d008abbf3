"""What is in a queue, as the broker itself says."""

import json
from contextlib import suppress
from typing import Any, NamedTuple

import redis
from celery import Celery
from kombu import Connection, Message

from lab.fault import Fault
from lab.probe.address import Address
from lab.probe.connection import AWAY, ONCE
from lab.probe.protocol import ENDS, findings
from lab.probe.rabbitmq import totals

SHORT = 60  # characters of a message that are shown


class Totals(NamedTuple):
    """Messages of a queue: ready, those that wait there; unacked, those that were delivered and not acknowledged, None
    where nobody knows."""

    ready: int
    unacked: int | None


def waiting(app: Celery, queue: str | None = None) -> int:
    """How many messages wait in a queue, by default the app's: none when it is not there. Raises Fault."""
    try:
        with app.connection_for_read(transport_options=ONCE) as connection:
            return _ready(connection, queue or app.conf.task_default_queue)
    except AWAY as error:
        raise Fault(f"The broker does not answer: {error}") from None


def _ready(connection: Connection, queue: str) -> int:
    channel = connection.channel()
    try:
        return channel.queue_declare(queue, passive=True).message_count
    except connection.channel_errors:  # there is no such queue
        return 0
    finally:
        channel.close()


def ready_and_unacked(
    connection: Connection, broker: Address, queues: list[str], dashboard: str | None
) -> tuple[dict[str, int], int | None]:
    """How many messages wait in each of these queues of a broker, and how many workers hold: of one moment.

    The second number is of these queues together with RabbitMQ, whose dashboard knows it, and of all there are with
    Redis; None where nobody knows it. Raises what is wrong with the connection.
    """
    if broker.is_rabbitmq:
        with suppress(Fault):
            known = totals(dashboard, broker)
            found = {queue: known.get(queue, (0, 0)) for queue in queues}
            return {queue: ready for queue, (ready, _) in found.items()}, sum(unacked for _, unacked in found.values())
    if broker.is_redis:
        return _in_redis(connection.default_channel, queues)
    return {queue: _ready(connection, queue) for queue in queues}, None


def _in_redis(channel: Any, queues: list[str]) -> tuple[dict[str, int], int]:
    lists = [(queue, channel._q_for_pri(queue, step)) for queue in queues for step in channel.priority_steps]
    pipe = channel.client.pipeline()  # all at once
    for _, name in lists:
        pipe.llen(name)
    *lengths, unacked = pipe.hlen(channel.unacked_key).execute(raise_on_error=False)
    ready = dict.fromkeys(queues, 0)
    for (queue, _), length in zip(lists, lengths, strict=True):
        ready[queue] += length if isinstance(length, int) else 0  # what has this name is no list
    return ready, unacked


def consumers(app: Celery, queue: str) -> int | None:
    """How many consumers a queue has; None where the broker does not know, or the queue is not there."""
    if not Address(app.conf.broker_url).is_rabbitmq:
        return None
    with app.connection_for_read() as connection, suppress(connection.channel_errors):
        return connection.default_channel.queue_declare(queue, passive=True).consumer_count
    return None


def first_message(app: Celery, queue: str) -> Message | None:
    """The message that a queue gives away next, which stays there; None when there is none."""
    broker = Address(app.conf.broker_url)
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        if broker.is_redis:
            with suppress(ValueError, TypeError, redis.ResponseError):  # nothing there, or nothing of Celery's
                return channel.message_to_python(json.loads(channel.client.lindex(queue, -1)))
        elif broker.is_rabbitmq:
            with suppress(connection.channel_errors):
                if message := channel.basic_get(queue):
                    channel.basic_reject(message.delivery_tag, requeue=True)
                    return channel.message_to_python(message)
    return None


def flaw(message: Message) -> str | None:
    """What in this message ends every worker that takes it, unless guard.py is there, in a sentence; None if nothing
    does."""
    kinds = {"content_type": message.content_type, "content_encoding": message.content_encoding}
    headers = {name: value for name, value in message.headers.items() if name != "compression"}  # Kombu has unpacked it
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body or b"")
    found = findings(message.properties | kinds, headers, body)
    first = next((one for one in found if one.fate), None)
    return first.sentence if first and first.fate == ENDS else None


def in_short(body: str | bytes | memoryview) -> str:
    """What a message says, as a text of one line that a terminal can show."""
    text = body if isinstance(body, str) else bytes(body).decode(errors="replace")
    return repr(text if len(text) <= SHORT else text[: SHORT - 1] + "…")
