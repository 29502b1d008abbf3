"""Does send.py put a message into the queue by_hand, and does receive.py take it out and acknowledge it?"""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import amqp
import psutil
from kombu import Connection

from lab.course.kit import (
    Address,
    Desk,
    Fault,
    NoRabbit,
    NothingListens,
    NotImportable,
    Program,
    Wrong,
    ask,
    hidden,
    literal,
    running,
    totals,
    why_unreadable,
)

BROKER = "amqp://myuser:mypassword@localhost:5672//"  # the lecture's, until celeryconfig.py has one
QUEUE = "by_hand"
MARK = "sent by the check, "
START = 4  # seconds that send.py may take, and receive.py until it consumes
ACKNOWLEDGE = 4  # seconds in which a message is acknowledged: a receiver may work for a while
SETTLE = 2  # seconds for what follows at once
STATISTICS = 6  # seconds until the dashboard knows a new consumer; 1 on a RabbitMQ that the lab started
DEADLINE = 15
PARTS = {"scheme": "protocol", "user": "user", "password": "password", "host": "machine", "port": "port"}
PARTS |= {"virtual_host": "virtual host"}


class OtherAddress(Wrong):
    """BROKER in {file} is {theirs}: {why}. RabbitMQ accepts your login at {ours}."""

    next = """Correct BROKER there. The broker's port is 5672; 15672 is the dashboard's. Write your password in place of
        `**`"""


class SuspendedReceiver(Wrong):
    """receive.py in terminal 2 is suspended (Ctrl-Z does that). It still gets messages, but does nothing with them."""

    next = "Type `fg` there: it goes on"


class StaleReceiver(Wrong):
    """receive.py in terminal 2 was started before you last changed the file: it runs the old code."""

    next = "End it there with Ctrl-C, and start it again: `python receive.py`"


class DeclaredOtherwise(Wrong):
    """{file} does not declare the queue 'by_hand' as it exists already: {setting}, {difference}."""

    next = """A queue cannot be changed after it was declared. Declare it the same way in send.py and receive.py. Is the
        queue itself wrong? Open it on the dashboard, under Queues, and press `Delete Queue`: the next start makes it
        again"""


class Exclusive(Wrong):
    """The queue 'by_hand' is declared `exclusive`: only one connection can use it, and it is deleted when that ends."""

    next = "Remove `exclusive` from send.py and receive.py. Then end receive.py with Ctrl-C: that deletes the queue"


class NothingArrives(Wrong):
    """send.py ends without an error, but its message is in no queue at {where}."""

    next = """RabbitMQ drops a message for which there is no queue, without an error. Does send.py declare the queue,
        and publish to it? With the exchange "", the routing key is the name of the queue"""


class SentElsewhere(Wrong):
    """send.py puts its message into the queue {queue!r}, not into 'by_hand'."""

    next = 'With the exchange "", the routing key is the name of the queue'


class EndsEarly(Wrong):
    """receive.py ends by itself, {when}. A receiver waits for messages until somebody ends it."""

    next = "A method of channel waits, and calls `receive` for each message. Call that method last"


class NeverConsumes(Wrong):
    """receive.py runs, but it is not a consumer of the queue 'by_hand'."""

    next = "Tell RabbitMQ from which queue you want messages, and which function gets them. Then start to wait"


class DiesOfMessage(Wrong):
    """receive.py ends with an error when it gets the message {body}: {error}."""

    next = """The message goes back into the queue, and ends the next receiver too. Correct receive.py, or what send.py
        sends. To empty the queue, open it on the dashboard, under Queues, and press `Purge Messages`"""


class NoReceiver(Wrong):
    """The message waits in the queue 'by_hand', and nobody takes it: the queue has no consumer."""

    next = "In terminal 2: `python receive.py`. Then check again. (The check takes its own message out again)"


class AutoAcknowledges(Wrong):
    """receive.py lets RabbitMQ forget each message as soon as it is sent: if receive.py then dies, the message is
    lost."""

    next = "Leave out `auto_ack`, and acknowledge each message yourself, at the end of `receive`"


class NeverAcknowledges(Wrong):
    """receive.py takes messages but does not acknowledge them: RabbitMQ shows {unacked} Unacked. They come again when
    receive.py ends."""

    next = "Acknowledge each message at the end of `receive`. Then start it again: `python receive.py`"


class PrintsNothing(Wrong):
    """receive.py takes and acknowledges messages, but does not print their text. It printed {printed}."""

    next = "In `receive`, print the text of the message on one line, then acknowledge the message"


RECOGNISES = (
    NoRabbit,
    NotImportable,
    OtherAddress,
    SuspendedReceiver,
    StaleReceiver,
    DeclaredOtherwise,
    Exclusive,
    NothingArrives,
    SentElsewhere,
    EndsEarly,
    NeverConsumes,
    DiesOfMessage,
    NoReceiver,
    AutoAcknowledges,
    NeverAcknowledges,
    PrintsNothing,
)


