"""The life of a message, put together from facts; what Redis repeats to MONITOR, read. Without servers."""

import json
from types import SimpleNamespace

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as some

from lab.cli.xray import follow, steps, waits_for
from lab.live.copies import message
from lab.live.life import Life, is_of_a_life, kept
from lab.live.monitor import ARGUMENT, LINE, Monitor, envelope, unescaped
from lab.probe.address import Address

HEADERS = {"task": "my_ml_app.predict", "id": "1", "lang": "js", "origin": "1@here"}
PROPERTIES = {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2}


def sent(queues=("celery",), **more):
    headers = HEADERS | more.pop("headers", {})
    return message(PROPERTIES, headers, b"[[],{},{}]", exchange="", keys=["celery"], queues=list(queues), **more)


def life(*kinds, first=None, seconds=1):
    facts = [first or sent()]
    more = {"id": "1", "worker": "w@here", "why": "x", "runtime": 1.0, "requeue": False, "status": "SUCCESS"}
    for kind in kinds:
        fact = kind if isinstance(kind, dict) else {"fact": kind} | more
        facts.append(fact | {"time": facts[-1]["time"] + seconds})
    return Life("1", facts)


@pytest.mark.parametrize(
    "kinds, end",
    [
        ([], None),
        (["taken", "received", "started"], None),
        (["taken", "received", "started", "succeeded"], "succeeded"),
        (["taken", "stored", "received"], None),
        (["taken", "received", "stored"], "stored"),
        (["received", "started", "retried"], None),
        (["received", "started", "retried", sent(headers={"retries": 1}), "received", "failed"], "failed"),
        (["received", "started", "rejected"], "rejected"),
        (["taken", sent(["dead"], headers={"dead-reason": "No."})], "message"),
        (["received", "revoked"], "revoked"),
    ],
)
def test_when_a_life_ends(kinds, end):
    found = life(*kinds).end
    assert (found and found["fact"]) == end


def test_a_copy_comes_a_little_late_and_stands_first():
    begin = sent()
    events = [
        {"time": begin["time"] - 0.005, "fact": kind, "id": "1", "worker": "w"} for kind in ("received", "started")
    ]
    both = Life("1", [*events, begin, {"time": begin["time"] + 0.001, "fact": "taken", "id": "1", "by": "x"}])
    assert [fact["fact"] for fact in both.since(0)] == ["message", "taken", "received", "started"]
    assert both.begin == events[0]["time"]


def test_a_message_to_no_queue_is_lost():
    assert life(first=sent([])).is_lost and not life().is_lost


def test_a_message_that_a_worker_throws_away_is_told_from_one_that_it_runs():
    first = sent(headers={"expires": "soon"})
    assert life("taken", first=first, seconds=-60).is_refused
    assert not life("taken", first=first).is_refused
    assert not life("taken", "received", first=first, seconds=-60).is_refused
    assert not life("taken", seconds=-60).is_refused


def test_a_message_that_ends_workers_is_said_to():
    first = message({}, {"task": "x", "id": "1"}, b"5", exchange="", keys=["celery"], queues=["celery"])
    recording, numbers = SimpleNamespace(fault=None), SimpleNamespace(trouble="No worker answers.")
    assert waits_for(life("taken", first=first), recording, numbers).startswith("It ends each worker that takes it")
    assert waits_for(life(first=first), recording, numbers) == "No worker answers."


def test_a_number_that_changes_is_no_news(monkeypatch, capsys):
    monkeypatch.setattr("lab.cli.xray.QUIET", -1)
    monkeypatch.setattr("lab.cli.xray.LOOK", 0)
    left = iter(range(20, 0, -1))
    history = SimpleNamespace(ready={})

    def look():
        history.ready["celery"] = next(left)

    recording = SimpleNamespace(fault=None, history=history, newest=life, look_at_sender=lambda one: None)
    with pytest.raises(StopIteration):
        follow(recording, SimpleNamespace(trouble=None, look=look), None)
    assert capsys.readouterr().out.count("It waits in 'celery'") == 1


