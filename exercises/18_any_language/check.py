"""Type into each producer that the student has written in another language, and look at what arrives in RabbitMQ.

The messages go into an empty virtual host of the check's own, and the result is one that the check has stored.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from urllib.parse import quote

import amqp
from celery import Celery
from celery.backends.redis import RedisBackend
from kombu import Connection

from lab.course.kit import (
    TASK,
    Address,
    Desk,
    NoRabbit,
    NotImportable,
    Program,
    Wrong,
    counted,
    findings,
    free_port,
    own_valkey,
    own_virtual_host,
    printable,
    running,
    url_of,
)

STUBS = Path(__file__).parent / "stub"
QUEUE = "celery"
LINES = "hello", 'Grüße: "日本\\n" 🎉, {"a": 1}?'
PREDICTION = "question"
START = 5  # seconds until a program asks for the first message
SOON = 8  # seconds until it has said what became of a message: it may wait 5 for RabbitMQ
LINES_OF_A_SENTENCE = 3  # at most, when an error is caught
NOTHING = r"\b(?:undefined|null|nil|NoneType)\b|^None$"  # as languages call it; a sentence has other words
SHOWN = 100  # characters of what a program says
ARRIVES = 2  # seconds until a message is in its queue, when a program has said that it is sent
END = 4  # seconds until it has ended
DEADLINE = 90  # for several programs, and more than one that waits
DONE = "the check has seen enough"


class NothingWritten(Wrong):
    """The producers in other languages are as you got them: {files}."""

    next = """Fill in the one whose language you like best. Or write one in another language, called use_ml_app.rb for
        example: its first line begins with `#!` and says what runs it"""


class CannotRun(Wrong):
    """{file} does not run: {error}."""

    next = """Start it yourself, and see what it says. Its packages may be missing: in your folder `npm install` for
        Node.js; `sudo apt install php-cli php-amqplib php-redis` for PHP. Does it say `\\r`? Then its lines end as on
        Windows: `sed -i 's/\\r$//'`, and the name of the file, mends that"""


class NothingArrives(Wrong):
    """The line {line!r} was typed, but {file} put no message into the queue 'celery'. It printed {said}."""

    next = """Does that name an error? Then begin there. The check tells it where RabbitMQ is, in CELERY_BROKER_URL (for
        curl: RABBITMQ_API, RABBITMQ_VHOST): use these. Publish to the exchange "" (the API calls it amq.default), with
        the queue's name as routing key"""


class OtherQueue(Wrong):
    """{file} puts its messages into the queue {queue!r}, where no worker looks for them."""

    next = 'With the exchange "", the routing key is the name of the queue: workers take from `celery`'


class EndsAfterOne(Wrong):
    """{file} ended after its first message, but nobody typed `exit`."""

    next = "Put asking and sending into a loop"


class NoContentType(Wrong):
    """The message from {file} does not say that it is JSON. {found}."""

    next = "Set the property content type to exactly that: other messages are not read, or end the worker"


class OtherBody(Wrong):
    """The body of the message from {file} is {body}. {found}."""

    next = """A body is a JSON list of three: the task's arguments, which are a list; its named arguments, a dictionary;
        and what should follow, a dictionary too"""


class ListForDictionary(Wrong):
    """The body of the message from {file} is {body}. {found}."""

    next = """An empty dictionary has curly brackets in JSON. In PHP, an empty array becomes a list there, and `new
        stdClass` becomes a dictionary"""


class OtherPayload(Wrong):
    """For the typed line {line!r}, {file} sends {sent}, but predict wants {wanted}."""

    next = "The payload is a dictionary, the only one of the arguments: its text stands under the key message"


class DamagedText(Wrong):
    """{line!r} was typed, and {file} sent {sent}."""

    next = """A body is UTF-8, and JSON has rules for quotes, backslashes and control characters. Let a JSON library
        write it; where there is none, write each character as its number: `\\u00fc` is an ü"""


class OtherTask(Wrong):
    """{file} asks for the task {task!r}, but the worker knows 'my_ml_app.predict'."""

    next = "The name of a task is its module, a dot, and its function. It stands in the header task"


class NoId(Wrong):
    """The message from {file} has no id that is a text. {found}."""

    next = """The result will be stored under it. Make a text that nobody else makes, such as a UUID, and put it into
        the header id"""


class SameId(Wrong):
    """{file} gave two messages the same id, {id}: the second result takes the place of the first."""

    next = "Make the id where the message is made, anew for each one"


