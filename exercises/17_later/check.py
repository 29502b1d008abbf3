"""Send with the student's page.py, and ask it about ids of every kind.

Its broker and result backend are the check's own, and no worker is there: the check stores what a worker would.
"""

import json
import re
import uuid
from collections.abc import Iterator
from itertools import takewhile

from celery.backends.redis import RedisBackend

from lab.course.kit import (
    TASK,
    Desk,
    NotImportable,
    Program,
    Wrong,
    free_port,
    in_printed_line,
    own_valkey,
    printable,
    url_of,
)

FILE = "page.py"
TEXT = "Is it kept?"
RESULT = {"message": TEXT, "prediction": "question", "process": 4711}  # as README of exercise 11 shows it
ERROR = ValueError("this cannot be predicted")
TRACEBACK = f'Traceback (most recent call last):\n  File "my_ml_app.py", line 20, in predict\nValueError: {ERROR}\n'
WORDS = {"unknown", "waiting", "running", "done", "failed"}
SECONDS = 6  # that page.py may take, of which importing Celery takes half a second, and 2 on a busy machine
DEADLINE = 40
END = "the check has seen enough"


class NothingKept(Wrong):
    """No result is kept that a page could show: {why}."""

    next = """Name Redis as the result backend in celeryconfig.py, and ignore no results: `lab check 11` looks at
        that"""


class SendsNothing(Wrong):
    """`python page.py send TEXT` sent no message for predict. It printed {said}."""

    next = "`delay()` and `apply_async()` send; with `apply_async()` the arguments are a list, and `task_id` is yours"


class NoId(Wrong):
    """page.py sent its message with the id {id}, and did not print that id: who wants to come back needs it. It printed
    {said}."""

    next = "Print the id with which the message was sent. If you choose it yourself, tell `apply_async()`"


class Blocks(Wrong):
    """page.py has not ended after {seconds} seconds, {when}: it waits for something."""

    next = "`get()` waits for a result, and a loop does too. Look at the state once, and say what it is"


class UnknownWaits(Wrong):
    """page.py says {said} about an id that nobody has ever sent: whoever has it comes back for ever."""

    next = """For Celery, every id that it does not know is PENDING. What you send has to be known, then: leave a mark
        when you send, and PENDING without a mark is unknown"""


class WaitingUnknown(Wrong):
    """page.py sent a message, and says {said} about it while it waits in the queue."""

    next = """Nothing is stored under an id until a worker has it. Store a mark under it, a state of your own, in
        `send`, and say that this state waits"""


class MarkTooLate(Wrong):
    """page.py stores its mark {ms} ms after it has sent the message. A prediction that fails in between is overwritten,
    and waits for ever."""

    next = """Store the mark first, and send then: `apply_async()` takes the `task_id` that you have marked. `python
        pending.py` shows what happens otherwise"""


class OtherSentence(Wrong):
    """page.py says {said} about an id that {what}."""

    next = """It should begin with `{wanted}`{shows}. Give each state its word: PENDING, your mark, STARTED, RETRY,
        SUCCESS, FAILURE"""


class FailureBreaks(Wrong):
    """About a prediction that failed, page.py shows a traceback: {error}."""

    next = """`get()` raises the error of the prediction again. `result` of an AsyncResult is the error itself; a
        traceback is for you, not for a page"""


class ForgetsAtOnce(Wrong):
    """page.py showed a result, and says {second} when it is asked again: the first look threw the result away."""

    next = "People reload a page. Leave out `forget()`: a result goes by itself, after `result_expires`"


class GoneWaits(Wrong):
    """page.py says {said} about an id whose result was there, and has expired."""

    next = """Your mark lives longer than the result. Keep it where the result will be, under the same id: then the
        result takes its place, and both expire"""


class BackendAway(Wrong):
    """The result backend is away, and page.py {does}."""

    next = """Nobody knows anything then, so do not say that the id is unknown. Catch the error (`redis.exceptions` has
        RedisError), and say "not now: …\""""


RECOGNISES = (
    NotImportable,
    NothingKept,
    SendsNothing,
    NoId,
    Blocks,
    UnknownWaits,
    BackendAway,
    WaitingUnknown,
    MarkTooLate,
    OtherSentence,
    FailureBreaks,
    ForgetsAtOnce,
    GoneWaits,
)


def check(desk: Desk) -> Iterator[str]:
    require_backend(desk)
    with own_valkey() as valkey:
        page = Page(desk, valkey)
        yield page.says(str(uuid.uuid4()), "was never sent", "unknown", waiting=UnknownWaits)
        yield f"while the result backend is away: {when_away(page)!r}"
        task_id = send(page, valkey)
        waiting = page.says(task_id, "waits in the queue", "waiting", unknown=WaitingUnknown)
        yield f"{waiting}; its mark is kept {where(page.backend, task_id)}"
        yield from as_a_worker_stores(page, task_id)


