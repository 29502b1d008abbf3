"""guard.py: no message ends its worker, none is lost, and the others do not wait for it."""

import json
import subprocess
import sys
import uuid
import zlib
from datetime import datetime
from unittest import mock

import pika
import pytest
from conftest import ROOT

from e2e.guarded import a_guarded_worker

PREDICT = "my_ml_app.predict"
CALL = [[{"message": "hi"}], {}, {}]
SHAPE = "Its body is not a list of three: arguments, keyword arguments, options."
NAMES = "Its id and the name of its task are not both texts."
LIMITS = "Its time limits are not two numbers of seconds."
READING = "No content type says how to read its body."


def headers(**changes):
    return {"id": str(uuid.uuid4()), "task": PREDICT} | changes


def without(name):
    return {key: value for key, value in headers().items() if key != name}


MALFORMED = {
    "no content type": ((headers(), CALL, {"content_type": None}), READING),
    "raw content type": ((headers(), CALL, {"content_type": "application/data"}), READING),
    "pickle": ((headers(), CALL, {"content_type": "application/x-python-serialize"}), "untrusted content"),
    "unknown content type": ((headers(), CALL, {"content_type": "text/x"}), "untrusted content"),
    "no JSON": ((headers(), b"hello", {}), "DecodeError"),
    "no UTF-8": ((headers(), b"\xff", {}), "DecodeError"),
    "deep": ((headers(), b"[" * 100_000, {}), "maximum recursion depth"),
    "empty": ((headers(), b"", {}), SHAPE),
    "null": ((headers(), b"null", {}), SHAPE),
    "number": ((headers(), b"5", {}), SHAPE),
    "text": ((headers(), "text", {}), SHAPE),
    "one part": ((headers(), [[]], {}), SHAPE),
    "four parts": ((headers(), [[], {}, {}, {}], {}), SHAPE),
    "keywords are a list": ((headers(), [[], [1], {}], {}), SHAPE),
    "options are a text": ((headers(), [[], {}, "x"], {}), SHAPE),
    "no headers": (({}, CALL, {}), NAMES),
    "no id": ((without("id"), CALL, {}), NAMES),
    "no task": ((without("task"), CALL, {}), NAMES),
    "id is null": ((headers(id=None), CALL, {}), NAMES),
    "id is a number": ((headers(id=5), CALL, {}), NAMES),
    "id is a list": ((headers(id=["x"]), CALL, {}), NAMES),
    "id is a dictionary": ((headers(id={"x": 1}), CALL, {}), NAMES),
    "task is a list": ((headers(task=["x"]), CALL, {}), NAMES),
    "task is a dictionary": ((headers(task={"x": 1}), CALL, {}), NAMES),
    "unknown task": ((headers(task="x.y"), CALL, {}), "This worker has no task x.y."),
    "limit is a number": ((headers(timelimit=5), CALL, {}), LIMITS),
    "limit is a text": ((headers(timelimit="xy"), CALL, {}), LIMITS),
    "limits are texts": ((headers(timelimit=["x", "y"]), CALL, {}), LIMITS),
    "three limits": ((headers(timelimit=[1, 2, 3]), CALL, {}), LIMITS),
    "limit before now": ((headers(timelimit=[-1, None]), CALL, {}), LIMITS),
    "stamps": ((headers(stamped_headers=5), CALL, {}), "'int' object is not iterable"),
    "eta": ((headers(eta="soon"), CALL, {}), "invalid ETA value 'soon'"),
    "expires": ((headers(expires=[1]), CALL, {}), "invalid expires value [1]"),
    "not compressed": ((headers(compression="bzip2"), b"hello", {}), "It cannot be a task: "),
    "unknown compression": ((headers(compression="x"), CALL, {}), "KeyError: 'x'"),
    "bomb": ((headers(compression="zlib"), zlib.compress(bytes(10**8)), {}), "16777216 bytes"),
    "count": ((headers(**{"lost-processes": "x"}), CALL, {}), "Its header lost-processes is not a number from 0 to 2."),
    "count for ever": ((headers(**{"lost-processes": -(10**9)}), CALL, {}), "is not a number from 0 to 2."),
}
RAW = {
    "empty": (b"", "JSONDecodeError"),
    "no JSON": (b"{", "JSONDecodeError"),
    "no UTF-8": (b"\xff\xfe", "JSONDecodeError"),
    "null": (b"null", "TypeError"),
    "number": (b"5", "TypeError"),
    "list": (b"[]", "TypeError"),
    "text": (b'"x"', "TypeError"),
    "dictionary": (b"{}", "KeyError: 'properties'"),
    "deep": (b"[" * 100_000, "RecursionError"),
    "no tag": (b'{"properties": {}}', "KeyError: 'delivery_tag'"),
    "no route": (b'{"properties": {"delivery_tag": "x"}}', "KeyError: 'exchange'"),
    "route is a list": (b'{"properties": {"delivery_tag": "x", "delivery_info": []}}', "KeyError: 'exchange'"),
    "tag is a number": (
        b'{"properties": {"delivery_tag": 5, "delivery_info": {"exchange": "", "routing_key": "celery"}}}',
        "TypeError",
    ),
    "headers are a text": (b'{"properties": {"delivery_tag": "x"}, "headers": "x"}', "AttributeError"),
    "no base64": (b'{"properties": {"delivery_tag": "x", "body_encoding": "base64"}, "body": "x"}', "Error: "),
    "unknown encoding": (b'{"properties": {"delivery_tag": "x", "body_encoding": "x"}, "body": "x"}', "AttributeError"),
}