class NotPersistent(Wrong):
    """The message from {file} is not kept on disk. {found}."""

    next = "Set the delivery mode; amqplib calls it `persistent`"


class Flawed(Wrong):
    """A worker would not run the message from {file}. {found}."""

    next = """`lab xray` shows every part of the next message. `task` and `id` are headers; leave out what you do not
        need"""


class Twice(Wrong):
    """{line!r} was typed once, and {file} sends it twice."""

    next = "Publish once for each line, and wait for the confirmation of that one"


class OtherId(Wrong):
    """{file} printed {said}, but its message has the id {id}: who asks for the result needs that one."""

    next = "Print the id that stands in the header"


class NeverExits(Wrong):
    """{file} does not end after {typed}."""

    next = "Two things end the loop: the line `exit`, and the end of the input"


class DiesAtEnd(Wrong):
    """At the end of the input (Ctrl-D), {file} ends with an error: {error}."""

    next = "At the end, your language's way to read a line returns something that is not a text. Leave the loop then"


class Vanishes(Wrong):
    """There was no queue 'celery', so RabbitMQ dropped the message, and {file} said {said}."""

    next = """A worker makes the queue when it first starts. Before you publish, ask whether it is there (`checkQueue`;
        `queue_declare` with `passive`; curl gets `"routed":false`), or declare it as Celery does: durable"""


class DeclaredOtherwise(Wrong):
    """{file} makes the queue 'celery' itself, and not as Celery does: {difference}. No worker could start any more."""

    next = "Declare it durable, without auto-delete and without arguments. Or only ask whether it is there"


class NotConfirmed(Wrong):
    """RabbitMQ refused a message, as it does when a queue is full, and {file} said {said}."""

    next = """Sent is not arrived. Switch confirms on for the channel, and wait for the confirmation before you say
        `Sent`: `createConfirmChannel` and `waitForConfirms`; `confirm_select`, `set_nack_handler` and
        `wait_for_pending_acks`; curl has it in the answer"""


class Crashes(Wrong):
    """{when}, and {file} ended with an error: {error}."""

    next = "Catch the error, and say in a sentence that the message was not sent, and why. Then ask for the next one"


class NothingSaid(Wrong):
    """{when}, and {file} said {said}."""

    next = "Whoever types has to know that this message was not sent, and why: say so in a sentence"


class NotYet(Wrong):
    """Nothing was stored under an id yet, and `{file} ID` {does}."""

    next = """Look once, and whether there is anything, before you use it. Nothing there is no error: it waits, it runs,
        or nobody has sent it. Say so"""


class OtherKey(Wrong):
    """`{file} ID` asked the result backend for {key!r}, where no result is."""

    next = "A worker stores the result under `celery-task-meta-` and the id of the task"


class NoResult(Wrong):
    """A worker had stored that the prediction is 'question', and `{file} ID` printed {said}."""

    next = """What is stored is JSON: its `status` is the state, its `result` what predict returned. Redis is where
        CELERY_RESULT_BACKEND says"""


RECOGNISES = (
    NoRabbit,
    NothingWritten,
    CannotRun,
    NothingArrives,
    OtherQueue,
    EndsAfterOne,
    NoContentType,
    OtherBody,
    ListForDictionary,
    OtherPayload,
    DamagedText,
    OtherTask,
    NoId,
    SameId,
    NotPersistent,
    Flawed,
    Twice,
    OtherId,
    NeverExits,
    DiesAtEnd,
    Vanishes,
    DeclaredOtherwise,
    NotConfirmed,
    Crashes,
    NothingSaid,
    NotYet,
    OtherKey,
    NoResult,
)
KINDS = {"content type": NoContentType, "id": NoId, "delivery mode": NotPersistent}  # of what findings() finds


def check(desk: Desk) -> Iterator[str]:
    files = written(desk.folder)
    product, broker = desk.rabbitmq()
    yield f"broker: {product} at {broker}, in a virtual host of the check's own"
    place = broker, running.dashboard(broker)
    refusing = {"max_length": 0, "overflow": "reject-publish"}
    with own_valkey() as valkey, own_virtual_host(*place) as empty, own_virtual_host(*place, **refusing) as full:
        with Queues(full) as queues:
            queues.declare()
        with Queues(empty) as queues:
            for file in files:
                producer = Producer(desk, file, valkey, place[1])
                yield from sends(producer, queues)
                yield from says_what_it_cannot(producer, queues, full)
                yield from reads(producer, valkey)


