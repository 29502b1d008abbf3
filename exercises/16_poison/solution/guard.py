"""A Celery worker that no message ends. Copy this file beside celeryconfig.py, and write there:

    imports = ["guard"]
    worker_consumer = "guard:Consumer"
    task_acks_late = True
    task_reject_on_worker_lost = True
    worker_lost_wait = 1

A message that cannot be a task ends a worker of Celery 5.7, goes back to its queue, and ends the next worker. Here it
goes to the queue `dead`: first a copy, which the broker confirms, then the acknowledgement. So none is lost; a crash in
between leaves it in both. Headers say why (`dead-reason`), from which queue (`dead-queue`) and when (`dead-time`). What
ends its process begins anew, behind the others; after 3 times it is dead too, and its result is FAILURE. The message
carries the count, because a classic queue and Redis have none.

What ends the whole worker, not a process, only a quorum queue counts: see `x-delivery-limit` (RabbitMQ 4: 20; 3.10: no
limit unless you set one). From a classic queue it comes back for ever, from Redis after each `visibility_timeout`.
"""

import base64
import bz2
import gc
import lzma
import time
import uuid
import zlib
from contextlib import suppress
from functools import partial

from amqp.serialization import PROPERTY_CLASSES
from celery.exceptions import InvalidTaskError, Reject
from celery.utils.log import get_logger
from celery.worker import consumer, request, state
from kombu import compression
from kombu.utils.encoding import bytes_to_str
from kombu.utils.functional import maybe_list
from kombu.utils.json import dumps, loads

DEAD = "dead"  # a queue
LOST = 3  # processes that a prediction may end
LARGE = 16 * 1024 * 1024  # bytes to which a body may unpack: RabbitMQ 4 takes no larger one
COUNT, UNREADABLE = "lost-processes", "unreadable"  # headers
NOT_COPIED = {"application_headers", "content_type", "content_encoding", "priority", "expiration", "user_id"}
logger = get_logger(__name__)


class Dead(InvalidTaskError):
    """Why a message is dead, in a sentence."""


def check(message, tasks):
    """Raise Dead if this message cannot be one of these tasks."""
    if UNREADABLE in message.headers:
        raise Dead(f"It cannot be read: {message.headers[UNREADABLE]}.")
    body, headers = message.payload, message.headers
    if isinstance(body, dict):  # as Celery 3 sent it
        body, headers = [body.get("args", []), body.get("kwargs", {}), {}], body | headers
    shape = [type(one or {}) for one in body[1:]] if isinstance(body, list | tuple) and len(body) == 3 else None
    task, limits = headers.get("task"), headers.get("timelimit") or (0, 0)
    seconds = [isinstance(one or 0, int | float) and 0 <= (one or 0) < 1e9 for one in maybe_list(limits)]
    for sentence, wrong in {
        "No content type says how to read its body.": message.content_type in (None, "", "application/data"),
        "Its body is not a list of three: arguments, keyword arguments, options.": shape != [dict, dict],
        "Its id and the name of its task are not both texts.": {type(task), type(headers.get("id"))} != {str},
        f"This worker has no task {task!s:.99}.": str(task) not in tasks,
        "Its time limits are not two numbers of seconds.": seconds != [True, True],
        "Its stamped headers are not texts.": {type(one) for one in headers.get("stamped_headers") or ()} - {str},
        f"Its header {COUNT} is not a number from 0 to {LOST - 1}.": headers.get(COUNT, 0) not in range(LOST),
    }.items():
        if wrong:
            raise Dead(sentence)


