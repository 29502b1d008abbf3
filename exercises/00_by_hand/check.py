"""Does send.py put a message into the queue by_hand, and does receive.py take it out and acknowledge it?"""

import json
import subprocess
import sys
import uuid
from contextlib import suppress
from urllib.parse import quote

import amqp
from kombu import Connection

from lab.desk import TooLong
from lab.observe import Address, Fault, ManagementAway, NothingListens, Wrong, ask, management
from lab.student import NotImportable, in_printed_line

BROKER = "amqp://myuser:mypassword@localhost:5672//"  # the lecture's, until celeryconfig.py has one
QUEUE = "by_hand"
SEND = 5  # seconds that send.py may take
ARRIVAL = 1  # seconds from the end of send.py until its message is in the queue
STATISTICS = 5.5  # seconds until the dashboard shows what has happened; 1 or 2 on a RabbitMQ that the lab started
ACKNOWLEDGE = 1.2  # seconds more for its acknowledgement: the dashboard counts once a second
AHEAD = 1000  # priority of a consumer that gets a message before all others


class NoRabbit(Wrong):
    """This exercise needs RabbitMQ, and {found}."""

    next = """`make rabbitmq` installs it, and then `make servers` starts it in terminal 1. Or go on without this
        exercise, which is the only one that cannot do without: `python -m lab check 1`"""


class NothingArrives(Wrong):
    """send.py ends without an error, and its message is in no queue at {where}."""

    next = """Publish with `exchange=""` and `routing_key="by_hand"`, after `queue_declare("by_hand", durable=True)`:
        RabbitMQ drops without a word what no queue takes. And see that BROKER in send.py is this address"""


class SentElsewhere(Wrong):
    """send.py puts its message into the queue {queue!r}, and not into 'by_hand'."""

    next = 'The routing key is the name of the queue: `routing_key="by_hand"`'


class BareText(Wrong):
    """send.py sends {sent!r}, which is not JSON with a message in it: {wanted}."""

    next = "Publish `body=json.dumps({payload})`"


class NotKept(Wrong):
    """{what} does not survive a restart of RabbitMQ."""

    next = """The queue needs `durable=True` (if it was made without, delete it on the dashboard), and the message
        `properties=pika.BasicProperties(delivery_mode=2)`"""


class NoReceiver(Wrong):
    """The message waits in the queue 'by_hand', and nobody takes it: the queue has no consumer."""

    next = "In terminal 2: `python receive.py`, and check again. The check's own message is taken back out"


class AutoAcknowledges(Wrong):
    """receive.py lets RabbitMQ forget each message as soon as it is on its way: when receive.py dies, it is lost."""

    next = "Leave out `auto_ack=True`, and end `receive` with `channel.basic_ack(method.delivery_tag)`"


class ReceiverDies(Wrong):
    """receive.py ended when the message came; unacknowledged, that went back into the queue."""

    next = "Terminal 2 shows the traceback. Correct the line that it names, and start it again: `python receive.py`"


class NeverAcknowledges(Wrong):
    """receive.py has taken messages and does not acknowledge them: the dashboard calls them Unacked, {unacked} by now.
    They come again when it ends."""

    next = "End `receive` with `channel.basic_ack(method.delivery_tag)`, and start it again: `python receive.py`"


RECOGNISES = (
    NoRabbit,
    NotImportable,
    NothingArrives,
    SentElsewhere,
    BareText,
    NotKept,
    NoReceiver,
    AutoAcknowledges,
    ReceiverDies,
    NeverAcknowledges,
)


def check(desk):
    address = Address(desk.configuration.broker_url or BROKER)
    yield f"broker: {rabbitmq(desk, address)} at {address}"
    text = f"sent by the check, {uuid.uuid4().hex[:8]}"
    with Connection(address.url) as connection:
        broker = Broker(desk, address, connection)
        message = sent(broker, text)
        yield f"send.py: {text_of(message)} is in the queue {QUEUE!r}, and survives a restart of RabbitMQ"
        received(broker, message, text)
        yield f"receive.py: took it and acknowledged it; {broker.declared(QUEUE).message_count} messages wait"


def rabbitmq(desk, address):
    """Name and version of the RabbitMQ at address. Raises NoRabbit, and what else can be wrong with an address."""
    try:
        product = ask(address.url)
    except NothingListens:
        stand_in = desk.join(address.url)
        where = f"{address.host}:{address.port}"
        found = f"Valkey stands in for it, at {stand_in}" if stand_in else f"nothing listens at {where}"
        raise NoRabbit(found=found) from None
    if not address.is_rabbitmq:
        raise NoRabbit(found=f"celeryconfig.py points at {product}")
    return product