def check(desk: Desk) -> Iterator[str]:
    product, address = rabbitmq(desk)
    yield f"broker: {product} at {address}"
    for file in ("send.py", "receive.py"):
        goes_to(file, address)
    runs_well(desk.folder)
    with Connection(address.url) as connection:
        queues = Queues(desk, address, connection)
        queues.take_out()  # from a receiver that did not acknowledge it
        try:
            yield from sent_and_received(desk, queues)
        finally:
            queues.take_out()


def sent_and_received(desk, queues):
    """What happens to messages of send.py's: as many as there are receivers, for they take turns."""
    lengths, receivers = queues.lengths(), queues.consumers()
    if not receivers:
        send(desk, text())
        if not queues.take_out():
            raise not_there(queues, lengths)
        raise nobody(desk, queues)
    unsettled = queues.unsettled()
    with receiver(desk, queues) as one:
        texts = [text() for _ in range(receivers + 1)]
        for each in texts:
            send(desk, each)

        def settled():
            return one.ended() or queues.unsettled() <= unsettled

        def shown(texts):
            return one.ended() or any(each in one.said for each in texts)

        done = desk.wait(settled, "receive.py to acknowledge the message", ACKNOWLEDGE)
        seen = desk.wait(lambda: shown(texts), "receive.py to print the message", SETTLE)
        if one.ended():
            raise why_ended(desk, queues, one, texts[0])
        if queues.is_auto_acknowledged():
            raise AutoAcknowledges()
        if not done:
            raise NeverAcknowledges(unacked=queues.unsettled() - queues.length())
        if not seen:
            other = text()  # is it send.py or receive.py? This message surely arrives
            queues.publish(other, receivers + 1)
            arrives = desk.wait(lambda: shown([other]), "receive.py to print the message", SETTLE)
            raise not_there(queues, lengths) if arrives else PrintsNothing(printed=one.answer())
    yield f"send.py: its message went into the queue {QUEUE!r}, and receive.py took it"
    yield f"receive.py: printed its text, and acknowledged it; {queues.length()} messages wait"


def text():
    """A text that no other message has."""
    return f"{MARK}{uuid.uuid4().hex[:8]}"


def rabbitmq(desk):
    """Name and version of RabbitMQ, and its Address. Raises NoRabbit, and what else can be wrong with an address."""
    configured = desk.configuration.broker_url
    address = Address(configured or BROKER)
    try:
        product = ask(address.url)
    except Fault as fault:
        own = literal("send.py", "BROKER")
        with suppress(Fault):
            if own and not configured:
                return ask(own), Address(own)
        if not isinstance(fault, NothingListens):
            raise
        stand_in = running.join(address.url)
        where = f"{address.host}:{address.port}"
        found = f"Valkey is used instead, at {stand_in}" if stand_in else f"nothing listens at {where}"
        raise NoRabbit(found=found) from None
    if not address.is_rabbitmq:
        raise NoRabbit(found=f"celeryconfig.py has the address of {product}")
    return product, address


def goes_to(file, address):
    """Raise OtherAddress when a file's BROKER is not this address."""
    if (url := literal(file, "BROKER")) is None:
        return
    why = why_unreadable(url)
    if not why:
        theirs = Address(url)
        differ = [word for part, word in PARTS.items() if getattr(theirs, part) != getattr(address, part)]
        differ = [word for word in differ if word != "machine" or not (theirs.is_local and address.is_local)]
        why = f"its {differ[0]} is different" if differ else None
    if why:
        raise OtherAddress(file=file, theirs=hidden(url), why=why, ours=address)


def runs_well(folder):
    """Raise SuspendedReceiver or StaleReceiver when a receive.py that somebody started in this folder is so."""
    changed = (folder / "receive.py").stat().st_mtime
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error):
            arguments = process.info["cmdline"] or []
            if any(re.search(r"(^|/)receive\.py$", one) for one in arguments[1:]) and process.cwd() == str(folder):
                if process.status() == psutil.STATUS_STOPPED:
                    raise SuspendedReceiver()
                if changed - process.create_time() > 1:
                    raise StaleReceiver()


def send(desk, text):
    """Run send.py with this text. Raises NotImportable, DeclaredOtherwise and Exclusive."""
    with Program("send.py", text) as program:
        if not desk.wait(program.ended, "send.py to end", START):
            raise NotImportable(file="send.py", error=f"it has not ended after {START} seconds")
        raise_its_error(program)


@contextmanager
def receiver(desk, queues):
    """receive.py in a terminal of the check's own, when it consumes.

    Raises NotImportable, DeclaredOtherwise, Exclusive, EndsEarly and NeverConsumes.
    """
    before = queues.consumers()
    try:
        with Program("receive.py") as program:
            desk.wait(lambda: program.ended() or queues.consumers() > before, "receive.py to consume", START)
            raise_its_error(program)
            if program.ended():
                raise EndsEarly(when="before a message came")
            if queues.consumers() <= before:
                raise NeverConsumes()
            yield program
    finally:
        desk.wait(lambda: queues.consumers() <= before, "the check's own receive.py to leave", SETTLE)


