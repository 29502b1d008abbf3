"""What happens from now on, kept in a file."""

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Self

from celery import Celery

from lab.live.follow import Follower
from lab.live.history import Attempt, Fact, History


class Recording:
    """A History of what happens from now on, and a file with it in a folder: each fact a line of JSON.

    dashboard() is the base URL of RabbitMQ's dashboard; None where the broker is another.
    """

    def __init__(self, app: Celery, dashboard: Callable[[], str | None], folder: Path):
        self.history = History()
        self.path = folder / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{os.getpid()}.jsonl"
        self._follower = Follower(app, dashboard)

    def __enter__(self) -> Self:
        self._file = open(self.path, "x", encoding="utf-8")
        self._follower.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.__exit__()
        self.take()
        self._file.close()
        if not self.happened:
            self.path.unlink()

    @property
    def happened(self) -> bool:
        """Whether any prediction was heard of."""
        return self.history.heard > 0

    def take(self) -> list[Attempt]:
        """Take in all facts since the last time, and return the attempts that ended in them."""
        for fact in self._follower.facts():
            self.note(fact)
        self._file.flush()
        ended, self.history.ended = self.history.ended, []
        return ended

    def note(self, fact: Fact) -> None:
        """Take in one fact, and write it down."""
        self._file.write(json.dumps(fact) + "\n")
        self.history.note(fact)
