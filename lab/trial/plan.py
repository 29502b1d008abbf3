"""Which faults a trial injects, and when: all of it drawn from a seed."""

import random
from collections.abc import Sequence
from typing import NamedTuple

KINDS = {  # each kind of fault, in words, and about how many seconds it takes until all works again
    "worker": ("kill -9 of the worker", 3),
    "process": ("kill -9 of a pool process", 1),
    "worker-cold": ("SIGQUIT to the worker, a cold shutdown", 4),
    "broker": ("kill -9 of the broker", 10),
    "broker-frozen": ("the broker frozen (SIGSTOP)", 8),
    "results": ("kill -9 of the result backend", 4),
    "network": ("the network to the broker silent, then cut", 8),
}
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
    """The faults of a trial that sends for so many seconds: in each of as many equal parts of its time, one."""
    chance, each = random.Random(seed), _each(kinds)
    chance.shuffle(each)
    part = seconds * (1 - 2 * CALM) / len(each)
    return [
        Planned(kind, round(seconds * CALM + part * (number + chance.random()), 2), chance.random())
        for number, kind in enumerate(each)
    ]