def as_a_worker_stores(page, task_id):
    """What page.py says while the check stores one state after the other, and then what was there is gone."""
    page.backend.mark_as_started(task_id)
    yield page.says(task_id, "has begun", "running")
    page.backend.mark_as_failure(task_id, ERROR, traceback=TRACEBACK)
    yield page.says(task_id, "has failed", "failed", broken=FailureBreaks)
    page.backend.mark_as_done(task_id, RESULT)
    prediction = RESULT["prediction"]
    first = page.says(task_id, f"has ended with {prediction!r}", "done", shows=prediction)
    second = page.look(task_id, "has ended")
    if word(second) != "done":
        raise ForgetsAtOnce(second=repr(second))
    yield f"{first}, and a second time too"
    page.backend.forget(task_id)
    yield page.says(task_id, "has expired", "unknown", "expired", "gone", waiting=GoneWaits)


class Page:
    """The student's page.py, with the broker and the result backend of this check."""

    def __init__(self, desk, valkey):
        self.desk, results = desk, url_of(valkey, 1)
        self.addresses = {"CELERY_BROKER_URL": url_of(valkey), "CELERY_RESULT_BACKEND": results}
        self.backend = RedisBackend(app=desk.app, url=results)

    def run(self, *arguments, when, **addresses):
        """What it prints. Raises Blocks."""
        with Program(FILE, *arguments, **self.addresses | addresses) as program:
            if not self.desk.wait(program.ended, f"{FILE}, {when}", SECONDS):
                raise Blocks(seconds=SECONDS, when=when)
            return program.said

    def look(self, task_id, what, broken=NotImportable):
        """The sentence about an id. Raises Blocks, and, when there is a traceback, broken."""
        said = self.run(task_id, when=f"asked about an id that {what}")
        if error := in_printed_line(said):
            raise broken(file=FILE, error=error)
        return sentence(said)

    def says(self, task_id, what, *wanted, shows="", broken=NotImportable, **wrong):
        """The fact that it says one of the wanted words about an id. Raises wrong[word], OtherSentence, and as look()
        does."""
        said = self.look(task_id, what, broken)
        if word(said) in wrong:
            raise wrong[word(said)](said=repr(said))
        if word(said) not in wanted or shows not in said:
            raise OtherSentence(said=repr(said), what=what, wanted=wanted[0], shows=shows and f", and show {shows!r}")
        return f"{what}: {said!r}"


def sentence(said):
    """The line that begins with one of the words; without one, the last that was printed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return printable(next((line for line in lines if word(line) in WORDS), lines[-1] if lines else "nothing"))


def word(said):
    """The first word of a sentence."""
    return re.search(r"[a-z]*", said.lower().lstrip(" '\"*"))[0]


def require_backend(desk):
    """Raise NothingKept when the student's own app keeps nothing."""
    url = desk.app.conf.result_backend
    if not url or url.startswith("rpc"):
        why = "`rpc://` is a mailbox, and only the sender reads it" if url else "your app has no result backend"
        raise NothingKept(why=why)


def when_away(page):
    """What page.py says when nothing listens where its results are. Raises BackendAway and Blocks."""
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    when = "asked while the result backend is away"
    said = page.run(str(uuid.uuid4()), when=when, CELERY_RESULT_BACKEND=nowhere)
    if error := in_printed_line(said):
        raise BackendAway(does=f"ends with a traceback: {error}")
    if word(sentence(said)) in WORDS or not said.strip():
        raise BackendAway(does=f"says {sentence(said)!r}")
    return sentence(said)


def send(page, valkey):
    """The id of a message that page.py sends. Raises SendsNothing, NoId, NothingKept and MarkTooLate."""
    with valkey.monitor() as monitor:
        said = page.run("send", TEXT, when="told to send")
        valkey.echo(END)
        # All that Valkey was told, in this order: that shows a race which 4 predictions of 100 lose.
        commands = list(takewhile(lambda command: END not in command["command"], monitor.listen()))
    if error := in_printed_line(said):
        raise NotImportable(file=FILE, error=error)
    messages = [json.loads(one) for queue in valkey.scan_iter(_type="list") for one in valkey.lrange(queue, 0, -1)]
    headers = next((one["headers"] for one in messages if one["headers"].get("task") == TASK), None)
    if not headers:
        raise SendsNothing(said=repr(sentence(said)))
    if headers["id"] not in said:
        raise NoId(id=headers["id"], said=repr(sentence(said)))
    if headers.get("ignore_result"):
        raise NothingKept(why="the message says that nobody wants its result (`ignore_result`)")
    key = page.backend.get_key_for_task(headers["id"]).decode()
    published = next(one["time"] for one in commands if re.match(f"LPUSH .*{headers['id']}", one["command"], re.DOTALL))
    marks = [one["time"] for one in commands if re.match(f"(SET|SETEX|PSETEX) {key} (?!.* NX)", one["command"], re.I)]
    if late := [time - published for time in marks if time > published]:
        raise MarkTooLate(ms=f"{1000 * max(late):.1f}")
    return headers["id"]


def where(backend, task_id):
    """For how long a mark is kept that stands where the result will be."""
    seconds = backend.client.ttl(backend.get_key_for_task(task_id))
    return {-1: "for ever", -2: "elsewhere"}.get(seconds, f"for {seconds / 3600:.3g} h")
