"""What each part of a message is for, measured: exercises/18_any_language/message.md says what workers make of it.

`LAB_WRITE=1 pytest tests/e2e/test_message_parts.py` writes that file anew.
"""

import json
import os
import re
import subprocess
import sys
import uuid
from contextlib import closing

import amqp
import redis
from conftest import ROOT

from e2e.student import SECONDS, eventually
from lab.probe.protocol import ENDS, REFUSED, fate, findings

FILE = ROOT / "exercises" / "18_any_language" / "message.md"
HEAD = """# The parts of a message

What each part is for, and what a worker of Celery 5.7 makes of a message without it, or with a wrong one. Everything
that is not said to be missing is right, and as Celery itself sends it. `dead` is the queue of `guard.py`.

| part | it is for | sent | a worker | a worker with `guard.py` |
| --- | --- | --- | --- | --- |
"""
NONE = object()
CALL = b'[[{"message": "hi"}], {}, {}]'
PROPERTIES = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "delivery_mode": 2,
    "correlation_id": "1",
    "reply_to": "",
    "priority": 0,
}
HEADERS = {
    "task": "my_ml_app.predict",
    "lang": "py",
    "origin": "1@here",
    "root_id": "1",
    "parent_id": None,
    "group": None,
    "eta": None,
    "expires": None,
    "timelimit": [None, None],
    "retries": 0,
    "ignore_result": False,
    "argsrepr": "()",
    "kwargsrepr": "{}",
    "shadow": None,
    "stamped_headers": None,
    "stamps": {},
}
PARTS = {  # what it is for, and what is sent instead of the right one
    "body": (
        "arguments, keyword arguments, options",
        [b"", b"hi", b'{"message": "hi"}', b'[{"message": "hi"}]', b'[[{"message": "hi"}], {}, "x"]'],
    ),
    "content_type": (
        "how to read the body",
        [NONE, "text/plain", "application/json; charset=utf-8"],
    ),
    "content_encoding": ("the letters of the body; JSON is read as UTF-8", [NONE, "latin-1"]),
    "task": ("which task", [NONE, "my_ml_app.predicted"]),
    "id": ("the result's name", [NONE, 5]),
    "lang": ("for people who look at it", [NONE]),
    "origin": ("for people who look at it", [NONE]),
    "root_id": ("the task that all began with", [NONE, 5]),
    "parent_id": ("the task that sent it", [NONE, 5]),
    "delivery_mode": ("2: it survives a restart of RabbitMQ", [NONE, 1]),
    "correlation_id": ("which result it is, with the result backend rpc://", [NONE, "x"]),
    "reply_to": ("the queue for the result, with rpc://", [NONE, "nobody"]),
    "expires": (
        "after this time, no worker begins it",
        [NONE, "2020-01-01T00:00:00Z", "soon", 60, ""],
    ),
    "eta": ("before this time, no worker begins it", [NONE, "2020-01-01T00:00:00Z", "soon"]),
    "timelimit": ("seconds: when its process is ended, when it is warned", [NONE, 60]),
    "retries": ("how often it was tried before", [NONE, "x"]),
    "ignore_result": ("true: its result is not stored", [NONE, True, "false"]),
    "priority": ("its place in a queue that has priorities", [NONE, 9]),
    "compression": ("how the body is packed", ["zlib", "x"]),
    "argsrepr": ("its arguments, in events and logs", [NONE]),
    "stamped_headers": ("names of headers by which it can be revoked", [NONE, 5]),
}
# The worker is begun by a fork of a process that has imported everything: it starts again in a moment.
PLAIN = """
import os, sys
from my_ml_app import app
app.finalize()
for _ in sys.stdin:
    if not (child := os.fork()):
        app.worker_main([{options}])
    os.waitpid(child, 0)
    print("ended", flush=True)
"""
OPTIONS = ["worker", "-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
CONFIGURATION = """
import os
worker_log_format = "%(levelname)s %(message)s"
if os.environ.get("PLAIN"):
    worker_consumer, imports = "celery.worker.consumer:Consumer", []
"""
NO_RESULT = "predicts, and stores no result"
SAYS = re.compile("^(?:ERROR|CRITICAL) (.*)|^WARNING (Received and deleted.*)", re.MULTILINE)


def message(part, value, task):
    """Body, properties and headers of a message in which one part is not the right one."""
    properties, headers = dict(PROPERTIES), HEADERS | {"id": task}
    if part == "body":
        return value, properties, headers
    those = properties if part in PROPERTIES else headers
    those[part] = value
    if value is NONE:
        del those[part]
    return CALL, properties, headers


class Workers:
    """A worker with guard.py, which takes from the queue celery, and a plain one, which takes from the queue plain."""

    def __init__(self, student):
        self.path, env = student.path, student.env | {"PREDICT_SECONDS": "0"}
        with open(self.path / "celeryconfig.py", "a") as configuration:
            configuration.write(CONFIGURATION)
        options = ", ".join(map(repr, [*OPTIONS, "-Q", "plain", "-n", "plain@here"]))
        (self.path / "plain.py").write_text(PLAIN.format(options=options))
        self.log = open(self.path / "plain.log", "wb")
        self.plain = subprocess.Popen(
            [sys.executable, "plain.py"],
            cwd=self.path,
            env=env | {"PLAIN": "1"},
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
        )
        student.given.append(self.plain)
        guarded = ["celery", "-A", "my_ml_app", *OPTIONS, "-n", "guarded@here"]
        with open(self.path / "guarded.log", "wb") as log:
            student.given.append(subprocess.Popen(guarded, cwd=self.path, env=env, stdout=log, stderr=log))
        self.connection = student.app.connection()
        self.channel = self.connection.default_channel
        for queue in ("plain", "celery", "dead"):
            self.channel.queue_declare(queue, durable=True, auto_delete=False)
        self.results = redis.Redis.from_url(student.results)
        self.runs = False

    def send(self, queue, body, properties, headers):
        copy = amqp.Message(body, application_headers=headers, **properties)
        self.channel.basic_publish_confirm(copy, exchange="", routing_key=queue)

    def prediction(self, queue):
        """Send a prediction; its id."""
        task = str(uuid.uuid4())
        self.send(queue, *message("lang", "py", task))
        return task

    def result(self, task):
        found = self.results.get(f"celery-task-meta-{task}")
        return found and json.loads(found)

    def said(self, since):
        return (self.path / "plain.log").read_bytes()[since:].decode(errors="replace")

    def plainly(self, body, properties, headers):
        """What the plain worker makes of a message, in words."""
        if not self.runs:
            self.plain.stdin.write(b"\n")
            self.plain.stdin.flush()
            self.runs = bool(self.done(self.prediction("plain")))
        since = (self.path / "plain.log").stat().st_size
        self.send("plain", body, properties, headers)
        after = self.prediction("plain")
        eventually(lambda: self.result(after) or "\nended" in self.said(since), "it has made something of it")
        said = self.said(since)
        self.runs = "\nended" not in said
        says = next((one or other for one, other in SAYS.findall(said)), "")
        if not self.runs:
            self.channel.queue_purge("plain")
            return f"**ends**: `{short(says).removeprefix('Unrecoverable error: ')}`"
        has_run = said.count("Ended processing") == 2  # the one after it, too
        return self.outcome(headers.get("id")) or (NO_RESULT if has_run else f"`{short(says)}`")

    def guardedly(self, messages):
        """What the guarded worker makes of each of these messages, in words."""
        for number, (body, properties, headers) in enumerate(messages):
            self.send("celery", body, properties, headers | {"case": number})
        self.done(self.prediction("celery"))
        dead = {}
        while one := self.channel.basic_get("dead", no_ack=True):
            dead[one.headers["case"]] = f"to `dead`: {short(one.headers['dead-reason'])}"
        return [
            dead.get(number) or self.outcome(headers.get("id")) or NO_RESULT
            for number, (_, _, headers) in enumerate(messages)
        ]

    def outcome(self, task):
        """What became of a message, by its result, in words; None without one."""
        if not (found := self.result(task)):
            return None
        if found["status"] == "SUCCESS":
            return "predicts"
        return f"stores {found['status']}: {found['result']['exc_type']}"

    def close(self):
        self.plain.stdin.close()
        self.log.close()
        self.connection.release()
        self.results.close()

    def done(self, task):
        return eventually(lambda: self.result(task), "a prediction is made", SECONDS)


def short(says):
    """A sentence of a worker, without the message that follows in its log, and as every version of Python has it."""
    return re.sub(r", got \d+", "", says.partition(" [type:")[0])


def test_the_table_says_what_workers_make_of_it(with_rabbitmq):
    cases = [(part, value) for part, (_, values) in PARTS.items() for value in values]
    plain, guarded = ([message(*case, f"{who}-{case}") for case in cases] for who in ("plain", "guarded"))
    with closing(Workers(with_rabbitmq)) as workers:
        made = [workers.plainly(*one) for one in plain]
        with_guard = workers.guardedly(guarded)
    lines, last = [], None
    for (part, value), one, plainly, guardedly in zip(cases, plain, made, with_guard, strict=True):
        body, properties, headers = one
        found = fate(findings(properties, headers, body))
        assert (found == ENDS) == plainly.startswith("**ends**"), (part, value, plainly)
        assert found != REFUSED or plainly.startswith("`"), (part, value, plainly)
        name, purpose = ("", "") if part == last else (f"`{part}`", PARTS[part][0])
        lines.append(f"| {name} | {purpose} | {sent(value)} | {plainly} | {guardedly} |\n")
        last = part
    measured = HEAD + "".join(lines)
    if os.environ.get("LAB_WRITE"):
        FILE.write_text(measured)
    assert FILE.read_text() == measured, "LAB_WRITE=1 writes what was measured"


def sent(value):
    """What was sent instead of the right part, in words."""
    if value is NONE:
        return "without it"
    if value == b"":
        return "nothing"
    return f"`{value.decode()}`" if isinstance(value, bytes) else f"`{json.dumps(value)}`"
