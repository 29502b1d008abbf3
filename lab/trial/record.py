"""A trial's record: each fact a line of JSON. It is written when the trial has ended, at once or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.fault import Fault
from lab.trial.verdict import Fact, Verdict

RUNS = Path(".lab/runs")
NAMES = {one.name for one in fields(Verdict)}


@dataclass(frozen=True)
class Record:
    """What a record says of its trial. time is when it began, in seconds since 1970; settings are those of
    celeryconfig.py that JSON can say; defaults is whether Celery's own were used instead."""

    path: Path
    time: float
    seed: int
    kinds: list[str]
    defaults: bool
    settings: dict[str, Any]
    verdict: Verdict

    @property
    def clock(self) -> str:
        return f"{datetime.fromtimestamp(self.time):%H:%M:%S}"


def write(facts: list[Fact], folder: Path) -> Path:
    """Write a record into a folder, and return its path."""
    path = folder / f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{os.getpid()}_trial.jsonl"
    draft = path.with_suffix(".draft")
    try:
        draft.write_text("".join(f"{json.dumps(fact)}\n" for fact in facts))
        return draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)  # there is one only after Ctrl-C, or on a full disk


def is_json(value: object) -> bool:
    """Whether JSON can say it."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def read(path: Path) -> Record:
    """What a record says of its trial. Raises Fault."""
    try:
        lines = path.read_text().splitlines()
        first, last = json.loads(lines[0]), json.loads(lines[-1])
        if first["fact"] != "trial" or last["fact"] != "verdict":
            raise ValueError
        counts = {name: number for name, number in last.items() if name in NAMES}
        settings = {name: first[name] for name in ("time", "seed", "kinds", "defaults", "settings")}
        return Record(path, verdict=Verdict(**counts), **settings)
    except (OSError, ValueError, LookupError, TypeError):
        raise Fault(f"{path} is not the record of a trial", "`lab trial` writes one") from None


def trials(folder: Path = RUNS) -> Iterator[Record]:
    """The trials whose records are in a folder, the newest first."""
    for path in sorted(folder.glob("*_trial.jsonl"), reverse=True):
        with suppress(Fault):
            yield read(path)


def with_defaults(own: list[Record]) -> list[Verdict]:
    """What trials with Celery's own settings found, which had the same faults as one of these: the newest first."""
    faults = [(one.seed, one.kinds) for one in own]
    return [one.verdict for one in trials() if one.defaults and (one.seed, one.kinds) in faults]
