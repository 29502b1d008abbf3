"""Start the student's worker.mjs, send it messages of every kind, and see what it does with each.

Its RabbitMQ and Redis are the check's own, and empty. What it rejects, RabbitMQ puts into another queue.
"""

import json
import re
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import amqp
import redis
from celery import Celery
from celery.backends.redis import RedisBackend
from celery.result import AsyncResult
from kombu import Connection

from lab.course.kit import (
    Address,
    Desk,
    NoRabbit,
    NotImportable,
    Program,
    Wrong,
    own_valkey,
    own_virtual_host,
    printable,
    running,
    totals,
    url_of,
)

FILE = "worker.mjs"
TASK, QUEUE, REJECTED = "js_ml_app.predict", "js_ml_app", "rejected"
SECONDS = 0.4  # that each prediction takes
START = 10  # seconds until it takes messages; 0.3 on an idle machine
SOON = 5  # seconds in which it answers a message
SETTLE = 0.4  # seconds for what follows at once
NOT_FOUND = 127  # the exit status of `env` when there is no such program
FLOOD = 500  # lines that it prints: it does the same again and again
PAUSE = 20_000  # milliseconds, at most, in which nothing can be stored
DEADLINE = 60
OWN, GOOD = "a message for its own task", {"message": "Is it true?"}
PAST = "2026-01-01T00:00:00+00:00"


class NotInstalled(Wrong):
    """worker.mjs cannot run: {missing} is not there."""

    next = "`npm install`, in your folder, gets the packages. Node.js itself, 18 or newer, comes from your system"


class EndsEarly(Wrong):
    """worker.mjs ends by itself before a message has come. It printed {printed}."""

    next = """A worker waits for messages until somebody ends it. Leave what is below `stop` as it was, or get it back:
        `lab reset 19`"""


class NeverConsumes(Wrong):
    """worker.mjs runs, but takes messages from no queue. It printed {printed}."""

    next = "Leave `listen` and what is below `stop` as they were, or get the file back: `lab reset 19`"


class TakesElsewhere(Wrong):
    """worker.mjs takes its messages from {queues}, and not from 'js_ml_app'."""

    next = "A queue of its own is one from which no worker of Celery's takes. Python sends to 'js_ml_app'"


class DeclaredOtherwise(Wrong):
    """worker.mjs makes the queue 'js_ml_app', and not as Celery does: {difference}. Python could not send any more."""

    next = "Make it durable, and without arguments. Delete the other one on the dashboard, under Queues"


class StoresNothing(Wrong):
    """worker.mjs got {what}, and {seconds} seconds later nothing is stored for it in Redis. It printed {printed}."""

    next = "In `receive`, after `run`: `store` keeps what became of the task, and `await` waits for that"


class StoresElsewhere(Wrong):
    """worker.mjs stores its result as {found}, and Python looks for {wanted}."""

    next = "The key is `celery-task-meta-`, and then the id in the message's headers"


class NoSuccess(Wrong):
    """Python does not find that a prediction has succeeded: {why}. What worker.mjs stored is {stored}."""

    next = "It is JSON, with task_id, status, result, traceback, children and date_done. The status is SUCCESS"


class KeptForEver(Wrong):
    """worker.mjs stores its results for ever: one day, Redis is full."""

    next = "Redis's command SETEX takes a number of seconds, too"


class TellsNobody(Wrong):
    """worker.mjs stores its result, but does not publish it: who waits in `get()` does not hear of it."""

    next = "Redis's command PUBLISH takes the key as channel, and then the same text. Send both with one `multi`"


class NeverAcknowledges(Wrong):
    """The result of {what} is stored, and RabbitMQ still shows the message as Unacked: it comes again when worker.mjs
    ends. Its last words are {words}."""

    next = "At the end of `receive`, acknowledge the message, whatever became of the task"


class AnswersTwice(Wrong):
    """RabbitMQ closed the channel of worker.mjs, which had answered one message twice: {words}."""

    next = "Each message gets one answer: `ack` or `reject`, once. Look for a second one, in each way through `receive`"


class TakesAhead(Wrong):
    """worker.mjs holds {unacked} messages, and works on one: no other worker can take those that wait there."""

    next = "Before `consume`, tell the channel how many messages it may hold (prefetch): 1"


