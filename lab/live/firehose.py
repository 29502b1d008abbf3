"""Copies from RabbitMQ, which publishes one of each message while its virtual host is traced."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import amqp
from celery import Celery

from lab.fault import Fault, Wrong, printable
from lab.live.copies import LOOK, Source, message
from lab.live.history import Fact
from lab.probe.address import Address
from lab.probe.connection import ANSWER, rabbitmq
from lab.probe.dead import DEAD

OURS = "lab-xray-"  # how queues for copies are called


class NoTracing(Wrong):
    """RabbitMQ gives no copies of the messages in {virtual_host!r}: {found}."""

    next = """To switch tracing on, the user {user!r} needs a tag: `rabbitmqctl set_user_tags {user} administrator`, on
        RabbitMQ's machine. In a lab that you have started yourself, it has it"""


@contextmanager
def traced(broker: Address, dashboard: str | None, is_ours: bool = False) -> Iterator[bool]:
    """Let RabbitMQ publish copies until this block ends; then all is as before, unless another x-ray still needs them.

    Yields whether an x-ray has switched them on, which is_ours says of an earlier block that could not end well. Raises
    NoTracing and Fault.
    """
    import httpx  # late, as in lab/probe/web.py

    host = quote(broker.virtual_host, safe="")
    options: dict[str, Any] = {"auth": (broker.user, broker.password), "timeout": ANSWER, "trust_env": False}

    def api(method: str, path: str, what: object = None) -> Any:
        base = dashboard or broker.management
        try:
            said = httpx.request(method, f"{base}/api/{path}", json=what, **options).raise_for_status()
            return said.json() if method == "GET" else None
        except httpx.HTTPStatusError as error:
            found = printable(error).split("\n")[0]
            raise NoTracing(virtual_host=broker.virtual_host, user=broker.user, found=found) from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Fault(f"RabbitMQ's management API at {base} does not answer: {printable(error)}") from None

    def others() -> bool:
        """Whether another x-ray listens."""
        bound = api("GET", f"exchanges/{host}/amq.rabbitmq.trace/bindings/source")
        return any(one["destination"].startswith(OURS) for one in bound)

    before = api("GET", f"vhosts/{host}")
    # What is not said again, RabbitMQ forgets.
    kept = {"description": before.get("description") or "", "tags": ",".join(before.get("tags") or [])}
    if before.get("default_queue_type") not in (None, "undefined"):
        kept["default_queue_type"] = before["default_queue_type"]
    is_ours = is_ours or not before["tracing"] or others()
    try:
        if not before["tracing"]:
            api("PUT", f"vhosts/{host}", kept | {"tracing": True})
        yield is_ours
    finally:
        if is_ours and not others():
            api("PUT", f"vhosts/{host}", kept | {"tracing": False})


class Firehose(Source):
    """The messages of a virtual host of RabbitMQ, and to whom each was delivered."""

    def __init__(self, app: Celery, dashboard: str | None, queue: str, note: Callable[[Fact], None]):
        super().__init__(note)
        self._broker, self._dashboard, self._queue = Address(app.conf.broker_url), dashboard, queue
        self._is_ours = False

    def listen(self) -> None:
        with traced(self._broker, self._dashboard, self._is_ours) as self._is_ours:
            connection = rabbitmq(self._broker)
            try:
                connection.connect()
                self._asked = connection.channel()
                channel = connection.channel()
                queue = channel.queue_declare(OURS + secrets.token_hex(4), exclusive=True).queue
                for key in ("publish.#", "deliver.#"):
                    channel.queue_bind(queue, "amq.rabbitmq.trace", key)
                self._seen: list[tuple[str, amqp.Message]] = []
                consumer = channel.basic_consume(queue, callback=self._see, no_ack=True)
                while self._goes_on():
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=LOOK)
                    while self._seen:
                        self._tell(connection, *self._seen.pop(0))
                channel.basic_cancel(consumer)
                channel.queue_delete(queue)
                connection.close()
            finally:
                connection.collect()

    def _see(self, copy: amqp.Message) -> None:
        self._seen.append((copy.delivery_info["routing_key"], copy))

    def _tell(self, connection: amqp.Connection, key: str, copy: amqp.Message) -> None:
        said = copy.headers
        exchange, keys = said["exchange_name"], said["routing_keys"]
        if exchange == "celeryev" or exchange.endswith(".pidbox"):
            return
        properties = dict(said["properties"])
        headers = properties.pop("headers", None) or {}
        body = copy.body.encode() if isinstance(copy.body, str) else bytes(copy.body)
        who = printable(said.get("connection"))
        if key.startswith("deliver."):
            fact, again = message(properties, headers, body), bool(said.get("redelivered"))
            self._note({"time": fact["time"], "fact": "taken", "id": fact["id"], "by": who, "redelivered": again})
        elif "task" in headers or {self._queue, DEAD} & {*keys, *said["routed_queues"]}:
            # RabbitMQ names the default exchange's queue here even where there is none.
            lengths = {name: self._length(connection, name) for name in said["routed_queues"]}
            there = {name: length for name, length in lengths.items() if length is not None}
            where: dict[str, Any] = {"exchange": exchange, "keys": keys, "queues": list(there)}
            where["before"] = max(min(there.values(), default=0) - 1, 0)  # it is the last
            if who.startswith("<"):  # a connection inside RabbitMQ
                where["by"] = "RabbitMQ's management API: curl, or the dashboard"
            else:
                where |= {"by": who, "channel": said.get("channel")}
            self._note(message(properties, headers, body, **where))

    def _length(self, connection: amqp.Connection, queue: str) -> int | None:
        """How many messages wait in a queue; None if there is no such queue."""
        try:
            return self._asked.queue_declare(queue, passive=True).message_count
        except amqp.ResourceLocked:  # another program's own
            length = 0
        except amqp.ChannelError:
            length = None
        self._asked = connection.channel()
        return length
