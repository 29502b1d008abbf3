"""Does the student's guard put a malformed message aside, with the reason, and has their own worker survived one?"""

import json
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from unittest.mock import Mock

from celery import Celery
from kombu.utils.functional import maybe_list

from lab.course.kit import (
    TASK,
    Desk,
    NotImportable,
    PredictFails,
    StaleCode,
    Unreadable,
    Wrong,
    dead,
    load,
    printable,
)

DEADLINE = 35  # seconds; it may have to wait for a process that makes a prediction of 10, or holds poison
MEETS = 3  # seconds for a worker to meet what was sent just before the check
PREDICTION = 10  # seconds that predict takes, since exercise 07
RETURNS = 25  # seconds for predict to return
FILE, GUARD = "guard.py", "guard:Consumer"
DEAD, REASON = "dead", "dead-reason"  # the queue, and a header in it
HEADERS = {"task": TASK, "id": "trial"}
BODY = [[{"message": "tried by the check"}], {}, {}]
MALFORMED = {  # some of those that end a stock worker, each with another error: body and headers
    "an empty body": ([], HEADERS),
    "no id": (BODY, {"task": TASK}),
    "an expiry that is no time": (BODY, HEADERS | {"expires": {}}),
    "a time limit that is text": (BODY, HEADERS | {"timelimit": "ab"}),  # which `handle` takes, and the pool does not
}
START = "Then start the worker again: `celery -A poison worker`"


class GuardOff(Wrong):
    """Your worker has no guard: worker_consumer in celeryconfig.py is {found!r}."""

    next = f"Name the class Consumer of guard.py there: the module, a colon, the class. {START}"


class NotImported(Wrong):
    """No worker will find guard.py: in your folder, Celery looks for what imports in celeryconfig.py names: {found}."""

    next = f"Add the module to imports, which is a list. {START}"


class NoTimeLimit(Wrong):
    """A prediction that hangs keeps its process for ever: {name} in celeryconfig.py is not set."""

    next = f"Set it, in seconds, longer than any prediction takes. {START}"


class OddLimit(Wrong):
    """{name} in celeryconfig.py is {value!r}, which is no number of seconds."""

    next = f"Write a number, such as 120, without quotation marks. {START}"


class LimitTooShort(Wrong):
    """The soft time limit is {soft} seconds, for every task: predict, which takes 10, never finishes."""

    next = f"Make both limits longer than any prediction takes. {START}"


class LimitsSwapped(Wrong):
    """The hard time limit is {hard} seconds, the soft one {soft}: the process ends before its task could tidy up."""

    next = f"Make the soft limit the shorter one in celeryconfig.py. {START}"


class LetsThrough(Wrong):
    """Your guard lets a message with {what} through, and that ends the worker: {error}."""

    next = f"Whatever error one message raises, it must not leave `guarded` in guard.py: see `lab hint 16`. {START}"


class NotChecked(Wrong):
    """Your guard passes a message with {what} on. Celery takes it for a task, and it ends the worker a moment later."""

    next = f"Not every flaw raises an error in `handle`: let `check` see each message first. {START}"


class StillHeld(Wrong):
    """Your guard leaves a message with {what} as it is: the broker keeps it, and gives it to the next worker."""

    next = f"To survive it is not enough. `bury` in guard.py keeps a copy, and acknowledges the message. {START}"


class ComesBack(Wrong):
    """Your guard gives a message with {what} back to its queue: it comes again at once, and so on for ever."""

    next = f"No worker will ever be able to read it. `bury` in guard.py puts it aside. {START}"


class NotKept(Wrong):
    """Your guard throws a message with {what} away: it is not in the queue 'dead'."""

    next = f"What is gone, nobody can look at. `bury` in guard.py keeps a copy. {START}"


class SameReason(Wrong):
    """Whatever is wrong with a message, your guard gives the same reason, {reason!r}: nobody can tell what to mend."""

    next = f"Give `bury` the error that the message has raised. Is it one of the guard's own? Correct that. {START}"


class RefusesAll(Wrong):
    """Your guard keeps a valid message away from the worker, too."""

    next = f"Celery's own `handle` has to get every message. Only one that raises an error is put aside. {START}"


class BuriesAtBreak(Wrong):
    """When the connection to the broker breaks, your guard puts a valid message aside, which then comes again."""

    next = f"A connection's errors are not the message's fault: raise them on, as the comment there says. {START}"


class EndedByIt(Wrong):
    """No worker answers, and a malformed message waits in the queue {queue!r}: it has ended yours, before the guard."""

    next = "Start the worker again: `celery -A poison worker`. Does it end this time?"


class NotMet(Wrong):
    """{worker} started {seconds} seconds ago. Since then, no malformed message has been put into the queue 'dead'."""

    next = "In terminal 3: `python poison.py malformed`. Then look at what is in there: `lab dead`"


RECOGNISES = (
    GuardOff,
    NotImported,
    NoTimeLimit,
    OddLimit,
    LimitTooShort,
    LimitsSwapped,
    LetsThrough,
    NotChecked,
    StillHeld,
    ComesBack,
    NotKept,
    SameReason,
    RefusesAll,
    BuriesAtBreak,
    EndedByIt,
    StaleCode,
    NotMet,
)