class AcknowledgesFirst(Wrong):
    """RabbitMQ has forgotten a message whose result is not stored: if worker.mjs dies now, both are lost."""

    next = """Acknowledge last, when `await` has said that the result is stored. And consume without `noAck`, which
        acknowledges before the work has begun"""


class NoFailure(Wrong):
    """predict threw an error, and the status that worker.mjs stored is {status}: Python takes that for an answer."""

    next = "In `run`, catch the error of `predict`, and return the status FAILURE"


class UnreadableFailure(Wrong):
    """predict threw an error, and worker.mjs stored {stored} as result. Python cannot raise that: {why}."""

    next = "`raised` makes what Python can raise again, of a module, the name of a class there, and its arguments"


class DiesOfMessage(Wrong):
    """worker.mjs ends with an error when it gets {what}: {error}. The message goes back, and ends the next worker."""

    next = "Whatever a message says, catch the error that it leads to, and reject the message"


class Requeues(Wrong):
    """worker.mjs gives {what} back to its queue, gets it again at once, and so on for ever."""

    next = "Reject it so that RabbitMQ does not put it back: `reject` takes a second argument"


class LeavesUnacked(Wrong):
    """worker.mjs got {what}, and neither acknowledges nor rejects it: it gets no other message. Its last words are
    {words}."""

    next = "Every message needs an answer. A channel has the methods `ack` and `reject`"


class AcknowledgesAll(Wrong):
    """worker.mjs acknowledges {what}, as if that were done."""

    next = "What this worker cannot do, it rejects: then RabbitMQ can put the message aside for somebody to look at"


class PredictsAll(Wrong):
    """worker.mjs makes a prediction of {what}."""

    next = "`read` looks at a message before it is used, and throws an error"


class PredictsExpired(Wrong):
    """worker.mjs makes a prediction that had expired when its message came: nobody waits for it any more."""

    next = "`expires` in the headers is a date as text. Compare it with the time now, before you predict"


class DiesAtOnce(Wrong):
    """SIGTERM, which Docker and systemd send, ended worker.mjs in the middle of a prediction: that begins again
    elsewhere."""

    next = "In `stop`, wait for all that is in `running`. Then close the connection, and worker.mjs ends by itself"


class TakesOn(Wrong):
    """After SIGTERM, worker.mjs took another message from the queue."""

    next = """First in `stop`, set `stopping`, or the last loop connects again. Then cancel the consumer, which has the
        tag NAME: no more messages come"""


class NeverEnds(Wrong):
    """worker.mjs still runs {seconds} seconds after SIGTERM, and has nothing left to do."""

    next = "At the end of `stop`, close the connection to RabbitMQ: then `listen` comes to its end, and worker.mjs too"


class AcknowledgementLost(Wrong):
    """After SIGTERM, worker.mjs stored its result, and the message went back into the queue: it will be predicted
    again."""

    next = """Close the channel, and then the connection to RabbitMQ, and `await` both: what was written to the channel
        before, is sent before"""


RECOGNISES = (
    NoRabbit,
    NotImportable,
    NotInstalled,
    EndsEarly,
    NeverConsumes,
    TakesElsewhere,
    DeclaredOtherwise,
    StoresNothing,
    StoresElsewhere,
    NoSuccess,
    KeptForEver,
    TellsNobody,
    NeverAcknowledges,
    AnswersTwice,
    TakesAhead,
    AcknowledgesFirst,
    NoFailure,
    UnreadableFailure,
    DiesOfMessage,
    Requeues,
    LeavesUnacked,
    AcknowledgesAll,
    PredictsAll,
    PredictsExpired,
    DiesAtOnce,
    TakesOn,
    NeverEnds,
    AcknowledgementLost,
)


def check(desk: Desk) -> Iterator[str]:
    product, broker = desk.rabbitmq()
    yield f"broker: {product} at {broker}, in a virtual host of the check's own"
    with started(desk, broker) as worker:
        yield takes(worker)
        yield succeeds(worker)
        yield keeps_its_message(worker)
        yield fails(worker)
        yield refuses(worker)
        yield ends(worker)


