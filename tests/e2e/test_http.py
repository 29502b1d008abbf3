"""exercises/20_http: a web API in front of the queue, with real servers, and callers who mean no good."""

import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median
from urllib.parse import quote

import httpx
import psutil
import pytest
from conftest import ROOT, free_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from e2e.student import eventually
from lab.probe.address import Address

NUMBER = int(os.environ.get("LAB_FUZZ", "20"))  # of each kind; 1,000 are many
LARGE = 10_000_000  # bytes
SECONDS = 0.6  # a prediction: on a busy machine, somebody asks a few times meanwhile


class Api:
    """api.py as it is handed out solved, served by uvicorn, with a network to its broker that can break."""

    def __init__(self, student):
        self.student = student
        for folder in ("stub", "solution"):
            shutil.copytree(ROOT / "exercises/20_http" / folder, student.path, dirs_exist_ok=True)
        broker, proxy, own = Address(student.broker).port, free_port(), free_port()
        self.forward = [sys.executable, str(ROOT / "lab/trial/proxy.py"), str(proxy), str(broker)]
        self.network = self.connect()
        url = student.broker.replace(f":{broker}/", f":{proxy}/")
        self.server = student.open("uvicorn", "api:app", "--port", str(own), "--no-access-log", CELERY_BROKER_URL=url)
        self.server.see("Uvicorn running")
        self.server.unwatched()
        limits = httpx.Limits(max_connections=None)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{own}", timeout=60, limits=limits, follow_redirects=True)
        self.port = own

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def connect(self):
        return self.student.open(*self.forward)

    def worker(self, seconds=SECONDS):
        """A worker that predicts one at a time, and its log."""
        log = self.student.path / f"worker-{time.monotonic_ns()}.log"
        options = ["-c", "1", "-I", "cancelled", "--logfile", str(log), "--", "task_track_started=1"]
        worker = self.student.open("celery", "-A", "my_ml_app", "worker", *options, PREDICT_SECONDS=str(seconds))
        worker.unwatched()
        return worker, log

    def post(self, message="Is it true?", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post("/predictions", json={"message": message}, headers=headers)

    def accepted(self, message="Is it true?"):
        answer = self.post(message)
        assert answer.status_code == 202, answer.text
        return answer.headers["Location"]

    def get(self, path):
        return self.client.get(path).json()

    def ends_as(self, path, state):
        eventually(lambda: self.get(path)["state"] == state, f"{path} is {state}")
        return self.get(path)


@pytest.fixture
def api(served):
    with Api(served) as api:
        yield api


def test_a_prediction_lives_and_its_caller_knows_how_long_it_waits(api):
    paths = [api.accepted(f"number {number}?") for number in range(10)]
    assert [api.get(path)["position"] for path in paths] == list(range(10))
    assert api.get(paths[-1])["estimated_seconds"] is None  # no worker runs
    api.worker()
    looks, states = [], []
    while (found := api.get(paths[-1]))["state"] != "done":
        states.append(found["state"])
        looks.append((time.monotonic(), found.get("position"), found.get("estimated_seconds")))
        time.sleep(0.05)
    assert set(states) <= {"waiting", "running"}
    assert found["result"]["prediction"] == "question"
    waited = [look for look, state in zip(looks, states, strict=True) if state == "waiting"]
    positions = [position for _, position, _ in waited]
    assert positions == sorted(positions, reverse=True) and positions[-1] == 0
    begun = waited[-1][0]
    estimates = [(begun - then, seconds) for then, _, seconds in waited if seconds is not None]
    assert estimates
    assert all(abs(real - seconds) < 0.5 * real + SECONDS + 0.5 for real, seconds in estimates), estimates
    assert {api.ends_as(path, "done")["state"] for path in paths} == {"done"}


def test_what_is_cancelled_is_not_predicted(api):
    """Before a worker starts, while it is busy, and when another one starts."""
    early, kept = api.accepted("cancelled early"), api.accepted("kept")
    assert api.client.delete(early).json()["state"] == "cancelled"
    worker, before = api.worker(seconds=2)
    busy = [api.accepted(f"busy {number}") for number in range(2)]
    late, last = api.accepted("cancelled late"), api.accepted("last")
    assert api.client.delete(late).is_success and api.client.delete(late).is_success
    api.ends_as(busy[0], "running")
    assert api.client.delete(busy[0]).status_code == 409
    worker.kill(signal.SIGTERM)
    eventually(lambda: not worker.isalive(), "the worker has ended")
    _, after = api.worker(seconds=0)
    assert {api.ends_as(path, "done")["state"] for path in (kept, *busy, last)} == {"done"}
    assert [api.get(path)["state"] for path in (early, late)] == ["cancelled", "cancelled"]
    assert "last" in after.read_text()
    assert not re.search("'message': 'cancelled", before.read_text() + after.read_text())
    assert api.client.delete(kept).status_code == 409
    assert api.client.delete("/predictions/unknown").status_code == 404


def test_one_key_is_one_prediction_whatever_happens_to_the_broker(api):
    with ThreadPoolExecutor(20) as callers:
        answers = list(callers.map(lambda _: api.post(Idempotency_Key="one"), range(20)))
    assert {(one.status_code, one.headers["Location"]) for one in answers} == {(202, answers[0].headers["Location"])}
    assert api.post("another", Idempotency_Key="one").status_code == 422
    api.network.kill(signal.SIGKILL)
    api.network.left()
    refused = [api.post(Idempotency_Key="two") for _ in range(2)]
    assert [one.status_code for one in refused] == [503, 503]
    assert "Try again" in refused[0].json()["detail"] and refused[0].headers["Retry-After"]
    assert api.client.delete(answers[0].headers["Location"]).status_code == 503
    assert api.get(answers[0].headers["Location"])["state"] == "waiting"
    api.network = api.connect()
    eventually(lambda: api.post(Idempotency_Key="two").status_code == 202, "the broker is back")
    assert api.post(Idempotency_Key="two").status_code == 202
    assert len(api.student.messages()) == 2


def test_a_frozen_broker_stops_only_those_who_need_it(api, record_property):
    known = api.accepted()
    for number in (10, 60):  # more than there are threads
        with ThreadPoolExecutor(number) as callers:
            api.network.kill(signal.SIGSTOP)
            asked = [callers.submit(api.post, str(number)) for _ in range(number)]
            waits = []
            for _ in range(20):
                begin = time.monotonic()
                assert api.get(known)["state"] == "waiting"
                waits.append(time.monotonic() - begin)
            assert not all(one.done() for one in asked)
            api.network.kill(signal.SIGCONT)
            answers = [one.result() for one in asked]
        record_property(f"seconds of GET beside {number} POST", f"{median(waits):.4f}, at most {max(waits):.3f}")
        assert max(waits) < 4, waits  # who sends waits for 5
        assert {one.status_code for one in answers} <= {202, 503}
    assert api.accepted()


texts = some.text(max_size=40)
values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | texts,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(texts | some.just("message"), inner, max_size=4),
    max_leaves=6,
)
ODD_BODIES = [
    rb'{"message": "\ud800"}',
    rb'{"\ud800": 1}',
    b'{"message": "\xff"}',
    b'{"message": NaN}',
    b'{"message": ' + b"9" * 5000 + b"}",
    b'{"message": "' + b"x" * 10_001 + b'"}',
    b'{"message": "a", "message": 3}',
    b'{"message": "a", "seconds": 9999}',
    b"[" * 50_000,
    b'{"message":' * 9_000,
    b"",
    "{}".encode("utf-16"),
]
KINDS = ["application/json", "application/json", "application/json; charset=utf-16", "text/plain", "", "/"]
ODD_IDS = ["", "..", "../..", "%00", "%2e%2e%2f", "%ff", "x" * 10_000, "%", "%zz", "a/b", "?", "#", ";", "*", "'", "{}"]
odd_bytes = some.binary(max_size=99) | some.sampled_from([b"\0", b"x" * 100_000])