def sends(producer, queues):
    """What arrives when lines are typed."""
    file, ids = producer.file, []
    queues.declare()
    with producer.started(queues.address) as one:
        for line in LINES:
            if one.ended():
                raise EndsAfterOne(file=file) if ids else CannotRun(file=file, error=error(one))
            said = producer.type(one, line)
            if not (message := producer.desk.wait(queues.take, "the message to arrive", ARRIVES)):
                raise nothing_arrives(producer, queues, one, line)
            yield f"{file}, typed {line!r}: {judged(file, message, line)}"
            ids.append(message.headers["id"])
            if ids.count(ids[-1]) > 1:
                raise SameId(file=file, id=ids[-1])
            producer.knows(ids[-1], said)
            if queues.length():
                raise Twice(file=file, line=line)
        one.type("exit")
        if not producer.desk.wait(one.ended, f"{file} to end", END):
            raise NeverExits(file=file, typed="`exit`")
    yield f"{file}: it printed the id of each message, and `exit` ended it"


def says_what_it_cannot(producer, queues, full):
    """What it says without a queue, when it is refused, without RabbitMQ, and with a wrong password."""
    file, line = producer.file, LINES[0]
    queues.delete()
    with producer.started(queues.address) as one:
        said = producer.type(one, line)
        if producer.desk.wait(queues.length, "the message to arrive", ARRIVES if producer.believes(said) else 0):
            queues.declared_by(file)
            said = "it makes one, as Celery does"
        elif producer.believes(said):
            raise Vanishes(file=file, said=said)
        else:
            said = producer.admits(one, said, "There is no queue 'celery'")
        yield f"{file}, without a queue: {said}"
        if not one.ended():
            at_end_of_input(producer, one)
    with producer.started(full) as one:
        said = producer.type(one, line)
        if producer.believes(said):
            raise NotConfirmed(file=file, said=said)
        yield f"{file}, refused: {producer.admits(one, said, 'RabbitMQ refuses the message')}"
    nowhere = f"127.0.0.1:{free_port()}"
    user, there = quote(full.user, safe=""), f"{full.host}:{full.port}/{full.virtual_host}"
    away = Address(f"amqp://{user}:{quote(full.password, safe='')}@{nowhere}//")
    with producer.started(away, f"http://{nowhere}") as one:
        said = producer.type(one, line)
        yield f"{file}, no RabbitMQ: {producer.admits(one, said, 'Nobody listens where RabbitMQ should be')}"
    with producer.started(Address(f"amqp://{user}:wrong@{there}")) as one:
        said = producer.type(one, line)
        yield f"{file}, wrong password: {producer.admits(one, said, 'RabbitMQ refuses the password')}"


def reads(producer, valkey):
    """What it says of an id, before a result is stored under it and afterwards."""
    file, backend = producer.file, RedisBackend(app=Celery("check", set_as_current=False), url=producer.results)
    said = producer.look()
    if re.search(NOTHING, said):
        raise NotYet(file=file, does=f"says {said}")
    yield f"{file} ID, nothing stored: {said}"
    backend.mark_as_done(producer.id, {"message": LINES[1], "prediction": PREDICTION, "process": 4711})
    with valkey.monitor() as monitor:
        said = producer.look()
        valkey.echo(DONE)
        asked = [one["command"] for one in takewhile(lambda one: DONE not in one["command"], monitor.listen())]
    key = backend.get_key_for_task(producer.id).decode()
    if PREDICTION not in said:
        keys = [found[1] for one in asked if (found := re.match(r"(?:GET|MGET|EXISTS|TYPE) (\S+)", one, re.I))]
        if keys and key not in keys:
            raise OtherKey(file=file, key=keys[-1])
        raise NoResult(file=file, said=said)
    yield f"{file} ID, stored by a worker: {printable(said, SHOWN)}"