@contextmanager
def started(desk, address):
    """A Worker, whose servers are its own: the RabbitMQ is a part of that at this Address."""
    dashboard = running.dashboard(address)
    aside = {"dead_letter_exchange": "", "dead_letter_routing_key": REJECTED}
    with (
        own_virtual_host(address, dashboard, **aside) as own,
        own_valkey() as valkey,
        Connection(own.url) as broker,
        valkey.pubsub() as heard,
    ):
        broker.default_channel.queue_declare(REJECTED, durable=True, auto_delete=False)
        heard.psubscribe("*")
        environment = {"CELERY_BROKER_URL": own.url, "CELERY_RESULT_BACKEND": url_of(valkey)}
        with Program(FILE, PREDICT_SECONDS=str(SECONDS), **environment) as program:
            # Not the student's app: with its settings, Celery may read what is no result again and again, for ever.
            backend = RedisBackend(app=Celery("check", set_as_current=False), url=url_of(valkey))
            yield Worker(desk, program, broker, own, dashboard, valkey, heard, backend)


@dataclass
class Worker:
    """The student's worker.mjs, and what its servers say of it; backend is how Python sees what it stores."""

    desk: Desk
    program: Program
    broker: Connection
    address: Address
    dashboard: str
    valkey: redis.Redis
    heard: redis.client.PubSub
    backend: RedisBackend

    def send(self, *args, body=None, content_type="application/json", **headers):
        """Send a message that is as Celery's are, unless this says otherwise; its id."""
        task_id = str(uuid.uuid4())
        headers = {"lang": "py", "task": TASK, "id": task_id} | headers
        message = amqp.Message(
            json.dumps([args, {}, {}]) if body is None else body,
            content_type=content_type,
            content_encoding="utf-8",
            delivery_mode=2,
            correlation_id=task_id,
            application_headers={name: value for name, value in headers.items() if value},
        )
        self.broker.default_channel.basic_publish_confirm(message, routing_key=QUEUE)  # it is there now
        return task_id

    def wait(self, fact, what, seconds=SOON):
        """The first true answer of fact(), within these seconds and before the worker ends."""
        found = None

        def look():
            nonlocal found
            found = fact()
            return found or self.program.ended()

        self.desk.wait(look, what, seconds)
        return found

    def consumers(self, queue):
        with suppress(amqp.NotFound):
            return self.broker.default_channel.queue_declare(queue, passive=True).consumer_count
        return 0

    def is_declared_well(self):
        """Raise DeclaredOtherwise when its queue is not as Celery declares it."""
        try:
            self.broker.default_channel.queue_declare(QUEUE, durable=True, auto_delete=False)
        except amqp.PreconditionFailed as error:
            raise DeclaredOtherwise(difference=re.sub(r".*(inequivalent arg '\w+').*: ", r"\1: ", str(error))) from None

    def counts(self):
        """Ready and Unacked of its queue."""
        return totals(self.dashboard, self.address).get(QUEUE, (0, 0))

    def stored(self, task_id):
        """What is stored for a task, as JSON says it; {} when there is nothing, or nothing of this kind."""
        with suppress(ValueError, TypeError):
            found = json.loads(self.valkey.get(key(task_id)))
            return found if isinstance(found, dict) else {}
        return {}

    def status(self, task_id, seconds=SOON):
        """The status with which a task has ended; None when it has not, within these seconds."""

        def ended():
            status = self.stored(task_id).get("status")
            return status if status != "STARTED" else None

        return self.wait(ended, "a result", seconds)

    def was_published(self, task_id):
        while message := self.heard.get_message(ignore_subscribe_messages=True):
            if message["channel"].decode() == key(task_id) and b"SUCCESS" in message["data"]:
                return True
        return False

    def rejected(self):
        """The ids of the messages that it has rejected since the last time."""
        found = []
        while message := self.broker.default_channel.basic_get(REJECTED, no_ack=True):
            found.append(message.properties["correlation_id"])
        return found

    def gives_back(self):
        """Whether its message goes back to the queue: there, a consumer that comes first takes it."""
        came = []
        with self.broker.channel() as channel:
            channel.basic_consume(QUEUE, no_ack=True, callback=came.append, arguments={"x-priority": 10})
            with suppress(TimeoutError):
                while not any(message.delivery_info["redelivered"] for message in came):
                    self.broker.drain_events(timeout=2 * SETTLE)
                return True
        return False

    def was_taken(self):
        """Whether the first message in its queue is back from a consumer."""
        message = self.broker.default_channel.basic_get(QUEUE, no_ack=True)
        return message.delivery_info["redelivered"]

    def stores_nothing(self, what):
        return StoresNothing(what=what, seconds=SOON, printed=self.program.answer())

    def must_live(self, what):
        """Raise DiesOfMessage when it has ended, of a message that says what."""
        if self.program.ended():
            raise DiesOfMessage(what=what, error=self.error() or f"it printed {self.program.answer()}")

    def last_words(self):
        """The last line that it has printed."""
        self.program.ended()
        return printable(repr(self.program.said.rstrip().rpartition("\n")[2]))

    def error(self):
        """The error with which it has ended, and in which of its lines; None without one."""
        self.program.ended()
        error = re.search(r"^\w*Error\b.*$", self.program.said, re.MULTILINE)
        line = re.search(rf"{FILE}:(\d+)", self.program.said)
        return error and printable(error[0]) + (f" ({FILE}, line {line[1]})" if line else "")


