"""What the desk makes of what it finds, without servers."""

from types import SimpleNamespace

import pytest
from kombu.message import Message

from lab.course.exercise import load
from lab.live.history import History
from lab.paths import EXERCISES
from lab.probe.address import Address
from lab.probe.queue import flaw, in_short
from lab.probe.workers import Worker
from lab.run import running

TASK = {"task": "my_ml_app.predict", "id": "1"}
GOOD = "[[], {}, {}]"
JSON = "application/json"


@pytest.mark.parametrize(
    "body, content_type, headers, found",
    [
        (GOOD, None, TASK, "It has no content type."),
        ("hello", None, TASK, "It has no content type."),
        (GOOD, JSON, {"task": "my_ml_app.predict"}, "It has no header id"),
        (GOOD, JSON, {"task": ["predict"], "id": "1"}, "Its task is ['predict']"),
        ('[{"message": "hi"}]', JSON, TASK, "Its body is not a list of three"),
        ('{"message": "hi"}', JSON, TASK, "Its body is not a list of three"),
        ("", JSON, TASK, "Its body is empty."),
        (GOOD, JSON, TASK, None),
        ("hello", JSON, TASK, None),
        ("hello", JSON, {"task": "my_ml_app.predict"}, None),
        ("hello", None, {}, None),
        ("hello", "text/plain", {}, None),
        ('{"message": "hi"}', JSON, None, None),
        (GOOD, JSON, {"id": "1"}, None),
    ],
)
def test_what_ends_a_worker_is_told_from_what_it_throws_away(body, content_type, headers, found):
    """As a worker of Celery 5.7 did with RabbitMQ 3.10."""
    message = Message(body=body, content_type=content_type, headers=headers)
    assert (flaw(message) or "").startswith(found or "") and bool(flaw(message)) == bool(found)


def test_a_message_is_shown_as_one_line_that_does_nothing_to_a_terminal():
    assert in_short(b"a\x1b[2Jb\nc") == r"'a\x1b[2Jb\nc'"
    assert len(in_short("x" * 1000)) < 70


def burst(number, seconds, size, task="burst-1"):
    """What exercise 08 makes of a record: so many predictions of so many seconds, and a pool that grew to this size."""
    history = History()
    history.note({"time": 100, "fact": "pool", "worker": "w", "processes": [1, 2]})
    for count in range(number):
        told = {"id": f"{task}-{count}", "worker": "w"}
        history.note({"time": 101, "fact": "started", **told})
        history.note({"time": 101 + seconds, "fact": "succeeded", "runtime": seconds, **told})
    history.note({"time": 102, "fact": "pool", "worker": "w", "processes": list(range(size))})
    worker = SimpleNamespace(name="w", started=99)
    return load(EXERCISES / "08_autoscale" / "check.py").SeenBurst(worker, history)


@pytest.mark.parametrize(
    "number, seconds, size, why",
    [
        (5, 1, 5, "5 predictions do not need more"),
        (15, 0.01, 4, "a prediction took 0.01 s"),
        (15, 1, 4, "they came one after the other"),
    ],
)
def test_why_a_pool_did_not_grow_to_ten(number, seconds, size, why):
    found = burst(number, seconds, size)
    assert (found.number, found.size) == (number, size)
    assert found.why.startswith(why)


def test_what_a_check_has_sent_is_no_burst_of_the_students():
    with pytest.raises(ValueError):
        burst(10, 10, 10, task="check-1")


def test_another_broker_than_rabbitmq_has_no_dashboard():
    assert [running.dashboard(Address(url)) for url in ("memory://", "redis://localhost:1/0")] == [None, None]


@pytest.mark.parametrize(
    "pool, size, words",
    [
        ({"processes": [7, 8], "max-concurrency": 10}, 2, "2 pool processes"),
        ({"max-concurrency": 4, "threads": 1}, 4, "4 threads"),
        ({}, 0, "no pool process yet"),
        ({"processes": [6]}, 1, "without a pool"),
    ],
)
def test_the_size_of_a_pool_of_processes_or_threads(pool, size, words):
    worker = Worker("celery@vm", {"pid": 6, "pool": pool}, [], [], 0)
    assert (worker.size, worker.pool) == (size, words)