def test_what_is_said_of_a_life():
    told = [steps(fact, life().facts[:0]) for fact in life("received", "stored", "acknowledged", "read").facts]
    assert [name for those in told for name, _ in those][:4] == ["sent", "in the broker", "received", "stored"]
    again = sent(headers={"retries": 2})
    assert steps(again, [sent()])[0][0] == "sent again"
    assert steps(again | {"given_back": True}, [sent()])[0][0] == "given back"
    dead = sent(["dead"], headers={"dead-reason": "Its body is odd."})
    assert steps(dead, [sent()]) == [("dead", "moved to 'dead': Its body is odd.")]


def test_an_earlier_x_ray_is_found_and_so_is_a_view(tmp_path):
    view = {"time": 5.0, "fact": "active", "worker": "w", "tasks": [{"id": "1", "process": 7, "started": 4.0}]}
    (tmp_path / "a.jsonl").write_text(
        json.dumps(view) + "\nno JSON, but 1\n" + json.dumps({"fact": "message", "id": "1"})
    )
    assert kept(tmp_path, "1") == [
        {"time": 4.0, "fact": "runs", "worker": "w", "id": "1", "process": 7, "started": 4.0}
    ]
    (tmp_path / "a.xray").write_text(json.dumps(sent()) + "\n")
    assert [fact["fact"] for fact in kept(tmp_path, "1")] == ["message"]
    assert kept(tmp_path, "2") == []


def test_facts_that_nobody_should_have_written():
    odd = [None, [], {}, {"fact": []}, {"fact": "message", "time": 1}, {"fact": "stored", "time": "x"}]
    assert not any(map(is_of_a_life, odd))
    assert is_of_a_life(sent())


def escaped(text):
    """As Redis writes it: sdscatrepr()."""
    signs = {b"\\": b"\\\\", b'"': b'\\"', b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t", b"\a": b"\\a", b"\b": b"\\b"}
    one = (bytes([byte]) for byte in text)
    return b"".join(signs.get(c) or (c if 32 <= c[0] < 127 else b"\\x%02x" % c[0]) for c in one)


@given(some.lists(some.binary(max_size=30), max_size=4))
def test_what_redis_repeats_is_read_exactly(arguments):
    line = b'1700000000.5 [0 127.0.0.1:5] "LPUSH" ' + b" ".join(b'"' + escaped(one) + b'"' for one in arguments)
    found = LINE.fullmatch(line)
    assert (found[1], found[2], found[3]) == (b"0", b"127.0.0.1:5", b"LPUSH")
    assert [unescaped(one) for one in ARGUMENT.findall(found[4])] == arguments


def test_what_is_no_message_of_kombus():
    for item in (
        b"",
        b"\xff",
        b"5",
        b"[]",
        b'{"properties": {"body_encoding": "base64"}, "body": "x"}',
        b"[" * 100_000,
    ):
        assert [part for part, _, _ in envelope(item, "celery")["findings"]] == ["envelope"]


def test_who_stores_a_result_and_who_reads_it():
    """As Celery does it, and as a worker in another language may."""
    told, address = [], "redis://localhost:1/0"
    app = Celery("my_ml_app", broker=address, backend=address, set_as_current=False)
    monitor = Monitor(app, None, Address(address), "celery", told.append)
    key = '"celery-task-meta-1"'
    for line in (
        f'1.5 [0 127.0.0.1:1] "SUBSCRIBE" {key}',
        f'1.5 [0 127.0.0.1:3] "GET" {key}',
        f'1.5 [5 127.0.0.1:2] "SET" {key} "of another database"',
        rf'1.5 [0 127.0.0.1:2] "set" {key} "{{\"status\": \"SUCCESS\"}}" "EX" "3600"',
        f'1.5 [0 127.0.0.1:2] "PUBLISH" {key} "x"',
        rf'1.5 [0 127.0.0.1:2] "SETEX" {key} "3600" "{{\"status\": \"FAILURE\"}}"',
        f'1.5 [0 127.0.0.1:2] "GET" {key}',
        f'1.5 [0 127.0.0.1:3] "MGET" {key}',
        '1.5 [0 127.0.0.1:3] "MGET"',
        "no such line",
    ):
        monitor._see(line.encode())
    assert [(fact["fact"], fact.get("status") or fact["told"], fact["by"][-1]) for fact in told] == [
        ("stored", "SUCCESS", "2"),
        ("read", True, "1"),
        ("stored", "FAILURE", "2"),
        ("read", False, "3"),
    ]
