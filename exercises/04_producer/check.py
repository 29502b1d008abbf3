"""Type into the student's producer, as a person would, and look at what arrives in a broker of the check's own."""

import ast
import base64
import json
from collections.abc import Iterator

from lab.course.kit import (
    TASK,
    Desk,
    NotImportable,
    Program,
    Wrong,
    in_printed_line,
    own_valkey,
    tree,
    url_of,
)

FILE = "use_ml_app.py"
START = 4  # seconds until it asks for the first message: importing Celery takes most of them
SOON = 2.5  # seconds that everything else may take
LINES = "hello", "Is it true?"

SEND = "delay", "apply_async"
WAIT = "get", "wait", "collect"
# Which need a result backend, and do not wait.
ASK = "state", "status", "ready", "result", "info", "successful", "failed"


class NeverAsks(Wrong):
    """use_ml_app.py does not ask for a message: {instead}."""

    next = "Read each line with `input()`, in a loop"


class SendsNothing(Wrong):
    """The line {line!r} was typed, but use_ml_app.py sent no message for it. It printed {printed}."""

    next = """`predict(payload)` runs the function right there. To send a message instead, call a method of predict with
        the payload"""


class OtherTask(Wrong):
    """use_ml_app.py asks for the task {name!r}, but the worker knows 'my_ml_app.predict'."""

    next = "Import predict from the same module as the worker"


class BareString(Wrong):
    """For the typed line {line!r}, use_ml_app.py sends {sent}, not {wanted}."""

    next = 'The payload is a dictionary. The line is its value for the key "message"'


class AsksForResult(Wrong):
    """use_ml_app.py asks what happened to its message: `{asks}` in line {line}. {why}."""

    next = "A producer sends, then takes the next line. Leave this out until exercise 11"


class BlocksForResult(Wrong):
    """use_ml_app.py sent the first message, and does not go on: it waits for the result."""

    next = "`delay()` returns a ticket for the result. Nobody has to wait for it: ask for the next line"


class EndsAfterOne(Wrong):
    """use_ml_app.py ended after its first message, but nobody typed `exit`."""

    next = "Put asking and sending into a loop"


class NeverExits(Wrong):
    """use_ml_app.py does not end after {typed}."""

    next = """Two things must end the loop: the line `exit`, and the EOFError that `input()` raises at the end of the
        input"""


class DiesAtEnd(Wrong):
    """At the end of the input (Ctrl-D), use_ml_app.py ends with a traceback: {error}."""

    next = "`input()` raises EOFError there. Catch it around the loop, so that the program ends without a traceback"


RECOGNISES = (
    NotImportable,
    NeverAsks,
    SendsNothing,
    OtherTask,
    BareString,
    AsksForResult,
    BlocksForResult,
    EndsAfterOne,
    NeverExits,
    DiesAtEnd,
)


def check(desk: Desk) -> Iterator[str]:
    asks = asks_for_result(tree(FILE))
    has_backend = desk.configuration.result_backend
    desk.task  # noqa: B018 - a mistake in my_ml_app.py is not this file's
    if asks and (asks.attr in WAIT or not has_backend):
        why = "That waits for a worker" if has_backend else "There is no result backend to ask"
        raise AsksForResult(asks=f".{asks.attr}", line=asks.lineno, why=why)
    with own_valkey() as broker, producer(broker, has_backend) as one, producer(broker, has_backend) as other:
        begun(desk, one)
        for line in LINES:
            if take(broker):
                raise NeverAsks(instead="it sends one before anybody typed a line")
            one.type(line)
            sent = desk.wait(lambda: take(broker) or one.ended(), f"a message for {line!r}", SOON)
            if not isinstance(sent, list):
                one.raise_its_error()
                if line == LINES[0]:
                    raise SendsNothing(line=line, printed=one.answer())
                raise EndsAfterOne() if one.ended() else BlocksForResult()
            yield f"typed {line!r}: it asks for {right_task(sent[0])} with {right_payload(sent[0], line)}"
        yield "after a message, it takes the next one, and does not wait for a result"
        one.type("exit")
        if not desk.wait(one.ended, f"{FILE} to end", SOON):
            raise NeverExits(typed="`exit`")
        one.raise_its_error()
        begun(desk, other)
        other.terminal.sendeof()
        if not desk.wait(other.ended, f"{FILE} to end", SOON):
            raise NeverExits(typed="the end of input (Ctrl-D)")
        if other.terminal.exitstatus:
            raise DiesAtEnd(error=in_printed_line(other.said) or f"exit status {other.terminal.exitstatus}")
        yield "`exit` ends it, and Ctrl-D too"


def producer(broker, has_backend):
    """The student's producer in a terminal, which sends to the broker of this check."""
    urls = {"CELERY_BROKER_URL": url_of(broker)}
    if has_backend:
        urls["CELERY_RESULT_BACKEND"] = url_of(broker, 1)
    return Program(FILE, **urls)


def begun(desk, program):
    """Wait until the producer shows a prompt, whatever that says. Raises NotImportable and NeverAsks."""

    def asks():
        return program.ended() or not (program.said or "\n").endswith("\n")

    desk.wait(asks, f"{FILE} to ask for a message", START)
    program.raise_its_error()
    if program.ended():
        raise NeverAsks(instead="it ends")


def asks_for_result(source):
    """The first attribute in a syntax tree that asks what happened to a sent message; None without."""

    def is_sent(node):
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SEND

    nodes = list(ast.walk(source))
    kept = [node for node in nodes if isinstance(node, ast.Assign) and is_sent(node.value)]
    names = {target.id for node in kept for target in node.targets if isinstance(target, ast.Name)}
    asking = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr in (*WAIT, *ASK)]
    return next((one for one in asking if is_sent(one.value) or getattr(one.value, "id", None) in names), None)


def right_task(message):
    """The name of the task that a message asks for. Raises OtherTask."""
    name = message["headers"]["task"]
    if name != TASK:
        raise OtherTask(name=name)
    return name


def right_payload(message, line):
    """What a message carries, as JSON. Raises BareString, and NeverAsks for the line before."""
    try:
        args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
        payload = [*args, *kwargs.values(), None][0]
    except ValueError:
        payload = message["content-type"]
    if line != LINES[0] and payload == {"message": LINES[0]}:
        raise NeverAsks(instead=f"it sends {LINES[0]!r} again")
    if not isinstance(payload, dict) or payload.get("message") != line:
        wanted = json.dumps({"message": line})
        raise BareString(line=line, sent=json.dumps(payload), wanted=wanted)
    return json.dumps(payload)


def take(broker):
    """All messages that have arrived, taken out of their queues."""
    return [json.loads(message) for queue in broker.scan_iter(_type="list") for message in broker.lpop(queue, 1000)]