def nobody(desk, queues):
    """Why nobody consumes: receive.py does not run, or it dies of the first message. What waits stays as it is."""
    with queues.kept_back() as waiting, receiver(desk, queues) as one:
        if waiting:
            queues.publish_copy(waiting[0])
        else:
            send(desk, text())
        desk.wait(lambda: one.ended() or queues.unsettled() <= len(waiting), "receive.py to take the message", SETTLE)
        if one.ended():
            return why_ended(desk, queues, one, text())
    return NoReceiver()


def why_ended(desk, queues, program, sent):
    """What to say of a receive.py that ended when it got a message."""
    desk.wait(lambda: not queues.consumers(), "the message to come back", SETTLE)
    came_back = queues.take_out()
    try:
        raise_its_error(program)
    except NotImportable as fault:
        error = str(fault).partition("cannot be used: ")[2]
        return DiesOfMessage(body=repr(came_back[0] if came_back else sent), error=error)
    return EndsEarly(when="after a message")


def raise_its_error(program):
    """Raise NotImportable, DeclaredOtherwise or Exclusive when a program has ended with an error."""
    try:
        program.raise_its_error()
    except NotImportable:
        if "RESOURCE_LOCKED" in program.said:
            raise Exclusive() from None
        if found := re.search(r"PRECONDITION_FAILED.* arg '(.*?)' .*: (received .*?)\"", program.said):
            raise DeclaredOtherwise(file=program.file, setting=found[1], difference=found[2]) from None
        raise


class Queues:
    """What RabbitMQ says of its queues, at once: over a connection, and, what that does not tell, on its dashboard."""

    def __init__(self, desk, address, connection):
        self.desk, self.address, self.connection = desk, address, connection

    def declared(self, queue=QUEUE):
        """A queue's message_count and consumer_count; None when there is no such queue. Raises Exclusive."""
        try:
            return self.connection.default_channel.queue_declare(queue, passive=True)
        except amqp.NotFound:
            return None
        except amqp.ResourceLocked:
            raise Exclusive() from None

    def length(self):
        queue = self.declared()
        return queue.message_count if queue else 0

    def consumers(self):
        queue = self.declared()
        return queue.consumer_count if queue else 0

    def lengths(self):
        """How many messages wait in each queue, by its name."""
        queues = self.desk.on_dashboard(self.address, "queues", self.address.virtual_host)
        names = [queue["name"] for queue in queues if not queue["exclusive"]]
        return {name: queue.message_count for name in names if (queue := self.declared(name))}

    def unsettled(self):
        """How many messages of the queue by_hand nobody has acknowledged: Ready and Unacked."""
        now = totals(running.dashboard(self.address), self.address).get(QUEUE)
        return sum(now) if now else 0

    def is_auto_acknowledged(self):
        """Whether a consumer of by_hand lets RabbitMQ forget what is on its way."""

        def consumers():
            every = self.desk.on_dashboard(self.address, "consumers", self.address.virtual_host)
            return [one for one in every if one["queue"]["name"] == QUEUE]

        known = self.desk.wait(consumers, "the dashboard to show receive.py", STATISTICS) or []
        return not all(one["ack_required"] for one in known)

    def publish(self, text, times):
        """Put a message of the exercise's form into by_hand."""
        for _ in range(times):
            message = amqp.Message(json.dumps({"message": text}), content_type="application/json")
            self.connection.default_channel.basic_publish(message, routing_key=QUEUE)

    def publish_copy(self, message):
        """Put another message of the same form into by_hand: one that take_out() knows."""
        copy = amqp.Message(message.body, **(message.properties | {"message_id": MARK}))
        self.connection.default_channel.basic_publish(copy, routing_key=QUEUE)

    @contextmanager
    def kept_back(self):
        """What waits in by_hand, while nobody else can take it; afterwards it is in its place again."""
        with self.connection.channel() as channel:
            found = []
            while self.declared() and (message := channel.basic_get(QUEUE)):
                found.append(message)
            yield found

    def take_out(self, queue=QUEUE):
        """Take the check's own messages out of a queue, and return their bodies."""
        found = []
        with self.connection.channel() as channel:  # what is not rejected goes back when it closes
            while self.declared(queue) and (message := channel.basic_get(queue)):
                body = message.body if isinstance(message.body, str) else message.body.decode(errors="replace")
                if MARK in body or message.properties.get("message_id") == MARK:
                    channel.basic_reject(message.delivery_tag, requeue=False)
                    found.append(body)
        return found


def not_there(queues, lengths):
    """Why the message is not in the queue by_hand: where it went, if that can be found."""
    for queue, length in queues.lengths().items():
        if length > lengths.get(queue, 0) and queues.take_out(queue):
            return SentElsewhere(queue=queue)
    return NothingArrives(where=queues.address)
