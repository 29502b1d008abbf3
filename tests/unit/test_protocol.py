"""What is missing or wrong in a message, without servers; what workers make of it, tests/e2e/test_message_parts.py asks
them."""

import json
import os
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from lab.probe.protocol import ENDS, REFUSED, fate, findings

PROPERTIES = {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2}
HEADERS = {"task": "my_ml_app.predict", "id": "1", "lang": "js", "origin": "1@here"}
WITH_CHARSET = "application/json; charset=utf-8"  # as some clients write it
CALL = [[{"message": "hi"}], {}, {}]


def found(body=CALL, properties=PROPERTIES, **headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {name: value for name, value in (HEADERS | headers).items() if value is not ...}
    return findings(properties, headers, body)


def test_a_message_that_lacks_nothing():
    assert found() == []
    assert found(root_id="1", parent_id=None, eta=None, expires="2026-12-01T12:00:00Z", timelimit=[None, 5]) == []
    assert found(zlib.compress(json.dumps(CALL).encode()), compression="zlib", retries=0, stamped_headers=[]) == []


@pytest.mark.parametrize(
    "part, sentence, made, changes",
    [
        ("task", "It has no header task", REFUSED, {"task": ...}),
        ("task", "Its task is ['x']", ENDS, {"task": ["x"]}),
        ("task", "Its task is 5", REFUSED, {"task": 5}),
        ("id", "It has no header id", ENDS, {"id": ...}),
        ("id", "Its id is {'x': 1}", ENDS, {"id": {"x": 1}}),
        ("id", "Its id is 5, not a text", "", {"id": 5}),
        ("lang", "It has no header lang", "", {"lang": ...}),
        ("origin", "It has no header origin", "", {"origin": ...}),
        ("root id", "Its root_id is 5", "", {"root_id": 5}),
        ("body", "Its body is empty", ENDS, {"body": b""}),
        ("body", "Its body is not JSON", REFUSED, {"body": b"hello"}),
        ("body", "Its body is not JSON", REFUSED, {"body": b"[" * 100_000}),
        ("body", "Its body is not UTF-8", REFUSED, {"body": b"\xff"}),
        ("body", "Its body is not a list of three", ENDS, {"body": {"message": "hi"}}),
        ("body", "Its body is not a list of three", ENDS, {"body": 5}),
        ("body", "Its body is a dictionary, as protocol 1", "", {"body": {"args": []}}),
        ("body", "The arguments in its body are {'message': 'hi'}", "", {"body": [{"message": "hi"}, {}, {}]}),
        ("body", "The options in its body are 'x'", "", {"body": [[], {}, "x"]}),
        ("eta", "Its eta is 'soon'", REFUSED, {"eta": "soon"}),
        ("expires", "Its expires is 60", REFUSED, {"expires": 60}),
        ("expires", "Its expires is ''", ENDS, {"expires": ""}),
        ("time limits", "Its timelimit is 60", ENDS, {"timelimit": 60}),
        ("time limits", "Its timelimit is ['x', 'y']", ENDS, {"timelimit": ["x", "y"]}),
        ("time limits", "Its timelimit is [-1, None]", "", {"timelimit": [-1, None]}),
        ("stamped headers", "Its stamped_headers is 5", ENDS, {"stamped_headers": 5}),
        ("retries", "Its retries is 'x'", "", {"retries": "x"}),
        ("ignore result", "Its ignore_result is 'false', which means true", "", {"ignore_result": "false"}),
        ("compression", "Its compression is 'x'", REFUSED, {"compression": "x"}),
        ("compression", "Its body is not compressed", REFUSED, {"compression": "bzip2"}),
        ("compression", "Its body is cut off", REFUSED, {"body": zlib.compress(bytes(10**8)), "compression": "gzip"}),
    ],
)
def test_one_thing_is_wrong(part, sentence, made, changes):
    (one,) = found(**changes)
    assert (one.part, one.fate) == (part, made)
    assert one.sentence.startswith(sentence) and one.sentence.endswith(".")


@pytest.mark.parametrize(
    "part, sentence, made, changes",
    [
        ("content type", "It has no content type. Write application/json.", ENDS, {"content_type": None}),
        ("content type", "Its content type application/data means", ENDS, {"content_type": "application/data"}),
        ("content type", "Its content type is 'application/json; ", REFUSED, {"content_type": WITH_CHARSET}),
        ("content encoding", "It has no content encoding. Write utf-8.", "", {"content_encoding": None}),
        ("content encoding", "Its content encoding is 'latin-1'", "", {"content_encoding": "latin-1"}),
        ("delivery mode", "It has no delivery mode. Write 2", "", {"delivery_mode": None}),
        ("delivery mode", "Its delivery mode is 1. Write 2", "", {"delivery_mode": 1}),
    ],
)
def test_one_property_is_wrong(part, sentence, made, changes):
    (one,) = found(properties=PROPERTIES | changes)
    assert (one.part, one.fate) == (part, made)
    assert one.sentence.startswith(sentence)


def test_what_a_worker_meets_first_decides():
    assert fate(found(id=..., eta="soon")) == ENDS
    assert fate(found(b"hello", id=...)) == REFUSED
    assert fate(found(eta="soon", timelimit=5)) == REFUSED
    assert fate(found(task=..., id=...)) == REFUSED


def test_protocol_1():
    (one,) = findings(PROPERTIES, {}, json.dumps({"task": "x", "id": "1", "args": []}).encode())
    assert one.sentence.startswith("It is of protocol 1")


FIELDS = ["task", "id", "lang", "origin", "root_id", "eta", "expires", "timelimit", "retries", "ignore_result"]
names = some.sampled_from([*FIELDS, "parent_id", "stamped_headers", "compression"])
odd = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=9) | some.datetimes(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3),
)
bodies = some.binary(max_size=20) | odd.map(lambda value: json.dumps(value, default=str).encode())


@settings(max_examples=int(os.environ.get("LAB_FUZZ", "100")), deadline=None, database=None)
@given(
    some.dictionaries(some.sampled_from([*PROPERTIES, "priority"]), odd),
    some.dictionaries(names | some.text(max_size=5), odd),
    bodies | some.just(zlib.compress(b"x")),
)
def test_whatever_a_message_says_each_finding_is_a_sentence_that_a_terminal_can_show(properties, headers, body):
    for one in findings(properties, headers, body):
        assert one.part and one.sentence.isprintable() and len(one.sentence) < 250
