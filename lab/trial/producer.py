"""A trial's producer: `python -m lab.trial.producer NUMBER SECONDS` sends so many predictions, evenly in these seconds.

It writes down what delay() said: when it was called for a prediction, and when that was accepted or refused. With a
third word, `poison`, some predictions end their process each time, and some messages cannot be a task.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from lab.trial import ID, QUEUE
from lab.trial.app import POISON, app, note, predict

EVERY = 40  # predictions of which one is poison, and of which one is followed by a malformed message
GOOD = json.dumps([[{"message": "malformed"}], {}, {}])
MALFORMED: list[tuple[str, dict[str, Any], str | None]] = [  # body, headers, content type
    (GOOD, {"task": predict.name}, "application/json"),
    (GOOD, {"task": predict.name, "id": ["a", "list"]}, "application/json"),
    (GOOD, {"task": predict.name, "id": "one"}, None),
    ("[]", {"task": predict.name, "id": "one"}, "application/json"),
    ("{}", {"task": predict.name, "id": "one"}, "application/json"),
    ("no JSON", {"task": predict.name, "id": "one"}, "application/json"),
    (GOOD, {"task": "nobody.knows", "id": "one"}, "application/json"),
    (GOOD, {"task": predict.name, "id": "one", "timelimit": ["text", 3]}, "application/json"),
]


def main(number: int, seconds: float, poison: bool) -> None:
    app.conf.task_send_sent_event = True  # so that the picture shows since when each one waits
    begin = time.monotonic()
    for count in range(1, number + 1):
        time.sleep(max(0, begin + (count - 1) * seconds / number - time.monotonic()))
        payload: dict[str, Any] = {"message": f"{count} of {number}"}
        if poison and count % EVERY == 0:
            payload[POISON] = True
        noted(f"trial-{count}", partial(send, payload))
        if poison and count % EVERY == EVERY // 2:
            noted(f"malformed-{count}", partial(send_malformed, count // EVERY))


def noted(task: str, send: Callable[[str], None]) -> None:
    """Send with this id, and write down what came of it."""
    note("called", id=task)
    try:
        send(task)
    except Exception as error:
        note("refused", id=task, why=" ".join(f"{type(error).__name__}: {error}".split())[:200])
    else:
        note("accepted", id=task)


def send(payload: dict[str, Any], task: str) -> None:
    """As delay() does, but with an id that is known also when it fails."""
    predict.apply_async((payload,), task_id=task, headers={ID: task})


def send_malformed(kind: int, task: str) -> None:
    body, headers, content_type = MALFORMED[kind % len(MALFORMED)]
    with app.producer_pool.acquire() as producer:
        producer.publish(
            body,
            routing_key=os.environ[QUEUE],
            headers=headers | {ID: task},
            content_type=content_type,
            content_encoding="utf-8",
            retry=True,
            retry_policy=app.conf.task_publish_retry_policy,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), "poison" in sys.argv)