# Each worker of pytest that has one of these starts a worker with guard.py: so each is given to one.
CLASSIC, QUORUM, VALKEY = EACH = [
    pytest.param(kind, marks=pytest.mark.xdist_group(f"guard-{kind}")) for kind in ("classic", "quorum", "valkey")
]
on_each, on_rabbitmq, on_valkey = (
    pytest.mark.parametrize("guarded", those, indirect=True, scope="module")
    for those in (EACH, [CLASSIC, QUORUM], [VALKEY])
)


@pytest.fixture(scope="module")
def guarded(request, tmp_path_factory):
    """A worker with guard.py, on each kind of broker and queue."""
    return a_guarded_worker(request, tmp_path_factory)


@on_each
@pytest.mark.parametrize("kind", MALFORMED)
def test_what_cannot_be_a_task_is_dead_and_nothing_else_waits(guarded, kind):
    (head, body, properties), reason = MALFORMED[kind]
    guarded.send(head, body, **properties)
    guarded.done(guarded.valid())
    dead = guarded.next_dead()
    assert reason in dead.headers["dead-reason"] and dead.headers["dead-reason"].endswith(".")
    assert dead.headers["dead-queue"] == "celery" and dead.headers["dead-time"] > 0
    assert {name: dead.headers[name] for name in head if name != "compression"} == {
        name: head[name] for name in head if name != "compression"
    }
    assert dead.content_type == properties.get("content_type", "application/json")
    if kind != "bomb":  # which would be unpacked here
        assert guarded.body(dead) == (body if isinstance(body, bytes) else json.dumps(body).encode())
    if isinstance(head.get("id"), str):
        assert guarded.ended(head["id"])["status"] == "FAILURE"
    guarded.has_one_worker()


@on_valkey
@pytest.mark.parametrize("kind", RAW)
def test_what_is_no_message_in_redis_is_dead(guarded, kind):
    raw, reason = RAW[kind]
    guarded.raw(raw)
    guarded.done(guarded.valid())
    dead = guarded.next_dead()
    assert dead.headers["dead-reason"].startswith("It cannot be read: ") and reason in dead.headers["dead-reason"]
    assert guarded.body(dead) == raw
    guarded.has_one_worker()


