"""Which faults a trial injects, and when: all of it drawn from a seed."""

import random
from collections.abc import Sequence
from typing import NamedTuple

KINDS = {  # each kind of fault: in words, about how many seconds it takes, and how often it comes in a soak
    "worker": ("kill -9 of the worker", 3, 4),
    "process": ("kill -9 of a pool process", 1, 30),
    "worker-cold": ("SIGQUIT to the worker, a cold shutdown", 4, 2),
    "broker": ("kill -9 of the broker", 10, 1),
    "broker-frozen": ("the broker frozen (SIGSTOP)", 8, 1),
    "results": ("kill -9 of the result backend", 4, 3),
    "network": ("the network to the broker silent, then cut", 8, 1),
    "worker-frozen": ("the worker frozen (SIGSTOP)", 8, 1),
    "results-frozen": ("the result backend frozen (SIGSTOP)", 8, 1),
    "flower": ("kill -9 of Flower", 3, 2),
    "flower-frozen": ("Flower frozen (SIGSTOP)", 8, 1),
}
OF_A_TRIAL = list(KINDS)[:7]  # the others only belong to a soak
FEWEST = 3  # faults of a trial
CALM = 0.1  # of its time, at the beginning and at the end


class Planned(NamedTuple):
    """A fault: its kind, seconds after the first prediction, and a number from 0 to 1 that decides what is left open:
    which pool process is killed, how long something stays away."""

    kind: str
    at: float
    draw: float


def seconds_for(kinds: Sequence[str]) -> float:
    """How long a trial with these kinds of faults should send: half as long again as they take."""
    return max(20, 1.5 * sum(KINDS[kind][1] for kind in _each(kinds)))


def _each(kinds: Sequence[str]) -> list[str]:
    """The kind of each fault: every kind, and at least FEWEST in all."""
    return [kinds[number % len(kinds)] for number in range(max(FEWEST, len(kinds)))]


def plan(kinds: Sequence[str], seed: int, seconds: float) -> list[Planned]:
    """The faults of a trial that sends for so many seconds."""
    return _spread(_each(kinds), random.Random(seed), seconds)


def plan_soak(seed: int, seconds: float, with_results: bool) -> list[Planned]:
    """The faults of a soak: as many as fit one after the other. Each kind comes once, then as often as KINDS says."""
    kinds = [kind for kind in KINDS if with_results or not kind.startswith("results")]
    deck = [kind for kind in kinds for _ in range(KINDS[kind][2])]
    takes = sum(KINDS[kind][1] for kind in deck) / len(deck)
    more = max(0, round(seconds * (1 - 2 * CALM) / takes) - len(kinds))
    chance = random.Random(seed)
    return _spread(kinds + chance.choices(deck, k=more), chance, seconds)


def _spread(each: list[str], chance: random.Random, seconds: float) -> list[Planned]:
    """These faults in any order, each in its own part of the time."""
    chance.shuffle(each)
    part = seconds * (1 - 2 * CALM) / len(each)
    return [
        Planned(kind, round(seconds * CALM + part * (number + chance.random()), 2), chance.random())
        for number, kind in enumerate(each)
    ]
