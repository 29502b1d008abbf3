"""The story of the one prediction that proves the point: each hop with its time, what hit it, and why it came back."""

from collections.abc import Iterator
from typing import Any

from lab.trial.verdict import Fact, Fate

LATE = 1  # second: without a fault, delay() takes some milliseconds
STORING = 0.1  # seconds from the end of a prediction until its result is stored
ACKNOWLEDGING = 0.2  # seconds from the end of a prediction until the broker knows of it
STAGES = {  # a fact: how far a prediction is from then on
    "received": "held",
    "begun": "running",
    "made": "finished",
    "raised": "finished",
    "deferred": "finished",
}
NUMBERS = {2: "second", 3: "third", 4: "fourth", 5: "fifth"}


def chosen(fates: dict[str, Fate]) -> tuple[Fate, str] | None:
    """The prediction that says most about a trial, and what happened to it in words; None when nothing did."""
    for what, is_so in (
        ("was lost", lambda fate: fate.is_lost and not fate.times("waits")),
        ("was refused, and made all the same", lambda fate: fate.is_refused and fate.made > 0),
        ("is in the dead-letter queue", lambda fate: fate.begun > 0 and fate.dead is not None),
        ("was made more than once", lambda fate: fate.made > 1),
        ("was begun more than once", lambda fate: fate.begun > 1),
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

    Of the faults, it tells those that touched the prediction. settings are those of its worker and its producer.
    """
    begun, broker, gone = 0, "RabbitMQ" if is_rabbitmq else "Valkey", False
    confirmed = not is_rabbitmq or bool((settings.get("broker_transport_options") or {}).get("confirm_publish"))
    told: float | None = (
        None  # when the last fault was: it explains all until something happens to the prediction again
    )
    for fact in sorted([*fate.facts, *faults], key=lambda fact: fact["time"]):
        if fact["fact"] == "fault":
            is_new = told is None or any(told < own["time"] <= fact["time"] for own in fate.facts)
            if is_new and not gone and (reason := _reason(fate, fact, settings, broker, confirmed)):
                told = fact["time"]
                gone = fate.is_lost and not fate.begun  # what the first one took, the next ones could not meet
                lasted = fact["until"] - fact["time"]
                yield fact["time"], f"FAULT: {fact['what']}, process {fact['process']}. It lasted {lasted:.1f} s."
                yield None, reason
        else:
            begun += fact["fact"] == "begun"
            if sentence := _hop(fact, begun, confirmed):
                yield fact["time"], sentence


def _hop(fact: Fact, begun: int, confirmed: bool) -> str | None:
    """One fact about a prediction as a sentence; None for one that its story does not need."""
    match fact["fact"]:
        case "called":
            return "the producer called delay()"
        case "accepted":
            return (
                f"delay() returned: {'the broker had confirmed the message' if confirmed else 'the message was sent'}"
            )
        case "refused":
            return f"delay() raised {fact['why']}"
        case "received":
            return f"{fact['worker']} took it from the queue"
        case "begun":
            again = f", for the {NUMBERS.get(begun, f'{begun}th')} time" if begun > 1 else ""
            return f"process {fact['process']} began to predict{again}"
        case "made":
            return f"process {fact['process']} finished"
        case "raised":
            return f"process {fact['process']} ended it with {fact['why']}"
        case "retried":
            return f"its worker sent it once more: {fact['why']}"
        case "rejected":
            return "its worker gave it back" if fact["requeue"] else "its worker rejected it"
        case "failed":
            return "its worker reported a failure"
        case "waits":
            return "it was still in the queue when the trial ended"
        case "dead":
            return f"it is in the dead-letter queue: {fact['reason']}"
        case "result":
            unknown = ", as for an id that nobody knows" if fact["state"] == "PENDING" else ""
            return f"its result says {fact['state']}{unknown}"
    return None


def _stage(fate: Fate, fault: Fact) -> str:
    """How far a prediction was when a fault came."""
    if fate.id in fault["running"]:
        return "running"
    before = [fact["fact"] for fact in fate.facts if fact["time"] <= fault["time"]]
    if since := [STAGES[kind] for kind in before if kind in STAGES]:
        return since[-1]
    return "queued" if "accepted" in before else "sent"


def _reason(fate: Fate, fault: Fact, settings: dict[str, Any], broker: str, confirmed: bool) -> str | None:
    """Why a prediction came back after a fault, or did not, as a sentence; None when the fault did not touch it."""
    stage, kind = _stage(fate, fault), fault["kind"]
    late = bool(settings.get("task_acks_late"))
    if kind in ("worker", "worker-cold", "worker-ended", "process") and _had_just_ended(fate, fault):
        return f"It had just ended, but its message was not acknowledged yet, so {broker} gave it to a worker again."
    if kind == "process":
        return _after_its_process(settings) if fate.id in fault["running"] else None
    if kind in ("worker", "worker-cold", "worker-ended"):
        if stage == "running" and fate.id not in fault["running"]:
            return None
        if stage == "running" and not late:
            return (
                "Its message had been acknowledged when it began, because task_acks_late is off. So the broker did not "
                "have it any more, and could not send it again."
            )
        if stage in ("running", "held"):
            if broker == "Valkey" and kind == "worker-cold":
                return "Its message was not acknowledged, so its worker put it back into Valkey's list as it ended."
            how = "at once" if broker == "RabbitMQ" else "after visibility_timeout, or when the trial returned it"
            return f"Its message was not acknowledged, so {broker} gave it to the next worker, {how}."
        if stage == "queued" and fate.is_lost and not fate.begun and broker == "Valkey":
            return (
                "Its worker had taken it out of Valkey's list, and died before it had noted that. No setting of "
                "Celery's closes this gap, which RabbitMQ does not have."
            )
        return None
    if kind in ("results", "results-frozen"):
        if not any(fault["time"] - STORING < time < fault["until"] for time in fate.times("made")):
            return None
        if not fate.is_missing:
            return "Its worker kept the result until it could be stored."
        if settings.get("result_backend_always_retry"):
            return "Its result was not stored, although result_backend_always_retry is on."
        return "Its result could not be stored, and was dropped, because result_backend_always_retry is off."
    if kind not in ("broker", "broker-frozen", "network"):
        return None
    called, *answered = fate.times("called") + fate.times("accepted") + fate.times("refused")
    in_flight = called < fault["until"] and not (answered and answered[0] < fault["time"])
    if fate.is_lost and not fate.begun and (in_flight or stage != "sent"):
        why = "" if confirmed else ", because confirm_publish is off"
        return f"delay() had returned before {broker} had its message for good{why}."
    if in_flight:
        return _while_sending(fate, broker, answered[0] - called if answered else LATE)
    again = any(time > fault["time"] for time in fate.times("received" if stage == "held" else "begun"))
    if again and stage in ("held", "running", "finished"):
        return f"{broker} did not have its acknowledgement, so it delivered the message again."
    return None


def _had_just_ended(fate: Fate, fault: Fact) -> bool:
    """Whether a fault came between the end of a prediction and its acknowledgement."""
    ends = [fact for fact in fate.facts if fact["fact"] in ("made", "raised")]
    if fault["kind"] == "process":
        ends = [fact for fact in ends if fact["process"] == fault["process"]]
    just = any(0 <= fault["time"] - fact["time"] < ACKNOWLEDGING for fact in ends)
    return just and max(fate.times("begun")) > fault["time"]


def _while_sending(fate: Fate, broker: str, seconds: float) -> str | None:
    """What delay(), which took so many seconds, made of a broker that did not answer; None for nothing."""
    if fate.is_refused and fate.begun:
        return f"{broker} had the message, but delay() did not hear so in time."
    if fate.is_refused:
        return "The broker did not take the message, and delay() said so."
    if seconds < LATE:
        return None
    if fate.begun > 1:
        return f"delay() got no answer in time, so it sent the message once more. {broker} took both."
    return "delay() got its answer late."


def _after_its_process(settings: dict[str, Any]) -> str:
    """What a worker does with the message of a process that died."""
    if not settings.get("task_acks_late"):
        return (
            "Its message had been acknowledged when it began, because task_acks_late is off. Its worker saw the "
            "process die, and could only report a failure."
        )
    if not settings.get("task_reject_on_worker_lost"):
        return (
            "Its worker saw the process die, and acknowledged the message as failed, because "
            "task_reject_on_worker_lost is off."
        )
    return "Its worker saw the process die, and gave the message back, because task_reject_on_worker_lost is on."