class Consumer(consumer.Consumer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs | {"without_gossip": True})  # a malformed event ends who listens
        gc.set_threshold(100_000, 50, 50)  # 10 MB of small lists are read in 0.3 seconds then, not in 1.6

    def create_task_handler(self, *args, **kwargs):
        handle = super().create_task_handler(*args, **kwargs)
        broken = tuple(set(self.connection_errors) - {KeyError})  # which is among those of kombu's Redis transport

        def guarded(message):
            try:
                check(message, self.strategies)
                handle(message)
            except broken:  # Celery connects again, and the message comes back
                raise
            except Exception as error:
                self.bury(message, error)

        return guarded

    def bury(self, message, error):
        """Move a message to the queue dead, and make its result FAILURE."""
        if state.should_stop is not None or state.should_terminate is not None:
            return  # the worker is ending, which may be the error: the message comes back, for another one
        reason = str(error) if isinstance(error, Dead) else f"It cannot be a task: {in_words(error)}."
        self.copy_to_dead(message, reason)
        try:
            if isinstance(task := message.headers.get("id"), str):
                self.app.backend.mark_as_failure(task, InvalidTaskError(reason))
        except Exception as failed:
            logger.error("Its result is not stored: %s", in_words(failed))
        message.ack_log_error(logger, self.connection_errors)

    on_decode_error = bury

    def on_invalid_task(self, body, message, exc):
        self.bury(message, exc)

    def copy_to_dead(self, message, reason):
        logger.error("A message goes to the queue %s. %s", DEAD, reason)
        why = {"dead-reason": reason, "dead-queue": self.origin(message), "dead-time": time.time()}
        try:
            self.copy(message, DEAD, message.headers | why)
        except Exception:  # some of what it says may be what cannot be sent
            self.copy(message, DEAD, why, {}, ())

    def copy(self, message, queue, headers, properties=None, kind=None):
        """Send a message again, to a queue. Return when the broker has it."""
        headers = {name: headers[name] for name in headers if name != "compression" or message.errors}
        properties = message.properties if properties is None else properties
        properties = {name: properties[name] for name in properties if name not in NOT_COPIED}
        properties |= {"delivery_mode": 2, "delivery_info": {}}
        body = message.body if isinstance(message.body, bytes | str) else dumps(message.body)
        body = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        if kind is None:
            kind = message.properties.get("priority"), message.content_type, message.content_encoding
        with self.app.connection_for_write(transport_options={"confirm_publish": True}) as connection:
            channel = connection.default_channel
            if queue == DEAD:
                with suppress(*connection.channel_errors):  # it is there, with other arguments
                    channel.queue_declare(DEAD, durable=True, auto_delete=False)
            copy = channel.prepare_message(body, *kind, headers=headers, properties=properties)
            channel.basic_publish(copy, exchange="", routing_key=queue, mandatory=True)

    def origin(self, message):
        """The queue that a message came from."""
        queues = {tag: queue for queue, tag in self.task_consumer._active_tags.items()}
        return queues.get(message.delivery_info.get("consumer_tag"), message.delivery_info.get("routing_key"))

    def update_strategies(self):
        for task in self.app.tasks.values():
            task.Request = type("Request", (Request,), {"consumer": self})
        super().update_strategies()

    def connect(self):
        connection = super().connect()
        if connection.transport.driver_type == "redis":
            channel = connection.default_channel
            channel.client.set_response_callback("BRPOP", lambda reply, **_: reply and readable(channel, *reply))
            connection.transport._deliver = partial(deliver, channel, connection.transport._deliver)
        return connection


class Request(request.Request):
    consumer = error = None

    def on_failure(self, exc_info, **how):
        self.error = exc_info.exception
        try:
            super().on_failure(exc_info, **how)
        except (MemoryError, Dead) as error:  # a task's MemoryError: Celery raises it again, in the worker itself
            exc_info.exception = RuntimeError(str(error))
            super().on_failure(exc_info, **how)

    def reject(self, requeue=False):
        lost = self._request_dict.get(COUNT, 0) + 1
        asked_for = self.error is None or isinstance(self.error, Reject)  # by the task, or by its settings
        if requeue and (asked_for or state.should_terminate not in (None, False)):  # or the worker itself ends
            return super().reject(requeue)
        why = f"It has ended {lost} processes." if requeue else f"It was rejected: {self.error}."
        try:
            if again := requeue and lost < LOST:
                queue, headers = self.consumer.origin(self.message), self.message.headers | {COUNT: lost}
                self.consumer.copy(self.message, queue, headers)
            else:
                self.consumer.copy_to_dead(self.message, why)
        except Exception as failed:
            logger.error("It goes back to its queue as it was, since it cannot be copied: %s", in_words(failed))
            return super().reject(requeue=True)
        self.acknowledge()
        if requeue and not again:
            raise Dead(why)  # to on_failure


def in_words(error):
    return f"{type(error).__name__}: {error}"[:400].removesuffix(".")


def readable(channel, queue, item):
    """What Redis gave; if it is no message, as the body of one."""
    try:
        fits(channel, loads(bytes_to_str(item)))
    except Exception as error:
        route = {"exchange": "", "routing_key": bytes_to_str(queue).split(channel.sep)[0]}
        properties = {"body_encoding": "base64", "delivery_tag": str(uuid.uuid4()), "delivery_info": route}
        body = base64.b64encode(item).decode()
        item = dumps({"body": body, "headers": {UNREADABLE: in_words(error)}, "properties": properties})
    return queue, item


def deliver(channel, stock, content, to):
    """Give on what came from Redis, unless it is no message: something that was published to `celery control`."""
    try:
        fits(channel, content)
    except Exception as error:
        logger.error("What was published to %s cannot be read: %s", to, in_words(error))
    else:
        stock(content, to)


def fits(channel, content):
    """Raise an error if kombu cannot make a message of this."""
    message = channel.Message(content, channel=channel)
    message.delivery_tag + message.delivery_info["exchange"] + message.delivery_info["routing_key"]  # texts


def read_properties(buffer, at, read=PROPERTY_CLASSES[60]):  # 60: those of a message
    """The properties of a message from RabbitMQ; if they cannot be read, only that."""
    try:
        return read(buffer, at)
    except Exception as error:
        return {"application_headers": {UNREADABLE: in_words(error)}}, len(buffer)


def unpack(unpacker, body):
    """Decompress a body, if it does not become too large."""
    whole = (one := unpacker()).decompress(body, LARGE)
    if not one.eof:
        raise Dead(f"Its body is cut off, or unpacks to more than {LARGE} bytes.")
    return whole


PROPERTY_CLASSES[60] = read_properties
for kind, unpacker in ("gzip", zlib.decompressobj), ("bzip2", bz2.BZ2Decompressor), ("lzma", lzma.LZMADecompressor):
    encode, content_type = compression.get_encoder(kind)
    compression.register(encode, partial(unpack, unpacker), content_type)
