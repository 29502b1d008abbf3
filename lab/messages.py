"""What moves messages: sends them, takes them back, gives them back."""

import json
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import amqp
from celery import Celery, Task
from kombu import Connection

from lab.fault import Wrong
from lab.probe.address import Address
from lab.probe.connection import AWAY, ONCE
from lab.probe.dead import DeadMessage, dead


class OtherArguments(Wrong):
    """predict cannot be called with one payload: {error}."""

    next = "Give predict one argument, the payload, as in the lecture"


class NoSuchDead(Wrong):
    """No message in the queue dead is called {name}."""

    next = "See what they are called: `lab dead`"


class NoOrigin(Wrong):
    """Nobody says which queue {name} came from."""

    next = "If you do not need it, remove it: `lab dead --drop {name}`"


class NoQueue(Wrong):
    """The queue {queue}, where {name} came from, is not there any more."""

    next = "Start a worker that takes from it, and try again"


def send(task: Task, payload: object, **options: Any) -> None:
    """Send a message for a task, with one payload, as a student's program does; options are apply_async's.

    Raises OtherArguments, and what Celery raises when the broker does not take it.
    """
    try:
        task.apply_async((payload,), **options)
    except TypeError as error:
        raise OtherArguments(error=error) from None


def take_back(app: Celery, queue: str, tasks: set[str], seconds: float = 5) -> None:
    """Take the messages whose task ids are in tasks out of a queue, and their ids out of tasks.

    Ids that are left were not there, or were not found in these seconds: 100,000 messages may be before them. All other
    messages keep their places, whatever happens.
    """
    deadline = time.monotonic() + seconds
    with app.connection_for_write() as connection:
        look = _take_back_from_redis if Address(app.conf.broker_url).is_redis else _take_back
        look(connection, queue, tasks, deadline)


def _take_back(connection: Connection, queue: str, tasks: set[str], deadline: float) -> None:
    channel, seen = connection.default_channel, []

    def look(message: amqp.Message) -> None:
        seen.append(message.delivery_tag)
        if (task := (message.headers or {}).get("id")) in tasks:
            channel.basic_ack(message.delivery_tag)
            tasks.discard(task)

    with suppress(*connection.channel_errors):  # there is no such queue
        left = channel.queue_declare(queue, passive=True).message_count
        channel.basic_consume(queue, callback=look)  # eight times as fast as basic_get
        with suppress(TimeoutError):  # others take messages too
            while tasks and len(seen) < left and (most := deadline - time.monotonic()) > 0:
                connection.drain_events(timeout=min(most, 0.5))
        channel.close()  # the others go back to where they were


def _take_back_from_redis(connection: Connection, queue: str, tasks: set[str], deadline: float) -> None:
    redis_, at = connection.default_channel.client, 0
    while tasks and time.monotonic() < deadline and (page := redis_.lrange(queue, at, at + 999)):
        at += len(page)  # newest first: messages that others send meanwhile shift the pages, but hide no message
        for message in page:
            if (task := _task_of(message)) in tasks and redis_.lrem(queue, 1, message):
                tasks.discard(task)
                at -= 1


def _task_of(message: bytes) -> str | None:
    """The task id in a message as Kombu writes it into Redis; None when it is none."""
    try:
        task = json.loads(message)["headers"]["id"]
        return task if isinstance(task, str) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def give_back(app: Celery) -> None:
    """Put the messages that dead workers held back into the queue. Only for when no worker runs.

    RabbitMQ does so by itself. With Redis as broker, Kombu does it after visibility_timeout.
    """
    if Address(app.conf.broker_url).is_redis:
        at_once = ONCE | {"visibility_timeout": 0}
        with suppress(*AWAY), app.connection_for_write(transport_options=at_once) as connection:
            qos = connection.default_channel.qos
            # A worker that died while it looked for such messages may hold this lock for 5 minutes.
            connection.default_channel.client.delete(qos.unacked_mutex_key)
            qos.restore_visible(num=None, interval=1)


def send_dead(app: Celery, name: str) -> tuple[int, list[Wrong]]:
    """Send what is in the queue dead back to where it came from: the message of this name, or all. How many they were,
    and for each that stays a NoOrigin or NoQueue.

    Each is in its queue before it leaves this one: interrupted, it is in both. Raises NoSuchDead and Fault.
    """
    return _each_dead(app, name, _send_dead)


def drop_dead(app: Celery, name: str) -> int:
    """Remove the message of this name from the queue dead, or all. How many they were. Raises NoSuchDead and Fault."""
    return _each_dead(app, name, lambda connection, one: None)[0]


def _each_dead(app: Celery, name: str, first: Callable[[Connection, DeadMessage], None]) -> tuple[int, list[Wrong]]:
    stay: list[Wrong] = []
    with dead(app) as (connection, found):
        chosen = [one for one in found if name in (one.name, "all")]
        if not chosen and name != "all":
            raise NoSuchDead(name=name)
        for one in chosen:
            try:
                first(connection, one)
            except (NoOrigin, NoQueue) as why:
                stay.append(why)
                continue
            if isinstance(one.message, amqp.Message):
                one.message.channel.basic_ack(one.message.delivery_tag)
            else:
                connection.default_channel.client.lrem(one.place, -1, one.message)
    return len(chosen) - len(stay), stay


def _send_dead(connection: Connection, one: DeadMessage) -> None:
    if not one.queue:
        raise NoOrigin(name=one.name)
    ours = ("dead-", "x-death", "x-first-death", "x-last-death", "x-delivery-count", "lost-processes")
    headers = {name: value for name, value in one.headers.items() if not name.startswith(ours)}
    if isinstance(one.message, amqp.Message):
        one.message.properties["application_headers"] = headers
        # A channel of its own: after a message that comes back, its confirmation is still on its way.
        with connection.channel() as channel:
            try:
                channel.basic_publish_confirm(one.message, exchange="", routing_key=one.queue, mandatory=True)
            except amqp.ChannelError:
                raise NoQueue(queue=one.queue, name=one.name) from None
    else:
        message = json.loads(one.message)
        message["headers"] = headers
        message["properties"] |= {"delivery_tag": str(uuid.uuid4())}
        message["properties"]["delivery_info"] |= {"exchange": "", "routing_key": one.queue}
        connection.default_channel._put(one.queue, message)
