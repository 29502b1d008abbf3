"""The story of the one prediction that proves the point: each hop with its time, what hit it, and why it came back."""

from collections.abc import Iterator
from typing import Any

from lab.trial.verdict import Fact, Fate

NUMBERS = {2: "second", 3: "third", 4: "fourth", 5: "fifth"}


def chosen(fates: dict[str, Fate]) -> tuple[Fate, str] | None:
    """The prediction that says most about a trial, and what happened to it in words; None when nothing did."""
    for what, is_so in (
        ("was lost", lambda fate: fate.is_lost and not fate.times("waits")),
        ("was refused, and made all the same", lambda fate: fate.is_refused and fate.made > 0),
        ("is in the dead-letter queue", lambda fate: fate.dead is not None),
        ("was made twice", lambda fate: fate.made > 1),
        ("was begun twice", lambda fate: fate.begun > 1),
        ("was refused", lambda fate: fate.is_refused),
        ("was made, but its result is missing", lambda fate: fate.is_missing),
    ):
        for fate in fates.values():
            if is_so(fate):
                return fate, what
    return None


def story(
    fate: Fate, faults: list[Fact], settings: dict[str, Any], is_rabbitmq: bool
) -> Iterator[tuple[float | None, str]]:
    """What happened to a prediction, as (time in seconds since 1970, sentence); the time is None for a reason.

    settings are those that its worker and its producer had.
    """
    begun = 0
    process = None
    for fact in sorted([*fate.facts, *_met(fate, faults)], key=lambda fact: fact["time"]):
        match fact["fact"]:
            case "called":
                yield fact["time"], "the producer called delay()"
            case "accepted":
                confirmed = is_rabbitmq and (settings.get("broker_transport_options") or {}).get("confirm_publish")
                yield (
                    fact["time"],
                    "delay() returned: " + ("the broker had confirmed it" if confirmed else "it was sent"),
                )
            case "refused":
                yield fact["time"], f"delay() raised {fact['why']}"
            case "received":
                yield fact["time"], f"{fact['worker']} took it from the queue"
            case "begun":
                begun += 1
                process = fact["process"]
                again = f", for the {NUMBERS.get(begun, f'{begun}th')} time" if begun > 1 else ""
                yield fact["time"], f"process {process} began to predict{again}"
            case "made":
                yield fact["time"], f"process {fact['process']} finished"
            case "raised":
                yield fact["time"], f"process {fact['process']} ended it with {fact['why']}"
            case "retried":
                yield fact["time"], f"its worker sent it again: {fact['why']}"
            case "rejected":
                yield fact["time"], "its worker gave it back" if fact["requeue"] else "its worker rejected it"
            case "failed":
                yield fact["time"], f"its worker reported that it failed: {fact['why']}"
            case "fault":
                yield fact["time"], f"FAULT: {fact['what']}{_lasted(fact)}"
                yield None, _reason(fate, fact, settings, is_rabbitmq)
            case "waits":
                yield fact["time"], "it was still in the queue when the trial ended"
            case "dead":
                yield fact["time"], f"it is in the dead-letter queue: {fact['reason']}"
            case "result":
                yield (
                    fact["time"],
                    f"its result says {fact['state']}"
                    + (", which is what an id says that nobody knows" if fact["state"] == "PENDING" else ""),
                )


def _lasted(fault: Fact) -> str:
    return f" (process {fault['process']}; in order again {fault['until'] - fault['time']:.1f} s later)"


def _met(fate: Fate, faults: list[Fact]) -> list[Fact]:
    """The faults that can have touched a prediction: between its first and its last own fact, and the first after an
    attempt that did not end."""
    own = [fact for fact in fate.facts if fact["fact"] not in ("result", "dead", "waits")]
    first, last = own[0]["time"], own[-1]["time"]
    ended = fate.made and not fate.is_lost
    return [
        fault
        for number, fault in enumerate(sorted(faults, key=lambda one: one["time"]))
        if fault["until"] >= first and (fault["time"] <= last or (not ended and _is_next(fault, faults, last)))
    ]


def _is_next(fault: Fact, faults: list[Fact], last: float) -> bool:
    """Whether this is the first fault after a time."""
    return fault is min((one for one in faults if one["time"] > last), key=lambda one: one["time"], default=None)


def _stage(fate: Fate, fault: Fact) -> str:
    """How far a prediction was when a fault came."""
    before = {fact["fact"]: fact["time"] for fact in fate.facts if fact["time"] <= fault["time"]}
    begun, ended = before.get("begun", 0), max(before.get("made", 0), before.get("raised", 0))
    if ended > begun:
        return "finished"
    if begun:
        return "running"
    if "received" in before:
        return "held"
    return "queued" if "accepted" in before else "sent"


def _reason(fate: Fate, fault: Fact, settings: dict[str, Any], is_rabbitmq: bool) -> str:
    """Why a prediction came back after a fault, or did not, as a sentence."""
    stage, kind = _stage(fate, fault), fault["kind"]
    late = bool(settings.get("task_acks_late"))
    broker = "RabbitMQ" if is_rabbitmq else "Valkey"
    again = any(time > fault["time"] for time in fate.times("begun"))
    if kind in ("worker", "worker-cold", "process") and fate.id not in fault["running"] and stage == "running":
        return "It was running, but not in what was hit."
    if kind in ("worker", "worker-cold"):
        if stage == "running" and not late:
            return (
                "Its message had been acknowledged when it began, because task_acks_late is off: the broker had "
                "forgotten it, and nobody could send it again."
            )
        if stage in ("running", "held", "finished"):
            how = (
                "gave it to the next worker" if is_rabbitmq else "has it for the next worker, after visibility_timeout"
            )
            return f"Its message was not acknowledged yet, so {broker} {how}."
        return "It was in no worker then, and waited in the broker for the next one."
    if kind == "process":
        if stage != "running":
            return "It was not in that process."
        if not late:
            return (
                "Its message had been acknowledged when it began, because task_acks_late is off. The worker saw its "
                "process die, and could only report a failure."
            )
        if not settings.get("task_reject_on_worker_lost"):
            return (
                "The worker saw its process die, and acknowledged its message as a failure, because "
                "task_reject_on_worker_lost is off."
            )
        return "The worker saw its process die, and gave its message back, because task_reject_on_worker_lost is on."
    if kind == "results":
        return (
            "Its result could not be stored meanwhile."
            if stage in ("running", "finished")
            else "It did not need it then."
        )
    if fate.is_lost and not fate.begun:
        return (
            f"Nobody had told the producer whether {broker} had it. It did not."
            if stage == "sent"
            else (f"delay() had returned before {broker} had it for good.")
        )
    if fate.is_refused:
        return "delay() could not know whether the broker had it." + (
            " It had: only its confirmation was lost." if fate.begun else ""
        )
    if again and stage in ("running", "finished", "held"):
        return f"{broker} had not heard, or not kept, its acknowledgement, so it was delivered again."
    return "Its message stayed in the broker." if stage in ("queued", "sent") else "It was in its worker, and went on."
