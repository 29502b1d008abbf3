"""What happened to each prediction of a trial, and what that adds up to.

The truth is what predictions and producer wrote down themselves. What Celery says, its events and its results, is
compared with it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

FINAL = {"SUCCESS", "FAILURE", "REVOKED"}  # states of a result that has come
Fact = dict[str, Any]  # a line of a record: {"time": seconds since 1970, "fact": its kind, …}


@dataclass
class Fate:
    """What happened to one prediction: facts by their time, those of Celery's events too.

    state is what its result says at the end, None if not asked; dead is why it is in the dead-letter queue.
    """

    id: str
    facts: list[Fact] = field(default_factory=list)
    state: str | None = None
    dead: str | None = None

    def times(self, kind: str) -> list[float]:
        return [fact["time"] for fact in self.facts if fact["fact"] == kind]

    @property
    def is_accepted(self) -> bool:
        return bool(self.times("accepted"))

    @property
    def is_refused(self) -> bool:
        return bool(self.times("refused"))

    @property
    def begun(self) -> int:
        return len(self.times("begun"))

    @property
    def made(self) -> int:
        """How often it was run to the end."""
        return len(self.times("made")) + len(self.times("raised"))

    @property
    def is_lost(self) -> bool:
        """Whether delay() said that it was accepted, and nobody made it, and it is not kept as a dead letter either."""
        return self.is_accepted and not self.made and self.dead is None

    @property
    def is_missing(self) -> bool:
        """Whether it was made, and whoever asks for its result is told that it has not ended."""
        return self.made > 0 and self.state is not None and self.state not in FINAL


@dataclass(frozen=True)
class Verdict:
    """How many predictions: accepted by delay(); predicted, of these; twice, begun more than once; made_twice, run to
    the end more than once; refused with an error; made_anyway, refused and made all the same; lost, accepted and made
    by nobody; told, lost, but with a FAILURE as result; missing, made without a result that is stored; dead, in the
    dead-letter queue; waiting, still in the queue; failed, ended with an error; heard, how many ends Celery's events
    told of. faults is how many were injected; ended, how often the worker ended by itself."""

    accepted: int = 0
    predicted: int = 0
    twice: int = 0
    made_twice: int = 0
    refused: int = 0
    made_anyway: int = 0
    lost: int = 0
    told: int = 0
    missing: int = 0
    dead: int = 0
    waiting: int = 0
    failed: int = 0
    heard: int = 0
    faults: int = 0
    ended: int = 0

    def as_fact(self, time: float) -> Fact:
        return {"time": time, "fact": "verdict", **asdict(self)}


def fates(facts: Iterable[Fact]) -> dict[str, Fate]:
    """The Fate of each prediction that a producer has called delay()."""
    found: defaultdict[str, list[Fact]] = defaultdict(list)
    called = {}
    for fact in facts:
        if "id" in fact:
            found[fact["id"]].append(fact)
            if fact["fact"] == "called":
                called[fact["id"]] = Fate(fact["id"])
    for task, fate in called.items():
        fate.facts = sorted(found[task], key=lambda fact: fact["time"])
        for fact in fate.facts:
            if fact["fact"] == "result":
                fate.state = fact["state"]
            elif fact["fact"] == "dead":
                fate.dead = fact["reason"]
    return called


def judge(facts: list[Fact]) -> Verdict:
    """The Verdict over the facts of a trial."""
    those = fates(facts).values()
    counts: Counter[str] = Counter()
    for fate in those:
        waits = fate.is_lost and bool(fate.times("waits"))
        counts["accepted"] += fate.is_accepted
        counts["predicted"] += fate.is_accepted and fate.made > 0
        counts["twice"] += fate.begun > 1
        counts["made_twice"] += fate.made > 1
        counts["refused"] += fate.is_refused
        counts["made_anyway"] += fate.is_refused and fate.made > 0
        counts["lost"] += fate.is_lost and not waits
        counts["waiting"] += waits
        counts["told"] += fate.is_lost and fate.state == "FAILURE"
        counts["missing"] += fate.is_missing
        counts["dead"] += fate.dead is not None
        counts["failed"] += bool(fate.times("raised"))
        counts["heard"] += fate.made > 0 and bool(fate.times("succeeded") or fate.times("failed"))
    broken = Counter(fact["kind"] == "worker-ended" for fact in facts if fact["fact"] == "fault")
    return Verdict(**counts, faults=broken[False], ended=broken[True])
