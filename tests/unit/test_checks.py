"""What checks make of answers that no server gives a student every day: no server is needed here."""

import ast
import time

import httpx
import pytest
from celery import Celery
from conftest import free_port

from lab.course.desk import Desk
from lab.course.exercise import course, load
from lab.course.prediction import Prediction
from lab.fault import Fault
from lab.probe.wait import wait_until
from lab.probe.web import get

CHECKS = {exercise.number: load(exercise.path / "check.py") for exercise in course()}

ODD_PAGES = [
    "",
    "OK",
    "<html>hi</html>",
    "null",
    "[1]",
    "[" * 100_000,
    '{"data": 5}',
    '{"data": [{"hostname": "celery@vm"}]}',
    '{"data": [{"hostname": "celery@vm", "status": true, "active": "x", "worker": "celery@vm"}]}',
    '<p class="broker-url">%%%</p><tr><td>celery</td></tr>',
    '<p class="broker-url">amqp://localhost//</p><tr><td>celery</td><td></td><td></td><td></td><td></td></tr>',
    "process_start_time_seconds abc\n",
    "process_start_time_seconds 1.e+e+e\n",
]


@pytest.mark.parametrize("odd", ODD_PAGES, ids=range(len(ODD_PAGES)))
def test_whatever_flower_says_is_a_fact_or_a_sentence(monkeypatch, odd):
    flower = CHECKS[6]

    class Student(Desk):
        app = queue = "celery"
        flower = "http://localhost:5555"

        def inspect(self, what):
            return {"uptime": 1}

    sent = type("Sent", (), {"id": "check-1"})
    desk = Student()
    monkeypatch.setattr(flower, "get", lambda *_: httpx.Response(200, text=odd))
    monkeypatch.setattr("lab.course.desk.get", lambda *_: httpx.Response(200, text=odd))
    assert desk.workers_in_flower() == {}
    for ask in (
        lambda: flower.broker_of(desk.flower),
        lambda: flower.seconds_together(desk),
        lambda: flower.tasks_in_flower(desk.flower, sent),
        lambda: flower.cells(desk),
    ):
        try:
            ask()
        except Fault as fault:
            assert fault.remedy


@pytest.mark.parametrize("port", ["abc", "99999", "-1"])
def test_a_mistyped_port_of_flower(monkeypatch, port):
    monkeypatch.setenv("FLOWER_PORT", port)
    with pytest.raises(Fault, match=f"FLOWER_PORT is '{port}'"):
        _ = Desk().flower


def test_a_page_that_is_not_there_says_what_the_client_said():
    with pytest.raises(Fault, match="Nothing listens") as fault:
        get(f"http://localhost:{free_port()}", "/")
    assert isinstance(fault.value.__cause__, httpx.ConnectError)


def test_a_fact_that_comes_at_the_last_moment_is_seen(monkeypatch):
    begin, slept = time.monotonic(), [0]
    monkeypatch.setattr(time, "monotonic", lambda: begin + sum(slept))
    monkeypatch.setattr(time, "sleep", slept.append)
    answers = iter([None, None, "here"])
    assert wait_until(lambda: next(answers), 0.05, every=0.04) == "here"
    assert wait_until(lambda: None, 0) is None


@pytest.mark.parametrize(
    "written, line",
    [
        ("def predict(payload):\n print()\n time.sleep(10)\n print()", None),
        ("def predict(payload):\n print()\n for _ in range(10):\n  sleep(1)", None),
        ("def predict(payload):\n slow()\ndef slow():\n time.sleep(10)\n print()", None),
        ("if __name__ == '__main__':\n time.sleep(10)", None),
        ("def predict(payload):\n time.sleep(10)", None),
        ("import time\ntime.sleep(10)\ndef predict(payload):\n print()", 2),
        ("def predict(payload):\n time.sleep(10)\n print()\n print()", 2),
        ("def predict(payload):\n  print()\nsleep(10)", 3),
        ("def predict(payload):\n print()\n print('Ended processing:')\n sleep(10)", 4),
    ],
)
def test_where_a_sleep_may_stand(written, line):
    slow = CHECKS[7]
    if line is None:
        return slow.sleeps_inside(ast.parse(written))
    with pytest.raises(slow.Misplaced, match=f"in line {line} "):
        slow.sleeps_inside(ast.parse(written))


def test_a_prediction_that_was_rejected_has_neither_returned_nor_failed():
    """A worker that loses the process in which it ran may say no more than that."""

    class Student(Desk):
        def workers(self):
            return ["celery@vm"]

    mine = Prediction("1")
    mine.events = [{"type": kind, "hostname": "celery@vm"} for kind in ("task-received", "task-rejected")]
    with pytest.raises(CHECKS[5].EndsItsProcess, match="ended the pool process"):
        CHECKS[5].end_of(Student(), mine)


def test_a_prediction_that_is_asked_for_later_is_kept_by_the_worker():
    mine = Prediction("1")
    mine.events = [{"type": "task-received", "hostname": "celery@vm", "eta": "2026-01-01T10:00:00+00:00"}]
    assert "not done yet: your producer asked for it at 2026-01-01T10:00" in CHECKS[5].end_of(Desk(), mine)


def test_a_result_that_is_stored_a_moment_after_its_event_is_read():
    class Sent:
        id, seen, has_ended = "check-1", {"task-started", "task-succeeded"}, True

    class Result:
        app = Celery("another", backend="cache+memory://", set_as_current=False)
        state, result, looks = "SUCCESS", {"prediction": "statement"}, iter([False, False, True])

        def ready(self):
            return next(self.looks, True)

    class Student(Desk):
        worker = None

    facts = list(CHECKS[11].later(Student(), Sent(), Result()))
    assert facts[0] == "predict: returned {'prediction': 'statement'}"
