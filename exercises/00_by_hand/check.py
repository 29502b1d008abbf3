"""Does send.py put a message into the queue by_hand, and does receive.py take it out and acknowledge it?"""

import subprocess
import sys
import uuid
from contextlib import suppress

import amqp
from kombu import Connection

from lab.fault import Wrong
from lab.observe import Address, ManagementAway, NothingListens, ask
from lab.student import NotImportable, in_printed_line, require

BROKER = "amqp://myuser:mypassword@localhost:5672//"  # the lecture's, until celeryconfig.py has one
QUEUE = "by_hand"
MARK = "sent by the check, "
SEND = 4  # seconds that send.py may take
STATISTICS = 6  # seconds until the dashboard shows what has happened; 1 on a RabbitMQ that the lab started
ACKNOWLEDGE = 1.5  # seconds more for its acknowledgement: the dashboard counts once a second, or every five


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


class NoReceiver(Wrong):
    """The message waits in the queue 'by_hand', and nobody takes it: the queue has no consumer."""

    next = "In terminal 2: `python receive.py`, and check again. The check's own message is taken back out"


class AutoAcknowledges(Wrong):
    """receive.py lets RabbitMQ forget each message as soon as it is on its way: when receive.py dies, it is lost."""

    next = "Leave out `auto_ack=True`, and end `receive` with `channel.basic_ack(method.delivery_tag)`"


class NeverAcknowledges(Wrong):
    """receive.py takes messages and does not acknowledge them: RabbitMQ calls {unacked} Unacked, which come again
    when it ends."""

    next = "End `receive` with `channel.basic_ack(method.delivery_tag)`, and start it again: `python receive.py`"


RECOGNISES = (
    NoRabbit,
    NotImportable,
    NothingArrives,
    SentElsewhere,
    NoReceiver,
    AutoAcknowledges,
    NeverAcknowledges,
)


def check(desk):
    address = Address(desk.configuration.broker_url or BROKER)
    yield f"broker: {rabbitmq(desk, address)} at {address}"
    text = f"{MARK}{uuid.uuid4().hex[:8]}"
    with Connection(address.url) as connection:
        queues = Queues(desk, address, connection)
        queues.take_out(QUEUE, MARK)  # from a receiver that did not acknowledge it
        before, lengths = queues.counts(), queues.lengths()
        run("send.py", text)
        if not queues.consumers():
            raise NoReceiver() if queues.take_out(QUEUE, text) else not_there(queues, lengths, text)
        taken = desk.wait(lambda: queues.counts()[0] > before[0], "the dashboard to show the message", STATISTICS)
        if not taken:
            raise not_there(queues, lengths, text)
        yield f"send.py: its message went into the queue {QUEUE!r}, and receive.py took it"
        if queues.is_auto_acknowledged():
            raise AutoAcknowledges()
        if not desk.wait(lambda: queues.counts()[1] > before[1], "receive.py to acknowledge", ACKNOWLEDGE):
            raise NeverAcknowledges(unacked=queues.details().get("messages_unacknowledged"))
        yield f"receive.py: acknowledged it; {queues.length(QUEUE)} messages wait"


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


def run(file, *arguments):
    """Run a program of the student's. Raises NoFile, and NotImportable with the student's own line."""
    require(file)
    command = [sys.executable, file, *arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SEND)
    except subprocess.TimeoutExpired:
        raise NotImportable(file=file, error=f"it has not ended after {SEND} seconds") from None
    if done.returncode:
        raise NotImportable(file=file, error=in_printed_line(done.stderr))


class Queues:
    """What RabbitMQ says of its queues: at once over a connection, or, a little later, on its dashboard."""

    def __init__(self, desk, address, connection):
        self.desk, self.address, self.connection = desk, address, connection

    def declared(self, queue):
        """A queue's message_count and consumer_count; None when there is no such queue."""
        with suppress(amqp.NotFound):
            return self.connection.default_channel.queue_declare(queue, passive=True)

    def length(self, queue):
        return self.declared(queue).message_count

    def consumers(self):
        queue = self.declared(QUEUE)
        return queue.consumer_count if queue else 0

    def lengths(self):
        """How many messages wait in each queue, by its name."""
        queues = self.desk.on_dashboard(self.address, "queues", self.address.virtual_host)
        names = [queue["name"] for queue in queues if not queue["exclusive"]]
        return {name: queue.message_count for name in names if (queue := self.declared(name))}

    def details(self):
        """The queue by_hand as the dashboard has it; nothing when it does not have it yet."""
        with suppress(ManagementAway):
            return self.desk.on_dashboard(self.address, "queues", self.address.virtual_host, QUEUE)
        return {}

    def counts(self):
        """How many messages of the queue were delivered so far, and how many were acknowledged."""
        counts = self.details().get("message_stats", {})
        return counts.get("deliver", 0) + counts.get("deliver_no_ack", 0), counts.get("ack", 0)

    def is_auto_acknowledged(self):
        return not all(consumer["ack_required"] for consumer in self.details().get("consumer_details", []))

    def take_out(self, queue, text):
        """Take the messages with this text out of a queue, and return how many there were."""
        found = 0
        with self.connection.channel() as channel:  # what is not rejected goes back when it closes
            while self.declared(queue) and (message := channel.basic_get(queue)):
                body = message.body if isinstance(message.body, str) else message.body.decode(errors="replace")
                if text in body:
                    channel.basic_reject(message.delivery_tag, requeue=False)
                    found += 1
        return found


def not_there(queues, lengths, text):
    """Why the message is not in the queue by_hand: where it went, if that can be found."""
    for queue, length in queues.lengths().items():
        if length > lengths.get(queue, 0) and queues.take_out(queue, text):
            return SentElsewhere(queue=queue)
    return NothingArrives(where=queues.address)
