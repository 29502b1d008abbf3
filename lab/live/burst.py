"""A burst: many predictions at once, or spread over time, sent by the student's own app."""

import ast
import inspect
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Task

from lab.fault import Fault
from lab.live.history import FINAL, Attempt, History
from lab.messages import OtherArguments, send, take_back
from lab.probe.connection import ANSWER, AWAY
from lab.probe.login import ask
from lab.probe.workers import ask_workers

AGAIN = 1  # seconds until a failed send is tried again
QUIET = 5  # seconds without any event after which a prediction that nobody has is called lost


class Burst:
    """Sends number messages for a task to its queue, evenly in spread seconds, from a thread of its own, and counts how
    the predictions end.

    seconds is how long each should take; None leaves that to the worker. sent counts the messages that the broker has
    taken, outcomes how these ended. problem says why nothing can be sent now, fault why nothing can ever be sent.
    """

    def __init__(self, task: Task, queue: str, number: int, seconds: float | None, spread: float):
        self._task, self._queue, self._app = task, queue, task.app
        self.number, self._seconds, self._spread = number, seconds, spread
        self._mark = f"burst-{uuid.uuid4().hex[:8]}"
        self._outstanding: set[str] = set()  # ids of those that may have been sent, and have not ended
        self.sent, self.before = 0, 0
        self.outcomes: Counter[str] = Counter()
        self._odd: float | None = None
        self.problem: str | None = None
        self.fault: Fault | None = None
        self._deaf = seconds is not None and not reads(task, "seconds")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._begin: float | None = None
        self._last = time.monotonic()
        task.app.conf.task_send_sent_event = True  # so that the view knows since when each one waits

    def start(self, before: int = 0) -> None:
        """Begin to send. before is how many messages are already in the queue or with workers."""
        self.before = before
        self._begin = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()
        if self.began:
            self._thread.join(ANSWER)

    @property
    def began(self) -> bool:
        return self._begin is not None

    @property
    def is_sending(self) -> bool:
        """Whether some are still to be sent."""
        return not self.began or self._thread.is_alive()

    @property
    def unsent(self) -> float:
        """Seconds until the last one is sent, as planned."""
        if self._begin is None or not self.is_sending:
            return 0
        return max(0, self._begin + self._spread - time.monotonic())

    @property
    def finished(self) -> int:
        """How many have ended."""
        return self.outcomes.total()

    @property
    def remark(self) -> str | None:
        """A sentence when predictions do not take the seconds that were asked for; otherwise None."""
        if self._odd is not None:
            begin = f"A prediction took {self._odd:.1f} s, not {self._seconds:g}"
            return f'{begin}: your predict does not sleep for payload["seconds"].'
        if self._deaf and not self.finished:
            return f'--seconds {self._seconds:g} changes nothing: your predict does not read payload["seconds"].'
        return None

    def note_all(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            self.note(attempt)

    def note(self, attempt: Attempt) -> None:
        """Take the end of an Attempt into account."""
        self._last = time.monotonic()
        if attempt.outcome in FINAL and attempt.id in self._outstanding:
            self._outstanding.discard(attempt.id)
            self.outcomes[attempt.outcome] += 1
            if attempt.outcome == "succeeded" and not self._is_as_asked(attempt.worked):
                self._odd = self._odd or attempt.worked

    def _is_as_asked(self, took: float | None) -> bool:
        return took is None or self._seconds is None or self._seconds / 2 <= took <= 2 * self._seconds + 1

    def waiting(self, history: History) -> set[str]:
        """Ids of those that have not begun."""
        return self._outstanding - {task for task, _ in history.running}

    def lost(self, history: History) -> int:
        """How many have not ended, and are neither in the queue nor in a worker."""
        somewhere = self.is_sending or history.running or history.unacked or any(history.ready.values())
        if somewhere or not history.answers or any(one.worker for one in history.open.values()):  # one for later
            self._last = time.monotonic()
        return len(self._outstanding) if time.monotonic() - self._last > QUIET else 0

    def is_finished(self, history: History) -> bool:
        """Whether all are sent, and each has ended or is lost."""
        return not self.is_sending and (not self._outstanding or self.lost(history) > 0)

    def summary(self, history: History) -> str:
        """What happened to them, as a sentence."""
        lost = self.lost(history)
        counts = {**self.outcomes, "not finished yet": self.sent - self.finished - lost}
        counts["lost (neither a queue nor a worker has them)"] = lost
        said = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
        summary = f"{self.sent} of {self.number} sent: {said or 'none of them has finished'}."
        return f"{summary} {self.remark}" if self.remark else summary

    def withdraw(self, tasks: Collection[str]) -> int:
        """Take these predictions back out of the queue, and return how many were not found. Raises Fault.

        Those that were not found are revoked: the workers that run now discard them.
        """
        ask(self._app.conf.broker_url)
        left = set(tasks)
        try:
            mark = {"burst": self._mark}
            ask_workers(self._app, "revoke_by_stamped_headers", headers=mark, terminate=False, signal="TERM")
            take_back(self._app, self._queue, left)
        except AWAY as error:
            raise Fault(f"The broker does not answer: {error}") from None
        finally:
            self.outcomes["taken back"] += len(tasks) - len(left)
        return len(left)

    def _send_all(self) -> None:
        begin = time.monotonic()
        for number in range(self.number):
            due = begin + number * self._spread / self.number
            if self._stop.wait(max(0, due - time.monotonic())) or not self._send(number):
                return

    def _send(self, number: int) -> bool:
        """Send one, and try again as often as needed. Return whether it was sent."""
        payload: dict[str, Any] = {"message": f"{number + 1} of {self.number}"}
        if self._seconds is not None:
            payload["seconds"] = self._seconds
        task = f"{self._mark}-{number + 1}"
        options = {"task_id": task, "stamped_headers": ["burst"], "burst": self._mark}
        self._outstanding.add(task)
        while not self._stop.is_set():
            try:
                send(self._task, payload, **options)
            except OtherArguments as fault:
                self.fault = fault
                break
            except Exception as error:
                self.problem = " ".join(str(error).split()) or type(error).__name__
                self._stop.wait(AGAIN)
            else:
                self.sent, self.problem = self.sent + 1, None
                return True
        self._outstanding.discard(task)
        return False


def reads(task: Task, name: str) -> bool:
    """Whether the file of a task has something of this name: a key, an attribute, an argument. True when not sure."""
    with suppress(OSError, TypeError, SyntaxError, ValueError):
        for node in ast.walk(ast.parse(Path(inspect.getfile(task.run)).read_bytes())):
            if name in (getattr(node, field, None) for field in ("value", "attr", "arg")):
                return True
            if isinstance(node, ast.keyword) and node.arg is None:  # f(**payload)
                return True
        return False
    return True
