"""Does a result come back through the result backend, and is it there for whoever asks later?"""

import os
import time
from contextlib import contextmanager, suppress

from celery import Celery
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import ImproperlyConfigured
from celery.exceptions import TimeoutError as NotYet

from lab.desk import TooLong
from lab.fault import Wrong
from lab.observe import AWAY, Address, NotAnswering, NothingListens, ask, take_back

ECHO = "celery.accumulate"  # a task that every Celery app has: it returns its arguments, however slow predict is
BACK = 1  # seconds that its result may take; it took 0.02
FREE = 5  # seconds more, when predictions keep every process busy: those of exercise 09's check do, for 10
COME_BACK = 60  # seconds after which a person who comes back should still find a result


class NoBackend(Wrong):
    """Your app has no result backend: what predict returns is thrown away."""

    next = 'Write `result_backend = "redis://localhost:6379/0"` into celeryconfig.py, and start the worker again'


class NotABackend(Wrong):
    """Celery can keep no results at {where}: {error}."""

    next = "For Redis, write `redis://localhost:6379/0`; for RabbitMQ, `rpc://`, which uses the broker of broker_url"


class ResultsIgnored(Wrong):
    """The result of predict is ignored: its worker keeps nothing, wherever the backend is."""

    next = """Take `task_ignore_result` out of celeryconfig.py, and `ignore_result` out of `@app.task`, and start the
        worker again"""


class OtherBackend(Wrong):
    """{worker} keeps results in {theirs}, and your app looks for them in {ours}."""

    next = """End the worker (Ctrl-C), and start it where CELERY_RESULT_BACKEND is the same as here, or not set:
        `celery -A my_ml_app worker`"""


class Busy(Wrong):
    """Every pool process of {worker} is busy (it has {number}): none was free within {seconds} seconds."""

    passes = True
    next = "Wait until its predictions have ended, and check again: `python -m lab check 11`"


class ReadOnce(Wrong):
    """Through {backend} a result can be read once, by the client that sent the task: for the next one who asks, it is
    {state}."""

    next = """To come back for it later, write `result_backend = "redis://localhost:6379/0"` into celeryconfig.py, and
        start the worker again"""


class SoonGone(Wrong):
    """A result is kept for {seconds} seconds: it is gone before anybody comes back for it."""

    next = """Take `result_expires` out of celeryconfig.py: Celery then keeps results for a day. Start the worker
        again"""


RECOGNISES = (
    NoBackend,
    NotABackend,
    NothingListens,
    NotAnswering,
    ResultsIgnored,
    OtherBackend,
    Busy,
    ReadOnce,
    SoonGone,
)


def check(desk):
    app = desk.app
    where = backend_of(app).as_uri(include_password=False)
    yield from desk.ready()
    yield f"result backend: {ask(app.conf.result_backend)} at {where}"
    if desk.task.ignore_result:
        raise ResultsIgnored()
    yield desk.worker_fact()
    with round_trip(desk) as (result, seconds):
        kept = time_to_live(result)
        if kept is not None and kept < COME_BACK:
            raise SoonGone(seconds=kept)
        state = seen_by_another(app, result.id)
        if state != "SUCCESS":
            raise ReadOnce(backend=where, state=state)
        for_how_long = f"kept for {kept} s, and " if kept else ""
        yield f"result: of {ECHO}, which every app has, back after {seconds:.2f} s"
        yield f"later: {for_how_long}still there for another client"


def backend_of(app):
    """The app's result backend. Raises NoBackend and NotABackend."""
    try:
        if isinstance(app.backend, DisabledBackend):
            raise NoBackend()
        return app.backend
    except (ImproperlyConfigured, ImportError) as error:
        reason = str(error).partition(". ")[0].rstrip(".")
        raise NotABackend(where=Address(app.conf.result_backend), error=reason) from None


@contextmanager
def round_trip(desk):
    """Send a task to the student's worker: its result, and after how many seconds that was back.

    The result is forgotten, unless it comes only after the check.
    """
    app, task = desk.app, f"check-{os.getpid()}-{time.monotonic_ns()}"
    sent = time.monotonic()
    result = app.send_task(ECHO, ["sent by the check"], task_id=task, queue=desk.queue, expires=BACK + FREE)
    try:
        with suppress(NotYet):
            result.get(timeout=BACK)
        if not result.ready():
            wait_for_a_process(desk, result)
        yield result, time.monotonic() - sent
    finally:
        with suppress(*AWAY):
            if not result.ready():
                take_back(app, desk.queue, {task})
            result.forget()


def wait_for_a_process(desk, result):
    """Wait for a result that was late because the pool is busy. Raises what else explains it."""
    worker, ours = desk.worker, desk.app.backend.as_uri(include_password=False)
    inspect = desk.app.control.inspect(destination=[worker.name], timeout=1, limit=1)
    report = (inspect.report() or {}).get(worker.name, {}).get("ok", "")
    theirs = report.partition("results:")[2].split("\n")[0]
    if worker.process and theirs and theirs != ours:  # in a container, the same backend has another name
        raise OtherBackend(worker=worker.name, theirs=theirs, ours=ours)
    active = (inspect.active() or {}).get(worker.name, [])
    if len(active) < len(worker.processes):
        raise TooLong(what="a result to come back", seconds=BACK)
    if not desk.wait(result.ready, "a pool process to be free", FREE):
        raise Busy(worker=worker.name, number=len(worker.processes), seconds=BACK + FREE)


def time_to_live(result):
    """Seconds for which Redis still keeps a result, 0 when it is gone; None for ever, or where it cannot be seen."""
    if not Address(result.app.conf.result_backend).is_redis:
        return None
    seconds = result.backend.client.ttl(result.backend.get_key_for_task(result.id))
    return {-1: None, -2: 0}.get(seconds, seconds)


def seen_by_another(app, task):
    """The state of a task for another client, who knows its id."""
    addresses = {"broker": app.conf.broker_url, "backend": app.conf.result_backend}
    other = Celery("another", **addresses, config_source="celeryconfig", set_as_current=False)
    try:
        return other.AsyncResult(task).state
    finally:
        if isinstance(other.backend, RPCBackend):  # by asking, a client makes a queue to be answered in
            with other.connection_for_write() as connection:
                other.backend.binding(connection.default_channel).delete()