def key(task_id):
    return f"celery-task-meta-{task_id}"


def takes(worker):
    """The fact that it takes messages from its queue. Raises why it does not."""
    program = worker.program
    if worker.wait(lambda: worker.consumers(QUEUE), "worker.mjs to take messages", START):
        worker.is_declared_well()
        return f"it takes messages from the queue {QUEUE!r}"
    if program.ended():
        if found := re.search("Cannot find package '(.*?)'", program.said):
            raise NotInstalled(missing=f"the package {found[1]}")
        if program.terminal.exitstatus == NOT_FOUND:
            raise NotInstalled(missing="Node.js")
        if error := worker.error():
            raise NotImportable(file=FILE, error=error)
        raise EndsEarly(printed=program.answer())
    if queues := [queue for queue in totals(worker.dashboard, worker.address) if worker.consumers(queue)]:
        raise TakesElsewhere(queues=" and ".join(map(repr, queues)))
    raise NeverConsumes(printed=program.answer())


def succeeds(worker):
    """The fact that it stores and publishes what Python understands, for a while, and acknowledges the message."""
    task_id = worker.send(GOOD)
    status = worker.status(task_id)
    worker.must_live(OWN)
    text, keys = worker.valkey.get(key(task_id)), worker.valkey.keys()
    if text is None and keys:
        raise StoresElsewhere(found=printable(keys[0].decode(errors="replace")), wanted=key(task_id))
    if text is None:
        raise worker.stores_nothing(OWN)
    result = AsyncResult(task_id, worker.backend)
    try:
        why = f"the status is {status!r}" if status != "SUCCESS" else ""
        result.date_done, result.children, result.traceback, result.get(timeout=1)  # noqa: B018
    except Exception as error:
        why = why or f"it raises {type(error).__name__}: {printable(error)}"
    if why:
        raise NoSuccess(why=why, stored=printable(text.decode(errors="replace")))
    kept = worker.valkey.ttl(key(task_id))
    if kept < 0:
        raise KeptForEver()
    if not worker.wait(lambda: worker.was_published(task_id), "the result to be published"):
        raise TellsNobody()
    acknowledged(worker, OWN)
    return f"{GOOD}: get() in Python returns {printable(result.result)}, which is kept for {kept / 3600:.3g} h"


def acknowledged(worker, what):
    """Raise NeverAcknowledges unless its queue is empty, and nothing is Unacked."""
    done = worker.wait(lambda: worker.counts() == (0, 0), "worker.mjs to acknowledge the message")
    if found := re.search(r"PRECONDITION_FAILED - unknown delivery tag \d+", worker.program.said):
        raise AnswersTwice(words=printable(found[0]))
    if not done:
        raise NeverAcknowledges(what=what, words=worker.last_words())


def keeps_its_message(worker):
    """The fact that it has one message until its result is stored. For a while, Redis stores nothing, and hangs up."""
    what = "a message while Redis did not answer"
    worker.valkey.client_pause(PAUSE, all=False)
    try:
        both = [worker.send(GOOD) for _ in range(2)]

        def tries_to_store():
            return worker.valkey.info("clients")["blocked_clients"]

        def is_wrong():
            ready, unacked = worker.counts()
            return unacked > 1 or ready + unacked < 2

        worker.wait(lambda: tries_to_store() or is_wrong(), "worker.mjs to store a result")
        worker.valkey.client_kill_filter(_type="normal")  # its connection breaks
        worker.wait(lambda: tries_to_store() or is_wrong(), "worker.mjs to try again")
        if worker.desk.wait(is_wrong, "worker.mjs to keep its message", SETTLE):
            ready, unacked = worker.counts()
            raise TakesAhead(unacked=unacked) if unacked > 1 else AcknowledgesFirst()
    finally:
        worker.valkey.client_unpause()
    worker.must_live(OWN)
    for task_id in both:
        if worker.status(task_id) != "SUCCESS":
            raise worker.stores_nothing(what)
    acknowledged(worker, what)
    return "while Redis does not answer: it keeps its message, Unacked, and no other one"