@on_rabbitmq
@pytest.mark.parametrize(
    "properties",
    [{"content_type": b"\xff"}, {"correlation_id": b"\xff" * 200}, {"headers": {"when": datetime.now()}}],
    ids=["content type", "correlation id", "header"],
)
def test_properties_that_cannot_be_read_end_no_worker(guarded, properties):
    """py-amqp reads them before anything else does."""
    no_such_date = mock.patch("calendar.timegm", return_value=2**60)
    with pika.BlockingConnection(pika.URLParameters(guarded.student.broker)) as connection, no_such_date:
        connection.channel().basic_publish("", "celery", b"hello", pika.BasicProperties(**properties))
    guarded.done(guarded.valid())
    dead = guarded.next_dead()
    assert dead.headers["dead-reason"].startswith("It cannot be read: ") and dead.body == b"hello"
    guarded.has_one_worker()


@pytest.mark.parametrize(
    "guarded, name, status",
    [
        *(pytest.param(*kind.values, "end_process", 3, marks=kind.marks) for kind in EACH),
        # One of them tells the broker's part; Celery takes 5 seconds for each process.
        *(pytest.param(*VALKEY.values, name, 0, marks=VALKEY.marks) for name in ("leave", "crash")),
    ],
    indirect=["guarded"],
    scope="module",
)
def test_what_ends_its_process_begins_three_times_and_is_dead(guarded, name, status):
    task = guarded.ask(name, status)
    guarded.done(guarded.valid())
    dead = guarded.next_dead()
    assert dead.headers["dead-reason"] == "It has ended 3 processes." and dead.headers["id"] == task
    assert guarded.ended(task)["result"]["exc_message"] == ["It has ended 3 processes."]
    assert guarded.begun(task) == 3
    guarded.has_one_worker()


@on_each
def test_a_memory_error_is_a_failure_and_nothing_more(guarded):
    task = guarded.ask("use_up_memory", 0)
    assert guarded.ended(task)["result"]["exc_type"] == "MemoryError"
    guarded.done(guarded.valid())
    assert not guarded.dead()
    guarded.has_one_worker()


@on_each
def test_what_a_task_rejects_is_dead(guarded):
    task = guarded.ask("refuse", 0)
    dead = guarded.next_dead()
    assert dead.headers["id"] == task and "not mine" in dead.headers["dead-reason"]
    assert guarded.ended(task)["status"] == "FAILURE"


@on_each
def test_malformed_events_end_no_worker(guarded):
    for event in (b"hello", b"[]", b"5", b'{"type": 5}', b'[{"type": "worker-heartbeat"}]', b'{"type": "task-x"}'):
        guarded.event(event)
    guarded.done(guarded.valid())
    guarded.has_one_worker()
    assert "Connection to broker lost" not in guarded.log


@on_rabbitmq
def test_what_rabbitmq_does_not_take_as_it_is_is_dead_all_the_same(guarded):
    """Its headers fill a frame, so there is no room for the reason; and the queue dead has other arguments."""
    guarded.channel.queue_delete("dead")
    guarded.channel.queue_declare("dead", durable=True, auto_delete=False, arguments={"x-max-length": 100})
    guarded.send(headers(much="x" * 130_900), b"hello")
    guarded.done(guarded.valid())
    dead = guarded.next_dead()
    assert dead.headers.keys() == {"dead-reason", "dead-queue", "dead-time"} and guarded.body(dead) == b"hello"
    guarded.channel.queue_delete("dead")
    guarded.has_one_worker()


def test_a_worker_that_is_ending_leaves_the_message_to_another_one():
    """Its pool may be gone: then handling a valid message fails."""
    ending = "from celery.worker import state; state.should_terminate = 0"  # the exit status to come
    bury = "import guard; guard.Consumer.bury(None, None, AttributeError('_processes'))"
    subprocess.run([sys.executable, "-B", "-c", f"{ending}; {bury}"], cwd=ROOT, check=True)