def check(desk: Desk) -> Iterator[str]:
    yield from desk.ready()
    if (found := desk.configuration.worker_consumer) != GUARD:
        raise GuardOff(found=found)
    if "guard" not in (imports := maybe_list(desk.configuration.imports)):
        raise NotImported(found=", ".join(imports) or "nothing")
    yield f"time limits: {limits(desk.configuration)}"
    with closing(Trial(consumer())) as trial:
        reasons = [trial.bury(what) for what in MALFORMED]
        if len(set(reasons)) == 1:
            raise SameReason(reason=reasons[0])
        trial.pass_on()
    yield f"guard: puts {len(MALFORMED)} kinds of malformed messages aside, and passes on what is valid"
    started = start_of_last(desk)
    yield desk.worker_fact()
    met = desk.wait(lambda: malformed_since(desk, started), "your worker to meet a malformed message", MEETS)
    if not met:
        raise NotMet(worker=desk.worker.name, seconds=round(time.time() - started))
    yield f"dead: at {datetime.fromtimestamp(met.since):%H:%M:%S}: {printable(met.reason)}"
    yield f"later: {predicts(desk)}"


def limits(configuration):
    """The time limits of every task, as a fact."""
    soft, hard = configuration.task_soft_time_limit, configuration.task_time_limit
    for name, value in (("task_soft_time_limit", soft), ("task_time_limit", hard)):
        if not value:
            raise NoTimeLimit(name=name)
        if not isinstance(value, int | float):
            raise OddLimit(name=name, value=value)
    if soft <= PREDICTION:
        raise LimitTooShort(soft=soft)
    if soft >= hard:
        raise LimitsSwapped(soft=soft, hard=hard)
    return f"{soft} s, then SoftTimeLimitExceeded; {hard} s, then the process ends"


def consumer():
    """The class Consumer in guard.py."""
    found = getattr(load("guard"), "Consumer", None)
    if not isinstance(found, type):
        raise NotImportable(file=FILE, error="it has no class called Consumer")
    return found


def predict(payload):
    """What the Trial's broker has messages for. It never runs."""


class Trial:
    """A student's Consumer, and a broker in the memory of this process: no message leaves it."""

    def __init__(self, kind):
        app = Celery("trial", config_source="celeryconfig", set_as_current=False)
        app.conf.update(broker_read_url="memory://", broker_write_url="memory://", broker_transport_options={})
        app.backend_cls = "disabled://"
        app.task(predict, name=TASK)
        app.finalize()
        self._on_request = Mock()
        try:
            self._consumer = kind(self._on_request, app=app, pool=Mock(), timer=Mock(), controller=Mock())
        except Exception as error:
            raise NotImportable(file=FILE, error=f"its Consumer cannot begin: {printable(repr(error))}") from None
        self._consumer.controller.state.revoked = ()
        self._consumer.event_dispatcher = None
        self._consumer.connection_errors = (ConnectionResetError,)  # memory has none
        self._consumer.update_strategies()
        self._consumer.connection = self._connection = app.connection_for_read()
        self._consumer.task_consumer = app.amqp.TaskConsumer(self._connection.default_channel)
        self._queue = app.amqp.queues[app.conf.task_default_queue].bind(self._connection.default_channel)
        self._queue.declare()

    def close(self):
        self._connection.release()

    def bury(self, what):
        """Give the guard a malformed message: the reason for which it is put aside. Raises what happens instead."""
        try:
            message, dead = self._give(*MALFORMED[what])
        except Exception as error:
            raise LetsThrough(what=what, error=printable(repr(error))) from None
        if self._on_request.called:
            raise NotChecked(what=what)
        if self._queue.get(no_ack=True):
            raise ComesBack(what=what)
        if not message.acknowledged:
            raise StillHeld(what=what)
        if not dead:
            raise NotKept(what=what)
        return dead.headers.get(REASON)

    def pass_on(self):
        """Give it a message that is valid; then another one, while the connection breaks."""
        dead = True
        with suppress(Exception):
            dead = self._give(BODY, HEADERS)[1]
        if dead or not self._on_request.called:
            raise RefusesAll()
        self._on_request.side_effect = ConnectionResetError
        with suppress(ConnectionResetError):
            if self._give(BODY, HEADERS)[1]:
                raise BuriesAtBreak()

    def _give(self, body, headers):
        """Give the guard a message: that message, and what it has put into the queue of dead ones, or None."""
        self._connection.Producer().publish(body, routing_key=self._queue.name, serializer="json", headers=headers)
        message = self._queue.get()
        self._consumer.create_task_handler()(message)
        self._consumer.perform_pending_operations()
        return message, self._connection.default_channel.basic_get(DEAD, no_ack=True)


def start_of_last(desk):
    """When the last of the student's workers started; all of them run the guard as it is in the file now."""
    try:
        workers = desk.takers
    except Unreadable:
        raise EndedByIt(queue=desk.queue) from None
    for worker in workers:
        late = (desk.folder / FILE).stat().st_mtime - worker.started
        if late > 1:
            raise StaleCode(worker=worker.name, file=FILE, seconds=round(late))
    return max(worker.started for worker in workers)


def malformed_since(desk, started):
    """The newest malformed message that was put aside since then, or None."""
    with dead(desk.app) as (_, found):
        return next((one for one in reversed(found) if (one.since or 0) > started - 1 and not is_of_a_task(one)), None)


def is_of_a_task(message):
    """Whether this could be one of Celery's own: if it is dead, it has ended its processes."""
    with suppress(ValueError, TypeError):
        return len(json.loads(message.body)) == 3 and "id" in message.headers
    return False


def predicts(desk):
    """What becomes of one prediction more, as a fact."""
    with desk.predictions(payload={"seconds": 0}, expires=DEADLINE) as (sent,):  # not the 10 of a student's
        if not desk.wait(lambda: sent.has_ended, "predict to return", RETURNS):
            raise desk.not_in_time("predict to return", RETURNS)
    if failed := sent.event("task-failed"):
        raise PredictFails(error=printable(failed["exception"]))
    return f"{desk.worker.name} has made a prediction"
