"""What is known about one message: facts, and what they say of its life."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.live.history import (
    Fact,
    Fields,
    are_names,
    has,
    is_fact,
    is_name,
    is_number,
    is_number_or_none,
    is_text,
)
from lab.probe.dead import DEAD
from lab.probe.protocol import REFUSED, Finding, fate

REFUSAL = 2  # seconds after which a worker that has a message, and says nothing, has thrown it away
ENDS = {"succeeded", "failed", "revoked"}
FINAL = {"SUCCESS", "FAILURE", "REVOKED"}  # states of results
LATE = 0.03  # seconds that the copy may come late with which a message goes to a worker
LINE = 10_000_000  # characters of a fact in a file


def are_findings(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, list) and len(one) == 3 and all(map(is_text, one)) for one in value
    )


def is_table(value: object) -> bool:
    return isinstance(value, dict)


def is_list(value: object) -> bool:
    return isinstance(value, list)


def is_bool_or_none(value: object) -> bool:
    return value is None or isinstance(value, bool)


OWN: dict[str, Fields] = {  # kinds of facts that a History does not know
    "message": {
        "properties": is_table,
        "headers": is_table,
        "findings": are_findings,
        "keys": is_list,
        "queues": are_names,
        "body": is_text,
        "size": is_number,
    },
    "confirmed": {"is": is_bool_or_none},
    "taken": {},
    "runs": {"process": is_number_or_none, "worker": is_name},
    "acknowledged": {},
    "stored": {"status": is_text},
    "read": {},
}


@dataclass
class Life:
    """What is known about one message: facts, in the order in which they came."""

    id: str
    facts: list[Fact] = field(default_factory=list)

    @property
    def copy(self) -> Fact | None:
        """The fact that it was sent."""
        return next((fact for fact in self.facts if fact["fact"] == "message"), None)

    @property
    def begin(self) -> float:
        """When it was sent: a copy comes some milliseconds later, perhaps after what a worker says."""
        return min(fact["time"] for fact in self.facts)

    def since(self, number: int) -> list[Fact]:
        """The facts after so many, in the order in which they happened: copies come a little late."""
        return sorted(self.facts[number:], key=self._moment)

    def _moment(self, fact: Fact) -> float:
        return 0 if fact is self.copy else fact["time"] - (LATE if fact["fact"] == "taken" else 0)

    @property
    def is_lost(self) -> bool:
        """Whether it went to no queue."""
        return bool(self.copy and not self.copy["queues"])

    @property
    def end(self) -> Fact | None:
        """The fact with which it ended; None while it goes on."""
        end = None
        for fact in self.since(0):
            kind = fact["fact"]
            if kind in ENDS or (kind == "rejected" and not fact["requeue"]) or is_dead(fact):
                end = fact
            elif kind in ("message", "retried", "rejected", "received"):
                end = None
            elif kind == "stored" and fact["status"] in FINAL:
                end = end or fact
        return end

    def has(self, *kinds: str) -> bool:
        return any(fact["fact"] in kinds for fact in self.facts)

    @property
    def fate(self) -> str:
        """What a worker makes of it, as far as its parts say that."""
        return fate([Finding(*one) for one in self.copy["findings"]]) if self.copy else ""

    @property
    def is_refused(self) -> bool:
        """Whether a worker has thrown it away: it tells nobody but its log."""
        taken = [fact["time"] for fact in self.facts if fact["fact"] == "taken"]
        if not taken or self.has("received", "started", *ENDS):
            return False
        return self.fate == REFUSED and time.time() - taken[-1] > REFUSAL

    @property
    def leaves_result(self) -> bool:
        return not (self.copy and self.copy["headers"].get("ignore_result"))


def is_dead(fact: Fact) -> bool:
    """Whether it says that a message went to the queue dead."""
    return fact["fact"] == "message" and DEAD in fact["queues"]


def about(fact: Fact) -> Iterator[tuple[str, Fact]]:
    """The messages that a fact is about, each with what it says of it."""
    if isinstance(fact.get("id"), str):
        yield fact["id"], fact
    elif fact["fact"] == "active":
        for task in fact["tasks"]:
            if task["process"]:
                yield task["id"], {**task, "time": task["started"], "fact": "runs", "worker": fact["worker"]}


def kept(folder: Path, task: str) -> list[Fact]:
    """What the newest x-ray that has seen a message says about it; without one, the newest view or burst."""
    for kind in ("*.xray", "*.jsonl"):
        for path in sorted(folder.glob(kind), reverse=True):
            with suppress(OSError):
                if found := list(_read(path, task)):
                    return found
    return []


def _read(path: Path, task: str) -> Iterator[Fact]:
    with open(path, encoding="utf-8", errors="replace") as lines:
        while line := lines.readline(LINE):
            with suppress(ValueError, RecursionError):
                if json.dumps(task)[1:-1] in line and is_of_a_life(fact := json.loads(line)):
                    yield from (one for whose, one in about(fact) if whose == task)


def is_of_a_life(fact: Any) -> bool:
    """Whether it is a fact that a Life can have, whoever wrote it."""
    if is_fact(fact):
        return True
    kind = fact.get("fact") if isinstance(fact, dict) else None
    return isinstance(kind, str) and kind in OWN and has(fact, time=is_number, id=is_name, **OWN[kind])
