"""Events of whatever form, sent through a broker in this process, to what follows and shows them."""

import io
import json
import os
import threading
import time
from types import SimpleNamespace

import pytest
from celery import Celery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from rich.console import Console

from lab.live.events import hearing
from lab.live.follow import Follower
from lab.live.history import History
from lab.live.numbers import Numbers
from lab.live.picture import rows
from lab.live.view import as_line, as_screen
from lab.probe.connection import ONCE

ODD = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.floats(),
    some.sampled_from([10**400, "x" * 10_000, "\x1b[31m[/]$x$", "\ud800", [], {}, [{}], time.time(), "1", "one@here"]),
)


KINDS = ["sent", "received", "started", "succeeded", "failed", "retried", "rejected", "revoked", "counts", "asked", "x"]
TYPES = [f"task-{kind}" for kind in KINDS] + ["worker-online", "worker-offline", "worker-heartbeat", "lab-listens", ""]
RIGHT = {"uuid": "1", "hostname": "one@here", "timestamp": time.time(), "requeue": True, "runtime": 1.5, "queue": "q"}
FIELDS = [*RIGHT, "pid", "exception", "clock", "utcoffset", "mark"]
ABSENT = object()
CHANGE = some.tuples(some.sampled_from([*FIELDS, "type"]), ODD | some.just(ABSENT))


def with_changes(kind, *changes):
    event = RIGHT | {"type": kind} | dict(changes)
    return {name: value for name, value in event.items() if value is not ABSENT}


EVENT = some.builds(with_changes, some.sampled_from(TYPES), CHANGE, CHANGE) | ODD


@pytest.fixture(scope="module")
def watched():
    """A Follower of an app whose broker is in this process, and what sends to it as whoever may send messages can."""
    patch = pytest.MonkeyPatch()
    patch.setitem(ONCE, "polling_interval", 0.002)  # seconds from one look for a message to the next
    app = Celery("my_ml_app", broker="memory://", set_as_current=False)
    follower, heard = Follower(app, lambda: None), threading.Event()

    def note(event):
        heard.set() if event["type"] == "last" else follower._note(event)

    def send(*bodies, **options):
        heard.clear()
        exchange, last = "celeryev", {"type": "last", "hostname": "a@b", "timestamp": time.time()}
        for body in (*bodies, last):
            producer.publish(body, exchange=exchange, routing_key="x", **(options if body is not last else {}))
        assert heard.wait(10)
        return list(follower.facts())

    with hearing(app, note, follower._could_not_read), app.connection() as connection:
        producer = connection.Producer(serializer="json")
        yield SimpleNamespace(send=send, follower=follower, connection=connection)
    patch.undo()


@settings(max_examples=100 if os.environ.get("CI") else 20, deadline=None, suppress_health_check=list(HealthCheck))
@given(some.lists(EVENT, min_size=100, max_size=100))
def test_thousands_of_events_that_nobody_should_send(watched, events):
    """Each is taken, passed over, or counted as one that could not be read; nothing that is shown fails."""
    history = History()
    for fact in watched.send(events):
        history.note(json.loads(json.dumps(fact)))
    recording = SimpleNamespace(history=history, take=lambda: history.ended)
    numbers = Numbers(recording)
    numbers.look()
    screen = io.StringIO()
    Console(file=screen, force_terminal=True, width=80).print(as_screen(numbers, "here", 1))
    assert "\x1b[31m[/]" not in screen.getvalue() + as_line(numbers)


def test_messages_that_are_no_events(watched):
    before = watched.follower._unread
    watched.send("text", None, 7, [], [[1]], {"type": "task-rejected", **RIGHT, "requeue": "yes"})
    watched.send(b"\xff{", b"", content_type="application/json", content_encoding="utf-8")
    watched.send(b"x", content_type="application/x-python-serialize", content_encoding="binary")
    watched.send(b"x", content_type="application/json", content_encoding="no-such")
    assert watched.follower._unread - before >= 8
    event = RIGHT | {"type": "task-started", "timestamp": time.time()}
    assert [fact["fact"] for fact in watched.send(event)] == ["started"]


def test_a_worker_that_sends_events_and_answers_nothing(monkeypatch):
    """As one in another language does: it is shown, with what it runs, and gone when it says so, or is silent."""
    follower = Follower(Celery("my_ml_app", broker="memory://", set_as_current=False), lambda: None)
    monkeypatch.setattr(follower, "_answers", lambda *_: {})
    monkeypatch.setattr(follower, "_switch_events_on", lambda *_: [])
    history, start = History(), time.time()

    def at(seconds, kind=None, worker="node@here", **fields):
        """Let time pass; then an event comes, and a round of questions that nobody answers."""
        monkeypatch.setattr(time, "time", lambda: start + seconds)
        if kind:
            follower._note({"type": kind, "hostname": worker, "timestamp": start + seconds} | fields)
        follower._ask(None)
        for fact in follower.facts():
            history.note(json.loads(json.dumps(fact)))

    def screen():
        numbers, shown = Numbers(SimpleNamespace(history=history, take=lambda: [])), io.StringIO()
        Console(file=shown, width=80).print(as_screen(numbers, "here", 1))
        return shown.getvalue()

    at(0, "worker-online")
    at(1, "task-received", uuid="1")
    at(1.5, "task-started", uuid="1")
    assert not history.pools and len(history.running) == 1
    at(4, "worker-heartbeat")
    assert history.pools == {"node@here": []}
    assert "node@here" in screen() and "answers nothing, 1 busy" in screen() and "No worker" not in screen()
    at(5, "task-succeeded", uuid="1", runtime=3.5)
    assert [[row.works[0].attempt.id for row in those] for those in rows(history).values()] == [["1"]]
    assert "answers nothing, 0 busy" in screen()
    at(6, "worker-offline")
    assert not history.pools and history.incidents[-1][2] == "node@here ended"
    at(10, "task-started", uuid="2", worker="other@here")
    at(14)
    assert history.pools == {"other@here": []}
    at(26)
    assert not history.pools and history.incidents[-1][2] == "other@here was lost"
    assert [one.outcome for one in history.ended] == ["succeeded", "lost"]