class Producer:
    """A program of the student's, with the servers of this check: how to start it, and what it says."""

    def __init__(self, desk, file, valkey, dashboard):
        self.desk, self.file, self.dashboard = desk, file, dashboard
        self.results = url_of(valkey)
        self.id, self._success = None, []

    @contextmanager
    def started(self, broker, dashboard=None):
        """It runs, and has asked for a message or ended."""
        login = f"{quote(broker.user, safe='')}:{quote(broker.password, safe='')}"
        addresses = {
            "CELERY_BROKER_URL": broker.url,
            "RABBITMQ_API": f"{(dashboard or self.dashboard).replace('://', f'://{login}@')}/api",
            "RABBITMQ_VHOST": quote(broker.virtual_host, safe=""),
        }
        with self._program(**addresses) as program:
            self.desk.wait(
                lambda: program.ended() or not (program.said or "\n").endswith("\n"),
                f"{self.file} to ask for a message",
                START,
            )
            yield program

    def look(self):
        """What it says of the last id. Raises NotYet when it does not end well."""
        with self._program(self.id) as program:
            if not self.desk.wait(program.ended, f"{self.file} to say what became of an id", SOON):
                raise NotYet(file=self.file, does=f"has not ended after {SOON} seconds")
            if crashed(program) or not program.said.strip():
                raise NotYet(file=self.file, does=f"ends with an error: {error(program)}")
            return printable(" ".join(program.said.split()), 500)

    def _program(self, *arguments, **addresses):
        try:
            return Program(self.file, *arguments, CELERY_RESULT_BACKEND=self.results, **addresses)
        except NotImportable as fault:
            raise CannotRun(file=self.file, error=str(fault).partition(": ")[2]) from None

    def type(self, program, line):
        """Type a line, and wait until it has said something and asks for the next one, or has ended: what it says."""

        def answers():
            return program.ended() or (self.says(program, line) and program.said.rstrip().endswith(prompt(program)))

        program.type(line)
        self.desk.wait(answers, f"{self.file} to send {line!r}", SOON)
        return self.says(program, line) or "nothing"

    def says(self, program, line):
        """What it has said in whole lines since a line was typed; neither this line nor what asks for the next one."""
        said = program.said[program.heard :]
        whole = said if program.ended() else said.rpartition("\n")[0]
        lines = (one.strip().removeprefix(prompt(program)).strip() for one in whole.splitlines())
        return printable(" ".join(one for one in lines if one and one != line), 500)

    def knows(self, task_id, said):
        """What it has said of a message that arrived has the message's id. Raises OtherId."""
        if task_id not in said:
            raise OtherId(file=self.file, said=said, id=task_id)
        self.id = task_id
        self._success.append(re.escape(said).replace(re.escape(task_id), r"\S+"))

    def believes(self, said):
        """Whether it says what it says of a message that has arrived."""
        return any(re.fullmatch(one, said) for one in self._success)

    def admits(self, program, said, when):
        """What it says when a message could not be sent. Raises Crashes and NothingSaid."""
        if crashed(program):
            raise Crashes(when=when, file=self.file, error=error(program))
        if said == "nothing" or self.believes(said):
            raise NothingSaid(when=when, file=self.file, said=said)
        return printable(said, SHOWN)


def prompt(program):
    """What a program has asked with for the line that was typed last."""
    return program.said[: program.heard].rpartition("\n")[2].strip()


class Queues:
    """The queues in a virtual host. A channel closes when something is not there, so each question has its own."""

    def __init__(self, address):
        self.address = address
        self._connection = Connection(address.url)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.release()

    def declare(self):
        """As a worker does. Raises amqp.PreconditionFailed, and ResourceLocked for an exclusive one."""
        with self._connection.channel() as channel:
            channel.queue_declare(QUEUE, durable=True, auto_delete=False)

    def declared_by(self, file):
        """Raise DeclaredOtherwise unless a worker could declare the queue too."""
        try:
            self.declare()
        except (amqp.PreconditionFailed, amqp.ResourceLocked) as problem:
            found = re.search(r"arg '(.*?)' .*: (received .*)", str(problem))
            difference = f"{found[1]}, {found[2]}" if found else str(problem)
            raise DeclaredOtherwise(file=file, difference=difference) from None

    def delete(self):
        with self._connection.channel() as channel:
            channel.queue_delete(QUEUE)

    def length(self, queue=QUEUE):
        """How many messages wait in it: none where there is no such queue for others."""
        try:
            with self._connection.channel() as channel:
                return channel.queue_declare(queue, passive=True).message_count
        except (amqp.NotFound, amqp.ResourceLocked):
            return 0

    def take(self):
        """The first message, with its body in bytes; None without one."""
        with self._connection.channel() as channel:
            channel.auto_decode = False
            return channel.basic_get(QUEUE, no_ack=True)