def is_payload(body, kind):
    """Whether a body asks for a prediction, by what the README of exercise 20 says."""
    try:
        payload = json.loads(body)
        message = payload["message"]
        return "json" in kind and len(payload) == 1 and len(message.encode()) >= len(message) <= 10_000
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False


def many(strategy, ask):
    """Ask NUMBER times, with what hypothesis thinks of."""

    @settings(
        max_examples=NUMBER,
        derandomize="LAB_FUZZ" not in os.environ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(value):
        ask(*value)

    each()


@pytest.mark.timeout(3600)
def test_whatever_comes_gets_an_answer_and_only_predictions_reach_the_queue(with_valkey, record_property):
    """A clear refusal for what is none, and what is one is predicted, by a worker that starts afterwards."""
    with Api(with_valkey) as api:
        before = psutil.Process(api.server.pid).memory_info().rss
        seen = whatever_comes(api)
        megabytes = (psutil.Process(api.server.pid).memory_info().rss - before) / 2**20
    record_property("answers", seen)
    print(seen, f"{megabytes:.0f} MB more")
    assert megabytes < 50


def whatever_comes(api):
    """How often which status was answered to what."""
    seen, good = Counter(), set()

    def note(what, answer, accepted=False):
        seen[what, answer.status_code] += 1
        if answer.status_code == 202:
            good.add(answer.headers["Location"])
        right = [202] if accepted else range(400, 500)
        assert answer.status_code in right and (accepted or answer.text), (answer.status_code, answer.text)

    def body(body, kind, what="body"):
        answer = api.client.post("/predictions", content=body, headers={"Content-Type": kind})
        note(what, answer, is_payload(body, kind))

    def large(what, size, in_pieces):
        body = b'{"message": "' + what * size + b'"}'
        pieces = (body[place : place + 99_999] for place in range(0, size, 99_999))
        headers = {"Content-Type": "application/json"}
        note("large", api.client.post("/predictions", content=pieces if in_pieces else body, headers=headers))

    def task_id(text):
        for method in ("GET", "DELETE"):
            note("id", api.client.request(method, f"/predictions/{text}"))

    def key(text):
        headers = {"Content-Type": "application/json", "Idempotency-Key": text.encode("latin-1")}
        first, second = [api.client.post("/predictions", content=b'{"message": "a"}', headers=headers) for _ in "12"]
        note("key", first, 0 < len(text) <= 255)
        assert first.json() == second.json()

    def raw(line, place):
        parts = [b"GET /predictions/1", b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIdempotency-Key: 1", b"\r\n\r\n"]
        parts.insert(place, line)
        with socket.create_connection(("127.0.0.1", api.port), 10) as connection, suppress(OSError):
            connection.sendall(b"".join(parts))
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
            seen["raw", answer[9:12].decode()] += 1
            assert not answer or re.match(rb"HTTP/1.1 [34]\d\d", answer), answer

    json_values = values.map(lambda value: json.dumps(value).encode())
    many(some.tuples(some.binary(max_size=99) | some.sampled_from(ODD_BODIES), some.sampled_from(KINDS)), body)
    many(some.tuples(json_values, some.sampled_from(KINDS), some.just("wrong types")), body)
    sizes = some.just(LARGE) | some.integers(100_000, LARGE)
    many(some.tuples(some.sampled_from([b"x", b"[", b"\0"]), sizes, some.booleans()), large)
    many(some.tuples(some.sampled_from(ODD_IDS) | some.text(max_size=99).map(lambda text: quote(text, ""))), task_id)
    many(
        some.tuples(
            some.text(some.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=300)
        ),
        key,
    )
    many(some.tuples(odd_bytes, some.integers(0, 2)), raw)
    number = len(good)
    api.worker(seconds=0)
    good.add(api.accepted("after all that?"))
    assert len(good) == number + 1
    for path in good:
        api.ends_as(path, "done")
    return dict(seen)
