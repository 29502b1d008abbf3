"""More messages than processes: where do they wait, say broker, worker and Flower?"""

from collections.abc import Iterator
from dataclasses import dataclass

from lab.course.kit import Desk, Totals, Wrong, counted

KEEPS_WORKER_BUSY = True  # for as long as a prediction takes

MOST = 10  # pool processes that the exercise asks for
SLOW = 3  # seconds, as in exercise 07
STILL = 1  # seconds for a moment in which nothing moves
PATIENCE = 4  # seconds for the pool to grow
HEARTBEAT = 3  # seconds; a worker tells Flower every 2 how many predictions run


class DoesNotGrow(Wrong):
    """{worker} does not grow to 10 pool processes: it {pool}."""

    next = "In terminal 2: Ctrl-C, then `celery -A my_ml_app worker --autoscale=10,2`"


class TooFast(Wrong):
    """A prediction takes {seconds:.1f} seconds: {number} messages have finished before one has to wait."""

    next = "Make predict slow, as in exercise 07, and start the worker again"


class PrefetchHides(Wrong):
    """{running} predictions run, and {reserved} more messages wait inside {worker}, which took them ahead. The queue
    does not show them, and no other worker can take them."""

    next = """`worker_prefetch_multiplier` says how many messages a worker takes ahead for each process. In your app it
        is {multiplier!r}; one is enough. Correct it in celeryconfig.py. Then Ctrl-C in terminal 2, and `celery -A
        my_ml_app worker --autoscale=10,2`"""


RECOGNISES = (DoesNotGrow, TooFast, PrefetchHides)


@dataclass
class Places:
    """Where the messages are, at one moment: in the broker, reserved by workers, running there; prefetch is how many
    these many workers may hold before they run."""

    broker: Totals
    workers: int
    reserved: int
    running: int
    prefetch: int

    @property
    def all(self):
        return self.broker.ready + self.reserved + self.running

    @property
    def hides(self):
        """Whether a worker has taken more ahead than one message for each process."""
        return self.reserved > MOST * self.workers

    @property
    def is_a_crowd(self):
        """Whether every process runs, and as many messages have been taken ahead as ever will be."""
        ready = self.broker.ready
        is_settled = not ready or self.running + self.reserved >= self.prefetch
        return self.running >= MOST * self.workers and ready + self.reserved and is_settled


def check(desk: Desk) -> Iterator[str]:
    yield from desk.ready()
    for worker in desk.takers:
        most, least = worker.autoscale or (None, None)
        if most != MOST:
            has = f"scales from {least} to {most}" if most else f"has a fixed pool of {len(worker.processes)}"
            raise DoesNotGrow(worker=worker.name, pool=has)
    names, workers = " and ".join(worker.name for worker in desk.takers), len(desk.takers)
    theirs = desk.wait(lambda: look(desk), "the worker to say what it has", STILL)
    is_enough = theirs and theirs.is_a_crowd and (theirs.broker.ready or theirs.hides)
    number = 0 if is_enough else 2 * MOST * workers + 1  # as many run as may wait in workers, and 1 waits in the queue
    with desk.predictions(number) as sent:
        what = f"{MOST * workers} predictions to run at once"
        places = desk.wait(lambda: too_fast(sent) or crowd(desk), what, PATIENCE)
        if done := too_fast(sent):
            raise TooFast(seconds=done["runtime"], number=number)
        if not places:
            raise desk.not_in_time(what, PATIENCE)
        if places.hides:
            multiplier = desk.app.conf.worker_prefetch_multiplier
            found = {"running": places.running, "reserved": places.reserved, "multiplier": multiplier}
            raise PrefetchHides(worker=names, **found)
        yield f"messages: {number} sent by the check" if number else f"messages: {places.all} were there already"
        waits = "1 message waits" if places.reserved == 1 else f"{places.reserved} messages wait"
        yield f"worker: {places.running} predictions run, {waits} inside {names}"
        unacked = "" if places.broker.unacked is None else f", {places.broker.unacked} Unacked"
        yield f"broker: {places.broker.ready} Ready{unacked}, at the same moment"
        if desk.workers_in_flower():
            yield f"Flower: {flower(desk, places.running)}"


def look(desk):
    """The Places of one moment: the broker has said the same before and after the workers; None when it has not."""
    before, stats = desk.totals(), desk.inspect_all("stats")
    if len(stats) < len(desk.takers):
        return None
    running, reserved = desk.inspect_all("active"), desk.inspect_all("reserved")
    if desk.totals() != before:
        return None
    prefetch = sum(facts.get("prefetch_count") or 0 for facts in stats.values())
    return Places(before, len(stats), sum(map(len, reserved.values())), sum(map(len, running.values())), prefetch)


def crowd(desk):
    places = look(desk)
    return places if places and places.is_a_crowd else None


def flower(desk, running):
    """What Flower says, which comes some seconds later than what the worker says."""

    def said():
        return sum(desk.workers_in_flower().values())

    agrees = desk.wait(lambda: said() == running, f"Flower to hear of {running} running predictions", HEARTBEAT)
    number = counted(len(desk.workers_in_flower()), "worker")
    return f"{number}, {running} running" if agrees else f"{number}, {said()} running, a moment later"


def too_fast(sent):
    """The event of a prediction that is done already, and was not slow; None when there is none."""
    done = (one.event("task-succeeded") for one in sent)
    return next((event for event in done if event and event["runtime"] < SLOW), None)