def written(folder):
    """The names of the producers in other languages that are not as they were handed out. Raises NothingWritten."""
    stubs = {stub.name: stub for stub in STUBS.glob("use_ml_app.*")}
    files = [one for one in sorted(folder.iterdir()) if re.fullmatch(r"use_ml_app\.(?!py)\w+", one.name)]
    own = [one.name for one in files if is_program(one, stubs) and not is_untouched(one, stubs.get(one.name))]
    if not own:
        raise NothingWritten(files=", ".join(sorted(stubs)))
    return own


def is_untouched(file, stub):
    """Whether a file is as it was handed out, but for the addresses in it."""
    lines, given = (one.read_bytes().splitlines() if one else [] for one in (file, stub))
    same = (line == was or b"localhost" in was or b"%2F" in was for line, was in zip(lines, given, strict=False))
    return len(lines) == len(given) and all(same)


def is_program(file, stubs):
    """Whether a file is to be run: its first line says how, or it may be executed, or it was one when handed out."""
    return file.read_bytes().startswith(b"#!") or os.access(file, os.X_OK) or file.name in stubs


def judged(file, message, line):
    """What a message is, when nothing is wrong with it. Raises the wrong state of the first part that is wrong."""
    properties, headers, body = dict(message.properties), message.headers or {}, bytes(message.body or b"")
    properties.pop("application_headers", None)
    text, call = printable(body.decode(errors="replace")) or "empty", as_json(body)
    for part, sentence, fate in findings(properties, headers, body):
        facts = {"file": file, "found": f"{sentence} {fate}".strip().removesuffix(".")}
        if part == "body":
            has_list = isinstance(call, list) and len(call) == 3 and [] in call[1:]
            raise (ListForDictionary if has_list else OtherBody)(body=text, **facts)
        if part in KINDS or fate:
            raise KINDS.get(part, Flawed)(**facts)
    if headers["task"] != TASK:
        raise OtherTask(file=file, task=headers["task"])
    arguments, named, _ = call
    payload = arguments[0] if arguments else named.get("payload")
    if len(arguments) + len(named) != 1 or not isinstance(payload, dict) or "message" not in payload:
        wanted = json.dumps([[{"message": line}], {}, {}], ensure_ascii=False)
        raise OtherPayload(line=line, file=file, sent=text, wanted=wanted)
    if payload["message"] != line:
        raise DamagedText(line=line, file=file, sent=printable(repr(payload["message"])))
    return f"a task {TASK}, in {counted(len(body), 'byte')} of JSON, kept on disk"


def as_json(body):
    """What a body says; None when it is not JSON."""
    with suppress(ValueError, RecursionError):
        return json.loads(body)
    return None


def nothing_arrives(producer, queues, program, line):
    """Why a line has become no message in the queue: the program has ended, or it does something else, if that is
    found."""
    file, said = producer.file, producer.says(program, line) or "nothing"
    if program.ended():
        return CannotRun(file=file, error=error(program))
    names = producer.desk.on_dashboard(queues.address, "queues", queues.address.virtual_host)
    for name in {queue["name"] for queue in names} - {QUEUE}:
        if queues.length(name):
            return OtherQueue(file=file, queue=name)
    queues.delete()
    with producer.started(queues.address) as again:
        producer.type(again, line)
        queues.declared_by(file)
    return NothingArrives(line=line, file=file, said=said)


def at_end_of_input(producer, program):
    """Type Ctrl-D. Raises NeverExits and DiesAtEnd."""
    program.terminal.sendeof()
    if not producer.desk.wait(program.ended, f"{producer.file} to end", END):
        raise NeverExits(file=producer.file, typed="the end of the input (Ctrl-D)")
    if program.terminal.exitstatus:
        raise DiesAtEnd(file=producer.file, error=error(program))


def crashed(program):
    """Whether a program has ended with an error that nobody has caught: with that come many lines."""
    said = program.said[program.heard :].splitlines()
    return program.ended() and program.terminal.exitstatus != 0 and len(said) > LINES_OF_A_SENTENCE


def error(program):
    """The line that says what is wrong, of those that a program has printed before it ended."""
    lines = [line.strip() for line in program.said[program.heard :].splitlines() if line.strip()]
    for telling in (r"\w*(Error|Exception)\b", r"(?i).*(error|not found|no such|cannot|undefined|exception)"):
        if found := [line for line in lines if re.match(telling, line)]:  # the first is not the code that threw it
            return printable(found[0])
    return printable(lines[-1] if lines else f"it says nothing, exit status {program.terminal.exitstatus}")
