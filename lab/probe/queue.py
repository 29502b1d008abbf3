"""What is in a queue, asked of the broker itself."""

import json
from contextlib import suppress

import redis
from celery import Celery
from kombu import Message

from lab.fault import Fault
from lab.probe.address import Address
from lab.probe.connection import AWAY, ONCE

SHORT = 60  # characters of a message that are shown


def waiting(app: Celery, queue: str | None = None) -> int:
    """How many messages wait in a queue, by default the app's: none when it is not there. Raises Fault."""
    try:
        with app.connection_for_read(transport_options=ONCE) as connection:
            channel = connection.default_channel
            try:
                return channel.queue_declare(queue or app.conf.task_default_queue, passive=True).message_count
            except connection.channel_errors:
                return 0
    except AWAY as error:
        raise Fault(f"The broker does not answer: {error}") from None


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
    """What ends every worker that meets this message, as words; None when there is nothing.

    Other faults do no harm: a worker throws such a message away, and says so.
    """
    headers = message.headers or {}
    if "task" not in headers:
        return None
    if message.content_type in (None, "", "application/data"):
        return "no content type that says JSON"
    try:
        body = json.loads(message.body or "[]")
    except ValueError:
        return None
    if message.content_type == "application/json" and not (isinstance(body, list) and len(body) == 3):
        return "a body that is not a list of three: arguments, keyword arguments, options"
    for name in ("id", "task"):
        if not isinstance(headers.get(name), str):
            return f"a {name} that is not a text" if name in headers else f"no {name}"
    return None


def in_short(body: str | bytes | memoryview) -> str:
    """What a message says, as a text of one line that a terminal can show."""
    text = body if isinstance(body, str) else bytes(body).decode(errors="replace")
    return repr(text if len(text) <= SHORT else text[: SHORT - 1] + "…")
