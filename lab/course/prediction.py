"""A prediction, as its events describe it."""

import ast
import time
from contextlib import suppress

from lab.live.events import Event

CHECKS = "check-"  # the start of the ids of a check's own tasks


def is_of_a_check(task: str) -> bool:
    """Whether a task has been sent by a check, going by its id."""
    return task.startswith(CHECKS)


class Prediction:
    """A task, and what the workers' events say of it: seen holds the kinds of its events so far."""

    def __init__(self, task: str):
        self.id = task
        self.sent = time.time()  # or, if it is the student's, when it was first heard of
        self.events: list[Event] = []

    @property
    def text(self) -> str:
        """The message in its payload, as the worker tells it; without one, all its arguments."""
        arguments = str(self.event("task-received").get("args"))
        with suppress(ValueError, SyntaxError, TypeError, KeyError):
            [payload] = ast.literal_eval(arguments)
            return repr(payload["message"])
        return arguments

    @property
    def seen(self) -> set[str]:
        return {event["type"] for event in self.events}

    def event(self, kind: str) -> Event:
        """The first event of a kind such as "task-started"; {} when there was none."""
        return next((event for event in list(self.events) if event["type"] == kind), {})

    def after(self, kind: str) -> float:
        """Seconds from sending to the arrival here of the first event of a kind, by this machine's clock."""
        return max(0.0, self.event(kind)["local_received"] - self.sent)

    @property
    def has_ended(self) -> bool:
        return bool(self.seen & {"task-succeeded", "task-failed", "task-rejected", "task-revoked"})
