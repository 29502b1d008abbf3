"""What the desk makes of what it finds, without servers."""

import pytest
from kombu.message import Message

from lab.desk import flaw, in_short

TASK = {"task": "my_ml_app.predict", "id": "1"}
GOOD = "[[], {}, {}]"
JSON = "application/json"


@pytest.mark.parametrize(
    "body, content_type, headers, found",
    [
        (GOOD, None, TASK, "no content type"),
        ("hello", None, TASK, "no content type"),
        (GOOD, JSON, {"task": "my_ml_app.predict"}, "no id"),
        (GOOD, JSON, {"task": ["predict"], "id": "1"}, "no task that is a text"),
        ('[{"message": "hi"}]', JSON, TASK, "a body that is not a list of three"),
        ('{"message": "hi"}', JSON, TASK, "a body that is not a list of three"),
        ("", JSON, TASK, "a body that is not a list of three"),
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