def fails(worker):
    """The fact that Python raises what predict throws."""
    what = "a message for which predict throws an error"
    task_id = worker.send("no payload")
    status = worker.status(task_id)
    worker.must_live(what)
    if status is None:
        raise Requeues(what=what) if worker.gives_back() else worker.stores_nothing(what)
    if status != "FAILURE":
        raise NoFailure(status=status)
    stored = worker.stored(task_id).get("result")
    try:
        error = worker.backend.exception_to_python(stored)
        why = "" if isinstance(error, Exception) and str(error) else "it does not say what was wrong"
        if not is_known(type(error)):
            why = "there is no such class, which `except` could name"
    except Exception as wrong:
        why = f"{type(wrong).__name__}: {printable(wrong)}"
    if why:
        raise UnreadableFailure(stored=printable(json.dumps(stored)), why=why)
    acknowledged(worker, what)
    return f'"no payload": get() in Python raises {type(error).__name__}: {printable(error)}'


def is_known(kind):
    """Whether there is such a class: Celery makes one, which nobody can name, where there is none."""
    return getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind


def refuses(worker):
    """The fact that it rejects what it cannot do, and goes on. All of that waits in its queue, and then a good one."""
    wrong = {
        "a message for the task my_ml_app.predict": {"task": "my_ml_app.predict"},
        "a message that says that it is pickle": {"content_type": "application/x-python-serialize"},
        "a message whose body is not JSON": {"body": "Is it true?"},
        "a message whose body is not a list of three": {"body": json.dumps(GOOD)},
        "a message without an id": {"id": None},
    }
    sent = {what: worker.send(GOOD, **how) for what, how in wrong.items()}
    expired = worker.send(GOOD, expires=PAST)
    last, rejected = worker.send(GOOD), []

    def is_over():
        """It has done the last one, or goes round: that costs time, and is seen soon."""
        return worker.stored(last).get("status") or worker.program.said.count("\n") > FLOOD

    def all_are():
        rejected.extend(worker.rejected())
        return set(rejected) >= set(sent.values())

    worker.wait(is_over, "worker.mjs to reject what it cannot do")
    worker.desk.wait(all_are, "RabbitMQ to put aside what is rejected", SETTLE)
    for what, task_id in sent.items():
        if task_id not in rejected:
            raise why_not_rejected(worker, what, task_id)
    if worker.stored(expired).get("status") == "SUCCESS":
        raise PredictsExpired()
    if worker.stored(last).get("status") != "SUCCESS":
        raise why_not_rejected(worker, "a message that has expired", expired)
    acknowledged(worker, OWN)
    return f"it rejects what it cannot do, {len(sent)} messages, does not predict what has expired, and goes on"


def why_not_rejected(worker, what, task_id):
    """What it did with a message instead."""
    worker.must_live(what)
    if worker.gives_back():
        return Requeues(what=what)
    if worker.status(task_id, 0) or worker.valkey.exists(key("undefined")):
        return PredictsAll(what=what)
    if any(worker.counts()):
        return LeavesUnacked(what=what, words=worker.last_words())
    return AcknowledgesAll(what=what)


def ends(worker):
    """The fact that it finishes what runs after SIGTERM, and then ends."""
    task_id, _ = worker.send(GOOD), worker.send(GOOD)
    worker.wait(lambda: worker.counts() == (1, 1), "worker.mjs to take a message")
    worker.program.terminal.kill(signal.SIGTERM)
    worker.desk.wait(worker.program.ended, "worker.mjs to end", SOON)
    if worker.program.ended():
        worker.desk.wait(lambda: not worker.counts()[1], "RabbitMQ to see that", SOON)
    ready, unacked = worker.counts()
    if worker.stored(task_id).get("status") != "SUCCESS":
        raise DiesAtOnce()
    if ready + unacked == 2:
        raise AcknowledgementLost()
    if ready == 0 or worker.was_taken():
        raise TakesOn()
    if not worker.program.ended():
        raise NeverEnds(seconds=SOON)
    return "after SIGTERM: it finishes its prediction, leaves the next message in the queue, and ends"
