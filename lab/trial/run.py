"""One trial: predictions are sent, faults are injected, and when all is over the facts are judged and kept."""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from celery import Celery

from lab.fault import Fault, counted
from lab.live.follow import Follower
from lab.probe.address import Address
from lab.probe.connection import ONCE
from lab.probe.queue import Totals, ready_and_unacked
from lab.trial import record
from lab.trial.plan import Planned
from lab.trial.rig import Rig
from lab.trial.story import chosen, story
from lab.trial.verdict import FINAL, Fact, Verdict, fates, judge

LOOK = 0.2  # seconds
QUIET = 4  # seconds without news until what has not ended is given up
UNSEEN = 12  # the same after a pool process was killed: its worker may take 10 to see that
LONGEST = 120  # seconds that the end may take after the last prediction was sent, or as long as sending took
SEVERAL = 1000  # results asked for at once

Tell = Callable[[str], None]


class Outcome(NamedTuple):
    """What a trial has shown: its Verdict; how often what was broken; the id of the prediction that proves the
    point and what happened to it, both empty if nothing did; its story, as (seconds since the first prediction,
    None for a reason, and a sentence); and its record."""

    verdict: Verdict
    faults: Counter[str]
    id: str
    what: str
    story: list[tuple[float | None, str]]
    path: Path


@dataclass(frozen=True)
class Trial:
    """number predictions sent in so many seconds, and the faults that the seed gives. settings are those of
    celeryconfig.py; None stands for Celery's own. A soak has poison among its predictions, and no fault after them."""

    settings: dict[str, Any] | None
    seed: int
    faults: list[Planned]
    number: int
    seconds: float
    is_soak: bool = False

    def hold(self, rig: Rig, folder: Path, tell: Tell) -> Outcome:
        """Hold the trial, and write its record into a folder. Raises Fault when it cannot go on."""
        begin = {"time": round(time.time(), 4), "fact": "trial", **self._said()}
        facts = self._happened(rig, tell)
        verdict, those = judge(facts), fates(facts)
        met = [fact for fact in facts if fact["fact"] == "fault"]
        fate, what = chosen(those) or (None, "")
        told: list[tuple[float | None, str]] = []
        if fate:
            facts.append({"time": round(time.time(), 4), "fact": "story", "id": fate.id, "what": what})
            zero = min(one.facts[0]["time"] for one in those.values())
            for at, sentence in story(fate, met, self.settings or {}, rig.broker_is_rabbitmq):
                told.append((at and at - zero, sentence))
        facts.append(verdict.as_fact(round(time.time(), 4)))
        path, broken = record.write([begin, *facts], folder), Counter(fact["what"] for fact in met)
        return Outcome(verdict, broken, fate.id if fate else "", what, told, path)

    def _happened(self, rig: Rig, tell: Tell) -> list[Fact]:
        """Send, break, wait for the end, and return all facts."""
        rig.begin(self.settings is None)
        with Follower(rig.monitor, lambda: rig.broker.dashboard) as follower:
            sent = f"{counted(self.number, 'prediction')} in {self.seconds:g} s"
            tell(f"Sending {sent}, with {counted(len(self.faults), 'fault')} …")
            producer = rig.produce(self.number, self.seconds, self.is_soak)
            begin = time.monotonic()
            broken: list[Fact] = []

            def mend() -> None:
                if fault := rig.mend():
                    broken.append(fault)
                    tell(f"{time.monotonic() - begin:7.2f} s {fault['what']}; it was started again")

            for planned in self.faults:
                if self.is_soak and producer.ended.is_set():
                    break
                mend()
                while (ahead := begin + planned.at - time.monotonic()) > 0:
                    time.sleep(min(ahead, LOOK))
                    mend()
                at = time.monotonic() - begin
                broken.append(fault := rig.inject(planned))
                tell(f"{at:7.2f} s {fault['what']}; it lasted {fault['until'] - fault['time']:.1f} s")
            while not producer.ended.wait(LOOK):
                mend()
            if producer.code:
                found = f"The producer of the trial ended with exit status {producer.code}"
                raise Fault(found, f"Look into {producer.log}")
            tell("All are sent. Waiting for the end …")
            patience = UNSEEN if any(fault.kind == "process" for fault in self.faults) else QUIET
            results, left = _wait_for_the_end(rig, patience, max(LONGEST, self.seconds), mend, tell)
            now = round(time.time(), 4)
            said = [{"time": now, "fact": "result", "id": task, "state": state} for task, state in results.items()]
            said += [{"time": now, "fact": "waits", "id": task} for task in left]
            said += [{"time": now, "fact": "dead", "id": task, "reason": why} for task, why in rig.dead().items()]
            return [*follower.facts(), *rig.truth(), *broken, *said]

    def _said(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "number": self.number,
            "seconds": self.seconds,
            "kinds": sorted({fault.kind for fault in self.faults}),
            "defaults": self.settings is None,
            "settings": {name: value for name, value in (self.settings or {}).items() if record.is_json(value)},
        }


def _wait_for_the_end(
    rig: Rig, patience: float, longest: float, mend: Callable[[], None], tell: Tell
) -> tuple[dict[str, str], set[str]]:
    """Wait until every prediction has ended, or nothing has happened for patience seconds; but not more than longest.

    Return what each one's result says, {} without a result backend, and those that are still in the queue or in a
    worker.
    """
    deadline, last, before = time.monotonic() + longest, time.monotonic(), None
    while True:
        mend()
        truth = rig.truth()
        those = fates(truth)
        results = _states(rig.monitor, list(those)) if rig.results else {}
        on_their_way = {
            fate.id
            for fate in those.values()
            if (fate.is_accepted or fate.begun) and not (fate.made and results.get(fate.id, "SUCCESS") in FINAL)
        }
        there = _in_broker(rig)
        if (news := (len(truth), sorted(results.items()), there)) != before:
            before, last = news, time.monotonic()
        quiet = time.monotonic() - last
        if not any(there) and (not on_their_way or quiet > patience):
            return results, set()
        if there.unacked and not rig.broker_is_rabbitmq and quiet > QUIET:
            tell(
                "Workers that died held messages. Valkey returns them after visibility_timeout; the trial does so now."
            )
            rig.give_back()
            last = time.monotonic()
        if time.monotonic() > deadline:
            return results, {task for task in on_their_way if not those[task].made}
        time.sleep(LOOK)


def _in_broker(rig: Rig) -> Totals:
    """How many messages wait in the queue, and how many are held."""
    with rig.monitor.connection_for_read(transport_options=ONCE) as connection:
        queue = rig.monitor.conf.task_default_queue
        ready, unacked = ready_and_unacked(
            connection, Address(rig.monitor.conf.broker_url), [queue], rig.broker.dashboard
        )
        return Totals(sum(ready.values()), unacked or 0)


def _states(app: Celery, tasks: list[str]) -> dict[str, str]:
    """What the result of each of these predictions says: PENDING where none is stored."""
    found: dict[str, str] = {}
    for at in range(0, len(tasks), SEVERAL):
        some = tasks[at : at + SEVERAL]
        stored = app.backend.mget([app.backend.get_key_for_task(task) for task in some])
        for task, value in zip(some, stored, strict=True):
            found[task] = json.loads(value)["status"] if value else "PENDING"
    return found