class Broker:
    """What RabbitMQ says of its queues, over a connection and on its dashboard."""

    def __init__(self, desk, address, connection):
        self.desk, self.address, self.connection = desk, address, connection

    def declared(self, queue):
        """A queue's message_count and consumer_count; None when there is no such queue."""
        with suppress(amqp.NotFound):
            return self.connection.default_channel.queue_declare(queue, passive=True)

    def dashboard(self, *path):
        """What the management API says of, for example, "channels", name. Raises ManagementAway."""
        try:
            path = "".join(f"/{quote(part, safe='')}" for part in path)
            return management(self.desk.dashboard(self.address), self.address, path)
        except Fault as fault:
            raise ManagementAway(found=fault) from None

    def lengths(self):
        """How many messages wait in each queue, by its name."""
        queues = self.dashboard("queues", self.address.virtual_host)
        names = [queue["name"] for queue in queues if not queue["exclusive"]]
        return {name: queue.message_count for name in names if (queue := self.declared(name))}

    def take_out(self, queue, text):
        """Take the message with this text out of a queue, and return whether it was there."""
        with self.connection.channel() as channel:
            for _ in range(self.declared(queue).message_count):
                message = channel.basic_get(queue)
                if message and text in text_of(message):
                    channel.basic_reject(message.delivery_tag, requeue=False)
                    return True
        return False

    def receivers(self):
        """The queue's consumers but our own, each with its channel's name and whether it acknowledges."""
        consumers = self.dashboard("queues", self.address.virtual_host, QUEUE).get("consumer_details", [])
        return [consumer for consumer in consumers if consumer["arguments"].get("x-priority") != AHEAD]

    def count(self):
        """How many messages the receivers' channels have delivered, and how many of them were acknowledged."""
        names = {receiver["channel_details"]["name"] for receiver in self.receivers()}
        channels = self.dashboard("channels")
        stats = [channel.get("message_stats", {}) for channel in channels if channel["name"] in names]
        return [sum(one.get(kind, 0) for one in stats) for kind in ("deliver", "ack")]


def text_of(message):
    return message.body if isinstance(message.body, str) else message.body.decode(errors="replace")


def sent(broker, text):
    """The message that send.py sends for this text, taken out of the queue before receive.py can get it."""
    before, messages = broker.lengths(), []
    with broker.connection.channel() as channel:  # what it took and did not reject goes back when it closes

        def listen():
            channel.basic_consume(QUEUE, callback=messages.append, arguments={"x-priority": AHEAD})

        def arrived():
            with suppress(TimeoutError):
                broker.connection.drain_events(timeout=0.05)
            return next((message for message in messages if text in text_of(message)), None)

        if QUEUE in before:
            listen()
        run("send.py", text)
        if QUEUE not in before and broker.declared(QUEUE):
            listen()
        message = broker.desk.wait(arrived, "the message of send.py to arrive", ARRIVAL)
        if message:
            channel.basic_reject(message.delivery_tag, requeue=False)
    if not message:
        for queue, length in broker.lengths().items():
            if queue != QUEUE and length != before.get(queue, 0) and broker.take_out(queue, text):
                raise SentElsewhere(queue=queue)
        raise NothingArrives(where=broker.address)
    if not is_right(text_of(message), text):
        wanted = json.dumps({"message": text})
        raise BareText(sent=text_of(message), wanted=wanted, payload='{"message": sys.argv[1]}')
    if not broker.dashboard("queues", broker.address.virtual_host, QUEUE)["durable"]:
        raise NotKept(what=f"The queue {QUEUE!r}")
    if message.properties.get("delivery_mode") != 2:
        raise NotKept(what="The message of send.py")
    return message


def is_right(body, text):
    with suppress(ValueError, TypeError, LookupError):
        return json.loads(body)["message"] == text
    return False


def run(file, *arguments):
    """Run a program of the student's. Raises NotImportable, with the student's own line."""
    command = [sys.executable, file, *arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SEND)
    except subprocess.TimeoutExpired:
        raise NotImportable(file=file, error=f"it has not ended after {SEND} seconds") from None
    if done.returncode:
        raise NotImportable(file=file, error=in_printed_line(done.stderr))


def received(broker, message, text):
    """Publish a copy of the message, and see that receive.py acknowledges it."""
    if not broker.declared(QUEUE).consumer_count:
        raise NoReceiver()
    before = broker.count()

    def seen():
        """What the dashboard shows since then: a message delivered, one acknowledged, or neither (False)."""
        if not broker.declared(QUEUE).consumer_count:
            raise ReceiverDies()
        if not all(receiver["ack_required"] for receiver in broker.receivers()):
            raise AutoAcknowledges()
        delivered, acknowledged = broker.count()
        return (acknowledged > before[1] and "acknowledged") or (delivered > before[0] and "delivered")

    # It expires: should it not be acknowledged, it is not there to come again when receive.py ends.
    copy = amqp.Message(message.body, **{**message.properties, "expiration": "10000"})
    try:
        broker.connection.default_channel.basic_publish(copy, routing_key=QUEUE)
        news = broker.desk.wait(seen, "the dashboard to show the message", STATISTICS)
        if not news and not broker.declared(QUEUE).message_count:
            raise TooLong(what="the dashboard to show the message", seconds=STATISTICS)
        if news == "delivered":
            news = broker.desk.wait(lambda: seen() == "acknowledged", "receive.py to acknowledge it", ACKNOWLEDGE)
        if not news:
            delivered, acknowledged = broker.count()
            raise NeverAcknowledges(unacked=max(1, delivered - acknowledged))  # the dashboard may be late
    finally:
        broker.take_out(QUEUE, text)
