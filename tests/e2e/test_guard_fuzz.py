"""guard.py against what hypothesis thinks of: LAB_FUZZ messages to each broker; 100 without it, 10,000 are many."""

import json
import os
import uuid
import zlib
from collections import Counter
from statistics import median

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from e2e.guarded import a_guarded_worker

NUMBER = int(os.environ.get("LAB_FUZZ", "100"))
LARGE = 10_000_000  # bytes
PREDICT = "my_ml_app.predict"
VALID = {"id": "a new one", "task": PREDICT}

odd = some.sampled_from(["", "x", "5", "utf-8", "zlib", "9999-12-31T23:59:59", "0001-01-01T00:00:00+23:59", PREDICT])
texts = some.text(max_size=40) | odd
numbers = some.integers(-(2**63), 2**63 - 1) | some.floats() | some.sampled_from([0, -1, 1e-9, 1e300, 2**62])
values = some.recursive(
    some.none() | some.booleans() | numbers | texts,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(texts, inner, max_size=4),
    max_leaves=6,
)
FIELDS = [
    *("id", "task", "lang", "root_id", "parent_id", "group", "group_index", "meth", "shadow", "eta", "expires", "utc"),
    *("retries", "timelimit", "argsrepr", "kwargsrepr", "ignore_result", "stamped_headers", "stamps", "compression"),
    *("args", "kwargs", "callbacks", "errbacks", "chain", "chord", "origin", "redelivered", "replaced_task_nesting"),
    *("lost-processes", "unreadable", "dead-reason", "x-death", "x-delivery-count"),
]
fields = some.dictionaries(some.sampled_from(FIELDS) | texts, values, max_size=4)
bases = some.sampled_from([VALID, VALID, {}, {"task": PREDICT}])
headers = some.builds(lambda base, more: base | more, bases, fields)

kinds = some.sampled_from(["application/json", "application/json", None, "", "application/data", "text/plain", "json"])
properties = some.fixed_dictionaries(
    {},
    optional={
        "content_type": kinds | some.text(max_size=60),
        "content_encoding": some.sampled_from(["utf-8", "binary", "utf-16", "rot13", "base64", "", None]) | texts,
        "priority": some.integers(0, 255),
        "delivery_mode": some.integers(1, 2),  # RabbitMQ refuses any other
        "correlation_id": texts,
        "reply_to": texts,
        "expiration": some.just("60000"),
        "message_id": texts,
        "type": texts,
        "app_id": texts,
    },
)

call = some.tuples(some.lists(values, max_size=2), some.dictionaries(texts, values, max_size=2), fields)
as_json = (call | values | some.lists(values, max_size=5) | headers).map(lambda body: json.dumps(body).encode())
SHAPES = {
    "text": lambda size: b'[["' + b"x" * size + b'"], {}, {}]',
    "deep": lambda size: b"[" * size,
    "deep dictionaries": lambda size: b'{"x":' * (size // 5),
    "many": lambda size: b"[" + b"[]," * (size // 3) + b"[]]",
    "number": lambda size: b"9" * size,
    "no UTF-8": lambda size: b"\xff" * size,
    "bomb": lambda size: zlib.compress(bytes(size * 10)),
}
large = some.tuples(some.sampled_from(list(SHAPES)), some.integers(1, LARGE) | some.just(LARGE))  # too large to print


def seldom_large(bodies):
    return some.integers(0, 49).flatmap(lambda number: bodies if number else large)


messages = some.tuples(some.just("message"), headers, seldom_large(as_json | some.binary(max_size=99)), properties)

route = some.fixed_dictionaries({"exchange": some.just("") | values, "routing_key": some.just("celery") | values})
envelope = some.fixed_dictionaries(
    {},
    optional={
        "body": values | some.just("e30="),
        "headers": headers | values,
        "content-type": kinds | values,
        "content-encoding": some.just("utf-8") | values,
        "properties": values
        | some.fixed_dictionaries(
            {},
            optional={
                "delivery_tag": some.just("x") | values,
                "delivery_info": route | values,
                "body_encoding": some.just("base64") | values,
                "priority": values,
            },
        ),
    },
)
garbage = some.binary(max_size=99) | (envelope | values).map(lambda text: json.dumps(text).encode())
raw = some.tuples(some.just("garbage"), seldom_large(garbage))
events = some.tuples(some.just("event"), as_json | some.binary(max_size=99))


@pytest.fixture(scope="module", params=["classic", "quorum", "valkey"])
def guarded(request, tmp_path_factory):
    return a_guarded_worker(request, tmp_path_factory)


@pytest.mark.timeout(3600)
def test_whatever_comes_the_worker_goes_on(guarded, record_property):
    """A prediction is asked for after each four. How long one waits is told, and decides nothing; so is the processor
    time that the worker's main process spent meanwhile, which is the same on a busy machine."""
    waits, sent = [], Counter()
    anything = some.one_of(messages, messages, messages, raw if guarded.redis else messages, events)

    @settings(
        max_examples=NUMBER // 4,
        derandomize="LAB_FUZZ" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(some.lists(anything, min_size=4, max_size=4))
    def fuzz(four):
        if guarded.worker.poll() is not None:  # a shorter example may end it too
            guarded.start()
        before = guarded.processor_time()
        for kind, *parts in four:
            sent[kind] += send(guarded, kind, *parts)
        wait = guarded.done(guarded.valid())
        waits.append((guarded.processor_time() - before, wait, repr(four)[:300]))
        sent["dead"] += guarded.drain()

    fuzz()
    told = {
        "sent": dict(sent),
        "seconds, half of them": round(median(wait for _, wait, _ in waits), 3),
        "seconds, the longest": round(max(wait for _, wait, _ in waits), 3),
        "processor seconds, the most": sorted(waits, reverse=True)[:3],
    }
    for name, value in told.items():
        record_property(name, value)
        print(f"{name}: {value}")


def send(guarded, kind, *parts):
    """Send what hypothesis thought of. Whether RabbitMQ took it."""
    if kind == "message":
        head, body, more = parts
        head = {name: str(uuid.uuid4()) if value == "a new one" else value for name, value in head.items()}
        return guarded.send_or_not(head, made(body), **more)
    if kind == "garbage":
        guarded.raw(made(*parts))
    else:
        guarded.event(*parts)
    return True


def made(body):
    return body if isinstance(body, bytes) else SHAPES[body[0]](body[1])
