"""A prediction, as its events tell of it."""

import ast
import time
from contextlib import suppress

CHECKS = "check-"  # how the ids of tasks begin that a check has sent


def is_of_a_check(task):
    """Whether a task has been sent by a check, going by its id."""
    return task.startswith(CHECKS)


class Prediction:
    """A task, and what the workers' events say of it: seen holds the kinds of its events so far."""

    def __init__(self, task):
        self.id = task
        self.sent = time.time()  # or, if it is the student's, when it was first heard of
        self.events = []

    @property
    def text(self):
        """The message in its payload, as the worker tells it; without one, all its arguments."""
        arguments = str(self.event("task-received").get("args"))
        with suppress(ValueError, SyntaxError, TypeError, KeyError):
            [payload] = ast.literal_eval(arguments)
            return repr(payload["message"])
        return arguments

    @property
    def seen(self):
        return {event["type"] for event in self.events}

    def event(self, kind):
        """The first event of a kind such as "task-started", or None."""
        return next((event for event in list(self.events) if event["type"] == kind), None)

    def after(self, kind):
        """Seconds from sending to the arrival here of the first event of a kind, by this machine's clock."""
        return max(0.0, self.event(kind)["local_received"] - self.sent)

    @property
    def is_over(self):
        return bool(self.seen & {"task-succeeded", "task-failed", "task-rejected", "task-revoked"})
