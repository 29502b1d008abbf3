"""Does the result of predict come back through the result backend, and can another client still read it later?"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis
from celery import Celery
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import ImproperlyConfigured
from kombu.utils.url import maybe_sanitize_url

from lab.course.kit import (
    ANSWER,
    AWAY,
    Address,
    AfterReturn,
    Desk,
    NotAnswering,
    NothingListens,
    PredictFails,
    Wrong,
    ask,
    nothing_after_return,
    printable,
)

DEADLINE = 35  # seconds; a prediction takes 10 by now, and may have to wait as long for a pool process
FREE = 11  # seconds for a pool process to be free; predictions of exercise 09's check keep all of them busy for 10
RETURNS = 14  # seconds for predict to return
STORED = 1  # seconds for its result to be read; the worker has stored it before it says that predict has returned
COME_BACK = 60  # seconds after which a person who comes back should still find a result
SHOWN = 100  # characters of a result


class NoBackend(Wrong):
    """Your app has no result backend: nothing keeps what predict returns."""

    next = """Redis can keep it. Write its address into celeryconfig.py (`make servers` shows it), and start the worker
        again"""


class NotABackend(Wrong):
    """Celery cannot keep results at {where}: {error}."""

    next = "A Redis address begins with redis://. `rpc://` means RabbitMQ, at the address in broker_url"


class ReturnsNothing(Wrong):
    """predict returns None, so that is what the result backend keeps."""

    next = "Return the prediction from predict, and start the worker again"


class NotJson(Wrong):
    """What predict returns cannot be stored: {error}."""

    next = "Return only what JSON knows: text, numbers, lists, dictionaries. Then start the worker again"


class StoresNothing(Wrong):
    """The result backend at {where} answers, but stores nothing: {error}."""

    next = "If it is full, give it more memory (`maxmemory`), or let results expire sooner"


class ResultsIgnored(Wrong):
    """The result of predict is ignored: the worker does not store it."""

    next = """Remove `task_ignore_result` from celeryconfig.py, and `ignore_result` from `@app.task`. Then start the
        worker again"""


class OtherBackend(Wrong):
    """{worker} keeps results in {theirs}, but your app looks for them in {ours}."""

    next = """CELERY_RESULT_BACKEND must be the same in terminal 2 and here, or not set (`unset CELERY_RESULT_BACKEND`).
        Then start the worker again: `celery -A my_ml_app worker`"""


class NotShared(Wrong):
    """{worker} and your app both name the result backend {ours}, but what the worker stores there is not found here:
    each has its own."""

    next = """Each program has its own memory, and `localhost` in a container is the container. Name a backend that both
        can reach, such as Redis"""


class Busy(Wrong):
    """{worker} is busy: it has {pool}, and none was free within {seconds} seconds."""

    temporary = True
    next = "Wait until its predictions have ended, and check again: `lab check 11`"


class ReadOnce(Wrong):
    """Through {backend}, a result can be read only once, by the client that sent the task. For everybody else it is
    {state}."""

    next = """Name Redis as the result backend in celeryconfig.py, so that you can come back for a result later. Then
        start the worker again"""


class SoonGone(Wrong):
    """A result is kept for {seconds} s: it is gone before anybody comes back for it."""

    next = "Remove `result_expires` from celeryconfig.py: Celery then keeps results for a day. Start the worker again"


RECOGNISES = (
    NoBackend,
    NotABackend,
    NothingListens,
    NotAnswering,
    StoresNothing,
    ResultsIgnored,
    OtherBackend,
    NotShared,
    Busy,
    AfterReturn,
    PredictFails,
    NotJson,
    ReturnsNothing,
    ReadOnce,
    SoonGone,
)


def check(desk: Desk) -> Iterator[str]:
    nothing_after_return()
    app = desk.app
    hasten(app)
    where = backend_of(app).as_uri(include_password=False)
    yield from desk.ready()
    yield f"result backend: {ask(app.conf.result_backend)} at {where}"
    require_room(app, where)
    if desk.task.ignore_result:
        raise ResultsIgnored()
    yield desk.worker_fact()
    try:
        with another_client(app) as other, desk.predictions(ignore_result=False, expires=DEADLINE) as (sent,):
            result = other.AsyncResult(sent.id)
            yield from later(desk, sent, result)
            result.forget()
    except AWAY:
        ask(app.conf.result_backend)  # says so, if that is what has gone
        raise


def later(desk, sent, result):
    """What becomes of the prediction that was sent, as another client reads its result."""
    if not desk.wait(lambda: "task-started" in sent.seen or has_ended(sent, result), "a pool process to be free", FREE):
        if len(desk.inspect("active") or []) < desk.worker.size:
            raise desk.not_in_time(f"{desk.worker.name}, which has a process free, to take the message", FREE)
        raise Busy(worker=desk.worker.name, pool=desk.worker.pool, seconds=FREE)
    if not desk.wait(lambda: has_ended(sent, result), "predict to return", RETURNS):
        raise desk.not_in_time("predict to return", RETURNS)
    found = result if desk.wait(result.ready, "its result", STORED) else desk.app.AsyncResult(sent.id)
    if not found.ready():
        raise not_there(desk)
    if found.state != "SUCCESS":
        error = printable(repr(found.result))
        raise NotJson(error=error) if "EncodeError" in error else PredictFails(error=error)
    if found.result is None:
        raise ReturnsNothing()
    if found is not result:
        raise ReadOnce(backend=Address(desk.app.conf.result_backend), state=result.state)
    yield f"predict: returned {printable(repr(result.result), SHOWN)}"
    kept = time_to_live(result)
    if kept is not None and kept < COME_BACK:
        raise SoonGone(seconds=kept)
    yield f"later: {f'kept for {kept} s' if kept else 'kept'}, and still there for another client"


def has_ended(sent, result):
    """Whether the worker says that predict has ended, or its result is there already."""
    return sent.has_ended or result.ready()


def not_there(desk):
    """Why a prediction that has ended has no result here, as a Wrong."""
    worker, ours = desk.worker, maybe_sanitize_url(desk.app.conf.result_backend)
    theirs = (desk.inspect("report") or {}).get("ok", "").partition("results:")[2].split("\n")[0]
    if theirs and theirs.rstrip("/") != ours.rstrip("/"):
        return OtherBackend(worker=worker.name, theirs=theirs, ours=ours)
    return NotShared(worker=worker.name, ours=ours)


def hasten(app):
    """Let an app whose result backend is frozen say so, instead of asking it for minutes."""
    options = app.conf.result_backend_transport_options | {"retry_policy": {"max_retries": 1}}
    app.conf.update(
        redis_socket_timeout=ANSWER, result_backend_always_retry=False, result_backend_transport_options=options
    )


def backend_of(app):
    """The app's result backend. Raises NoBackend and NotABackend."""
    try:
        if isinstance(app.backend, DisabledBackend):
            raise NoBackend()
        return app.backend
    except (ImproperlyConfigured, ImportError) as error:
        reason = str(error).partition(". ")[0].rstrip(".")
        raise NotABackend(where=Address(app.conf.result_backend), error=reason) from None
    except ValueError:  # a part of its address: of that, ask() says more
        ask(app.conf.result_backend)
        raise


def require_room(app, where):
    """Raise StoresNothing when Redis takes no key: it is full, or a copy that is only read."""
    if Address(app.conf.result_backend).is_redis:
        try:
            app.backend.client.set(app.backend.get_key_for_task("check"), "", ex=1)
        except redis.ResponseError as error:
            raise StoresNothing(where=where, error=printable(error).rstrip(".")) from None


def time_to_live(result):
    """Seconds for which Redis still keeps a result, 0 when it is gone; None for ever, or where it cannot be seen."""
    if not Address(result.app.conf.result_backend).is_redis:
        return None
    seconds = result.backend.client.ttl(result.backend.get_key_for_task(result.id))
    return {-1: None, -2: 0}.get(seconds, seconds)


@contextmanager
def another_client(app):
    """An app that knows what every client knows, and has not sent anything."""
    addresses = {"broker": app.conf.broker_url, "backend": app.conf.result_backend}
    other = Celery("another", **addresses, config_source="celeryconfig", set_as_current=False)
    hasten(other)
    try:
        yield other
    finally:
        if isinstance(other.backend, RPCBackend):  # by asking, a client makes a queue to be answered in
            with suppress(*AWAY), other.connection_for_write() as connection:
                other.backend.binding(connection.default_channel).delete()
