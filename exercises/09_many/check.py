"""More messages than processes: where do they wait, as broker, worker and dashboards see it?"""

import time
from dataclasses import dataclass

from lab.desk import TooLong
from lab.fault import Wrong
from lab.follow import Follower
from lab.history import History
from lab.observe import waiting

KEEPS_WORKER_BUSY = True  # for as long as a prediction takes

MOST = 10  # pool processes that the exercise asks for
MESSAGES = 21  # that the check sends: 10 run, 10 may wait in the worker, and 1 in the queue
SLOW = 3  # seconds, as in exercise 07
PATIENCE = 4  # seconds for the pool to grow
ALL = 7  # seconds for everything: the dashboard's numbers are up to 5 seconds old


class DoesNotGrow(Wrong):
    """{worker} does not grow to 10 pool processes: it {pool}."""

    next = "In terminal 2: Ctrl-C, then `celery -A my_ml_app worker --autoscale=10,2`"


class TooFast(Wrong):
    """A prediction takes {seconds:.1f} seconds: {number} messages are gone before one has to wait."""

    next = "Let it sleep, as in exercise 07: `time.sleep(10)`. Then start the worker again"


class PrefetchHides(Wrong):
    """{running} predictions run, and {reserved} more messages wait inside {worker}, which took them ahead: there
    the queue does not show them, and no other worker can help."""

    next = """Write `worker_prefetch_multiplier = 1` into celeryconfig.py. Then Ctrl-C in terminal 2, and
        `celery -A my_ml_app worker --autoscale=10,2`"""


RECOGNISES = (DoesNotGrow, TooFast, PrefetchHides)


@dataclass
class Places:
    """Where the messages are: Ready in the broker, reserved by the worker, running; and how many a worker may hold."""

    ready: int
    reserved: int
    running: int
    prefetch: int

    @property
    def all(self):
        return self.ready + self.reserved + self.running

    @property
    def is_a_crowd(self):
        """Whether every process runs, and as many messages have been taken ahead as ever will be."""
        is_settled = not self.ready or self.running + self.reserved >= self.prefetch
        return self.running >= MOST and self.ready + self.reserved and is_settled


def check(desk):
    begin = time.monotonic()
    yield from desk.ready()
    worker = desk.worker
    most, least = worker.autoscale or (None, None)
    if most != MOST:
        has = f"scales from {least} to {most}" if most else f"has a fixed pool of {len(worker.processes)}"
        raise DoesNotGrow(worker=worker.name, pool=has)
    theirs = look(desk)
    number = 0 if theirs.is_a_crowd and (theirs.ready or theirs.reserved > MOST) else MESSAGES
    with desk.predictions(number) as sent:
        what = f"{MOST} predictions to run at once"
        view = desk.wait(lambda: too_fast(sent) or crowd(desk), what, PATIENCE)
        if done := too_fast(sent):
            raise TooFast(seconds=done["runtime"], number=number)
        if not view:
            raise TooLong(what=what, seconds=PATIENCE)
        if view.reserved > MOST:
            raise PrefetchHides(running=view.running, reserved=view.reserved, worker=worker.name)
        yield f"messages: {number} sent by the check" if number else f"messages: {view.all} of your own"
        yield f"worker: {view.running} predictions run, {view.reserved} messages wait inside {worker.name}"
        yield f"broker: {view.ready} messages wait in the queue {desk.queue!r}"
        left = ALL - (time.monotonic() - begin)
        follower, history = Follower(desk), History()
        what = "view, dashboard and Flower to agree"
        agreed = desk.wait(lambda: (now := said(desk, follower, history)).agree and now, what, left)
        yield from (agreed or said(desk, follower, history)).facts
        if not agreed:
            yield "these differ, since some are some seconds old: look at them again"


def look(desk):
    running, reserved, stats = (desk.inspect(what) or {} for what in ("active", "reserved", "stats"))
    return Places(waiting(desk.app, desk.queue), len(reserved), len(running), stats.get("prefetch_count") or 0)


def crowd(desk):
    view = look(desk)
    return view if view.is_a_crowd else None


@dataclass
class Said:
    """What the broker, `view`, RabbitMQ's dashboard and Flower say: Ready, Unacked, running; None for what does not."""

    ready: int
    view: History
    dashboard: dict | None
    flower: dict

    @property
    def agree(self):
        ready, unacked, running = sum(self.view.ready.values()), self.view.unacked, len(self.view.running)
        dashboard = self.dashboard or {"messages_ready": ready, "messages_unacknowledged": unacked}
        return (
            self.ready == ready == dashboard["messages_ready"]
            and unacked == dashboard["messages_unacknowledged"]
            and (not self.flower or sum(self.flower.values()) == running)
        )

    @property
    def facts(self):
        ready, unacked, running = sum(self.view.ready.values()), self.view.unacked, len(self.view.running)
        yield f"view: {ready} Ready, {'unknown' if unacked is None else unacked} Unacked, {running} running"
        if self.dashboard:
            ready, unacked = self.dashboard["messages_ready"], self.dashboard["messages_unacknowledged"]
            yield f"dashboard: {ready} Ready, {unacked} Unacked"
        if self.flower:
            workers = "1 worker" if len(self.flower) == 1 else f"{len(self.flower)} workers"
            yield f"Flower: {workers}, {sum(self.flower.values())} running"


def said(desk, follower, history):
    for fact in follower.look([worker.name for worker in desk.takers]):
        history.note(fact)
    dashboard = desk.consumers_on_dashboard() if desk.broker.is_rabbitmq else None
    return Said(waiting(desk.app, desk.queue), history, dashboard, desk.workers_in_flower())


def too_fast(sent):
    """The event of a prediction that is done already, and was not slow; None when there is none."""
    done = (one.event("task-succeeded") for one in sent)
    return next((event for event in done if event and event["runtime"] < SLOW), None)
