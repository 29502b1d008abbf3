"""Start the student's api.py, and ask it as its callers do.

Its broker and its result backend are the check's own, and no worker is there: the check stores what a worker would.
"""

import base64
import json
import os
import signal
import sysconfig
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
from celery.backends.redis import RedisBackend

from lab.course.kit import (
    TASK,
    Desk,
    NoPackages,
    NotImportable,
    Program,
    Wrong,
    free_port,
    in_printed_line,
    own_valkey,
    printable,
    require_packages,
    url_of,
)

FILE = "api.py"
TEXT = "Is it true?"
PAYLOAD = {"message": TEXT}
RESULT = {"message": TEXT, "prediction": "question", "process": 4711}
ERROR = ValueError("this cannot be predicted")
TRACEBACK = f'Traceback (most recent call last):\n  File "my_ml_app.py", line 20, in predict\nValueError: {ERROR}\n'
BAD = {
    "what is no JSON": b'{"message":',
    "a list": b"[]",
    "no message": b"{}",
    "a number as message": b'{"message": 3}',
    "something beside the message": b'{"message": "hello", "seconds": 9999}',
    "half a character": rb'{"message": "\ud800"}',
}
LARGE = 10_000_000  # bytes
START = 20  # seconds until it answers; 1.2 on two cores
PATIENCE = 8  # seconds for an answer: a server that is away may be tried more than once
AT_ONCE = 5  # requests
SOON = 4  # seconds for an answer that needs no broker, on a busy machine; a broker that says nothing may cost 5
DEADLINE = 60


class NotAccepted(Wrong):
    """POST /predictions answers {status}, and not 202: accepted, and not done."""

    next = """Does that name an error? Mend that first. 202 is the status of an answer that works: it is an argument of
        `@app.post`"""


class SendsNothing(Wrong):
    """POST /predictions answers 202, and {instead}."""

    next = "The task gets one argument: what the caller sent, as `payload` holds it. `apply_async()` sends it"


class WaitsForResult(Wrong):
    """POST /predictions {waits} while no worker runs: it waits for the result."""

    next = "Leave out `get()`, and every loop: the caller gets an id, and asks for the result with it"


class NoAnswer(Wrong):
    """{method} {path} gets no answer: {why}."""

    next = "Nothing in a web API waits for a prediction: look once, and answer. Terminal 3 may show an error"


class NoLocation(Wrong):
    """The answer 202 has {found}: its caller does not know {what} to ask."""

    next = """Where is a prediction, and when is it worth asking? `response.headers[…]` sets a header of the answer: a
        path needs no server's name. `task_id=` gives the message its id"""


class NotRemembered(Wrong):
    """A prediction was accepted, waits in the queue, and GET {path} answers {said}."""

    next = """For Celery, an id that waits is like one that nobody knows, so `waiting.add()` stores that it was sent. It
        has to be the id that stands in Location"""


class UnknownFound(Wrong):
    """GET /predictions/{id} answers {said} about an id that nobody has ever accepted."""

    next = "PENDING is Celery's word for an id that it does not know: answer 404"


class OtherState(Wrong):
    """GET answers {said} about a prediction that {what}."""

    next = "It should be 200, and its `state` {wanted!r}. Look at `case` in `get` of api.py"


class ShowsTraceback(Wrong):
    """The answer about a prediction that failed has a traceback in it: {line}."""

    next = "A traceback shows callers your files. `result` is the error, and `str()` of it a sentence"


class TakesBadPayload(Wrong):
    """POST with {what}, `{body}`, is answered with {status}{sent}."""

    next = "Let `Payload` say what is allowed: FastAPI answers 422 for all else, before your code runs"


class TakesLarge(Wrong):
    """POST with a body of 10 MB{how} is answered with {status}, and not with 413: all of it was read into memory."""

    next = "FastAPI has `max_body_size`, in bytes: it stops reading there"


class SentTwice(Wrong):
    """The same request came twice, with one Idempotency-Key, one after the other: {instead}."""

    next = "Keep the id under the key, and look there first. What did the first answer say? Say the same"


class TwiceAtOnce(Wrong):
    """The same request came {number} times at the same moment, with one Idempotency-Key: {instead}."""

    next = """Between looking and storing, another one looks too. With a lock for each key, `store.lock()`, one comes
        after the other"""


class OtherPayload(Wrong):
    """An Idempotency-Key came again with another payload, and is answered with {status}."""

    next = "That is a mistake of the caller, who should hear of it: answer 422. Keep the payload with the id"


class BlocksEverybody(Wrong):
    """The broker is slow to take a message, and meanwhile nobody else is answered: GET waited for {seconds} s."""

    next = "An `async def` that waits stops the event loop. Call what sends in a thread: `await in_turn(…)`"


class NotCancelled(Wrong):
    """DELETE about a prediction that waits is answered with {status}, and {instead}."""

    next = "`waiting.cancel()` tells the workers, those that start later too, and stores that it is cancelled"


class CancelsTooMuch(Wrong):
    """DELETE about {what} is answered with {status}, and not with {wanted}."""

    next = """Look at its state first: PENDING is unknown, and what has begun cannot be cancelled. `waiting.WAITS` has
        the states of what waits"""


class BrokerAway(Wrong):
    """The broker is away, and POST is answered with {said}."""

    next = "Answer 503, which means: not now. The errors of a broker, OperationalError among them, need a handler"


class BackendAway(Wrong):
    """The result backend is away, and {method} is answered with {said}."""

    next = "Nobody knows anything then, so do not say 404. RedisError is what it raises: answer 503"


class NoRetryAfter(Wrong):
    """The answer 503 has no {lacks}."""

    next = "A caller should read what is wrong, and when to try again: a sentence, and the header `Retry-After`"


class HalfSent(Wrong):
    """POST was answered with 503, and {instead}."""

    next = """An answer 503 is a promise that nothing was accepted. First look whether the result backend answers, then
        send, and remember when the broker has taken it"""


RECOGNISES = (
    NoPackages,
    NotImportable,
    NotAccepted,
    SendsNothing,
    WaitsForResult,
    NoAnswer,
    NoLocation,
    NotRemembered,
    UnknownFound,
    OtherState,
    ShowsTraceback,
    TakesBadPayload,
    TakesLarge,
    SentTwice,
    OtherPayload,
    TwiceAtOnce,
    BlocksEverybody,
    NotCancelled,
    CancelsTooMuch,
    BrokerAway,
    BackendAway,
    NoRetryAfter,
    HalfSent,
)


def check(desk: Desk) -> Iterator[str]:
    with own_valkey() as broker, own_valkey() as results, Api(desk, broker, results) as api:
        yield from accepts(api)
        yield from refuses(api)
        yield from tells_states_apart(api)
        yield from sends_once(api)
        yield from cancels(api)
        yield from says_not_now(api)


def accepts(api):
    try:
        answer = api.post()
    except NoAnswer:
        if api.program.ended():
            raise
        raise WaitsForResult(waits=f"has not answered for {PATIENCE} seconds") from None
    if answer.status_code != 202:
        said = api.said(answer)
        # What Celery says to a `get()` where nobody waits for results: see lifespan in api.py.
        if "result.get()" in said:
            raise WaitsForResult(waits="ends with an error in `get()`")
        raise NotAccepted(status=said)
    sent = dict(api.messages())
    if list(sent.values()) != [PAYLOAD]:
        found = ", ".join(printable(json.dumps(one)) for one in sent.values())
        raise SendsNothing(instead=f"it sends {found}" if found else "no message for predict is in the queue")
    for header, what in {"Location": "where", "Retry-After": "when"}.items():
        if header not in answer.headers:
            raise NoLocation(found=f"no {header}", what=what)
    path, [task_id] = answer.headers["Location"], sent
    if not api.is_own(path):
        raise NoLocation(found=f"the Location {path}, which is another server", what="where")
    if task_id not in path:
        raise NoLocation(found=f"the Location {path}, and its message has the id {task_id}", what="where")
    found = api.ask("GET", path)
    if found.status_code != 200 or state(found) != "waiting":
        raise NotRemembered(path=path, said=api.said(found))
    yield f"POST answers 202, with a Location. There, GET answers {api.said(found)}"


def refuses(api):
    api.take()
    for what, body in BAD.items():
        answer = api.post(content=body)
        sent = ", and sent to the worker" if api.take() else ""
        if sent or not 400 <= answer.status_code < 500:
            raise TakesBadPayload(what=what, body=body.decode(), status=api.said(answer), sent=sent)
    pieces = [bytes(LARGE // 10)] * 10
    for how, body in {" that says its length": b"".join(pieces), " that does not say its length": iter(pieces)}.items():
        answer = api.post(content=body)
        if answer.status_code != 413:
            raise TakesLarge(how=how, status=api.said(answer))
    yield f"{len(BAD)} bad payloads get 4xx, and 10 MB get 413; none of them is sent"


def tells_states_apart(api):
    unknown = str(uuid.uuid4())
    answer = api.ask("GET", f"/predictions/{unknown}")
    if answer.status_code != 404:
        raise UnknownFound(id=unknown, said=api.said(answer))
    yield "was never accepted: 404"
    path, task_id = api.accepted()
    api.backend.mark_as_started(task_id)
    yield api.says(path, "has begun", "running")
    api.backend.mark_as_failure(task_id, ERROR, traceback=TRACEBACK)
    fact = api.says(path, "has failed", "failed")
    if "Traceback" in fact:
        raise ShowsTraceback(line=next(line.strip() for line in fact.split("\\n") if "File" in line))
    yield fact
    api.backend.mark_as_done(task_id, RESULT)
    yield api.says(path, "is done", "done", shows=RESULT["prediction"])


def sends_once(api):
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    api.take()
    if instead := more_than_one(api, [api.post(headers=headers), api.post(headers=headers)]):
        raise SentTwice(instead=instead)
    answer = api.post(headers=headers, json={"message": "another one"})
    if answer.status_code != 422:
        raise OtherPayload(status=api.said(answer))
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    api.take()
    with ThreadPoolExecutor() as callers:
        with frozen(api.broker):
            asked = [callers.submit(api.post, headers=headers) for _ in range(AT_ONCE)]
            try:
                for _ in range(3):
                    api.ask("GET", f"/predictions/{uuid.uuid4()}", SOON)
            except NoAnswer:
                raise BlocksEverybody(seconds=SOON) from None
        answers = [one.result() for one in asked]
    if instead := more_than_one(api, answers):
        raise TwiceAtOnce(number=AT_ONCE, instead=instead)
    yield f"one Idempotency-Key, {AT_ONCE} times at the same moment, is one prediction; with another payload, it is 422"
    yield "while the broker does not answer, others are answered"


def more_than_one(api, answers):
    """What shows that the same request was accepted more than once, or not at all; nothing when all is well.

    409 is an answer too while the first request is under way.
    """
    good = [one for one in answers if one.is_success]
    for one in answers:
        if one not in good and (one.status_code != 409 or not good):
            return f"an answer is {api.said(one)}"
    if (number := len(api.take())) != 1:
        return f"{number} messages are in the queue"
    places = {one.headers.get("Location") for one in good}
    return f"the answers name {len(places)} places" if len(places) > 1 else ""


def cancels(api):
    path, task_id = api.accepted()
    with api.broker.pubsub(ignore_subscribe_messages=True) as told:
        told.psubscribe("*")
        answer = api.ask("DELETE", path)
        if not answer.is_success:
            raise NotCancelled(status=api.said(answer), instead="it still waits")
        if not api.desk.wait(lambda: names(told.get_message(), task_id), "a message to the workers", 1):
            raise NotCancelled(status=answer.status_code, instead="no worker was told")
    found = api.ask("GET", path)
    if state(found) != "cancelled":
        raise NotCancelled(status=answer.status_code, instead=f"then GET says {api.said(found)}")
    yield f"DELETE cancels what waits: {printable(found.text)}"
    path, task_id = api.accepted()
    api.backend.mark_as_started(task_id)
    others = {f"/predictions/{uuid.uuid4()}": ("an unknown id", 404), path: ("a prediction that runs", 409)}
    for path, (what, wanted) in others.items():
        answer = api.ask("DELETE", path)
        if answer.status_code != wanted:
            raise CancelsTooMuch(what=what, status=api.said(answer), wanted=wanted)
    yield "DELETE answers 404 about what is unknown, and 409 about what runs"


def names(message, task_id):
    """Whether a message to the workers has this id in it."""
    return message and task_id in base64.b64decode(json.loads(message["data"])["body"]).decode()


def says_not_now(api):
    known, headers = api.known(), {"Idempotency-Key": str(uuid.uuid4())}
    api.take()
    with away(api.broker):
        answer = api.post(headers=headers)
        if answer.status_code != 503:
            raise BrokerAway(said=api.said(answer))
    require_help(answer)
    for task_id in api.known() - known:
        found = api.ask("GET", f"/predictions/{task_id}")
        if found.status_code != 404:
            raise HalfSent(instead=f"then GET says {api.said(found)} about it")
    yield f"while the broker is away: {api.said(answer)}"
    again = api.desk.wait(lambda: (one := api.post(headers=headers)).is_success and one, "POST to work again", 5)
    if not again or len(api.take()) != 1:
        instead = "answered with 202, and nothing is sent" if again else "still refused"
        raise HalfSent(instead=f"when the broker is back, the same Idempotency-Key is {instead}")
    with away(api.results):
        for method, path in {"POST": "/predictions", "GET": again.headers["Location"]}.items():
            answer = api.post() if method == "POST" else api.ask(method, path)
            if answer.status_code != 503:
                raise BackendAway(method=method, said=api.said(answer))
            require_help(answer)
    if api.take():
        raise HalfSent(instead="its message is in the queue: the result backend was away")
    yield "while the result backend is away: 503 too, and nothing is sent"


def require_help(answer):
    """Raise NoRetryAfter unless an answer 503 says what is wrong, and when to try again."""
    if "Retry-After" not in answer.headers:
        raise NoRetryAfter(lacks="header Retry-After")
    if "Traceback" in answer.text or len(answer.text.split()) < 3:
        raise NoRetryAfter(lacks="sentence in it")


class Api:
    """The student's api.py, served by uvicorn, with a broker and a result backend of this check."""

    def __init__(self, desk, broker, results):
        self.desk, self.broker, self.results = desk, broker, results
        self.addresses = {"CELERY_BROKER_URL": url_of(broker), "CELERY_RESULT_BACKEND": url_of(results)}
        self.backend = RedisBackend(app=desk.app, url=url_of(results))

    def __enter__(self):
        """Start it. Raises NoPackages and NotImportable."""
        own, uvicorn = free_port(), os.path.join(sysconfig.get_path("scripts"), "uvicorn")
        if not os.path.exists(uvicorn):
            raise NoPackages(package="uvicorn", file=FILE)
        options = ["--port", str(own), "--log-level", "warning", "--no-use-colors"]
        self.program = Program(uvicorn, "api:app", *options, **self.addresses)
        once = httpx.Limits(max_keepalive_connections=0)  # uvicorn closes a connection after an error in api.py
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{own}", limits=once)
        try:
            self.await_start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.client.close()
        self.program.__exit__()

    def await_start(self):
        def answers():
            with suppress(httpx.TransportError):
                return self.client.get("/openapi.json")

        if self.desk.wait(lambda: self.program.ended() or answers(), f"{FILE} to answer", START) in (None, True):
            error = self.error() or f"uvicorn said {self.program.answer()}"
            require_packages(FILE, error)
            raise NotImportable(file=FILE, error=error)

    def ask(self, method, path, seconds=PATIENCE, **what):
        """Its answer. Raises NoAnswer."""
        self.program.ended()  # which reads what it prints: a full terminal would stop it
        try:
            return self.client.request(method, path, timeout=seconds, **what)
        except httpx.TransportError as error:
            late = isinstance(error, httpx.TimeoutException)
            ended = not late and self.desk.wait(self.program.ended, f"{FILE} to end", 0.5)
            why = f"{FILE} has ended" if ended else f"none in {seconds} seconds" if late else error
            raise NoAnswer(method=method, path=path, why=why) from None

    def is_own(self, path):
        """Whether a path, or an address, is one of this API's: at another one, another API of the student's may be."""
        return self.client.base_url.join(path).port == self.client.base_url.port

    def post(self, headers=None, **what):
        headers = {"Content-Type": "application/json"} | (headers or {})
        return self.ask("POST", "/predictions", headers=headers, **what or {"json": PAYLOAD})

    def accepted(self):
        """The path and the id of a prediction that it accepts now. Raises NotAccepted."""
        self.take()
        answer = self.post()
        if answer.status_code != 202 or not (sent := self.messages()):
            raise NotAccepted(status=self.said(answer))
        return answer.headers["Location"], sent[0][0]

    def says(self, path, what, wanted, shows=""):
        """The fact that GET says this state. Raises OtherState."""
        answer = self.ask("GET", path)
        if answer.status_code != 200 or state(answer) != wanted or shows not in answer.text:
            raise OtherState(said=self.said(answer), what=what, wanted=wanted)
        return f"{what}: {printable(answer.text)}"

    def said(self, answer):
        """An answer, in short; for one that is a mistake in api.py, the error that was printed."""
        error = self.desk.wait(self.error, "the error", 0.5) if answer.status_code == 500 else None
        return f"{answer.status_code} {printable(error or answer.text or answer.reason_phrase)}"

    def error(self):
        self.program.ended()
        return in_printed_line(self.program.said)

    def messages(self):
        """What is in the queue for predict: (id, payload) of each."""
        queues = list(self.broker.scan_iter(_type="list"))
        sent = [json.loads(one) for queue in queues for one in self.broker.lrange(queue, 0, -1)]
        return [(one["headers"]["id"], payload(one)) for one in sent if one["headers"].get("task") == TASK]

    def take(self):
        """messages(), taken out of the queue."""
        sent = self.messages()
        self.broker.delete("-", *self.broker.scan_iter(_type="list"))
        return sent

    def known(self):
        """The ids under which something is stored in the result backend."""
        prefix = self.backend.task_keyprefix.decode()
        return {key.decode().removeprefix(prefix) for key in self.results.scan_iter(f"{prefix}*")}


def payload(message):
    """The first argument in a message."""
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    return [*args, *kwargs.values(), None][0]


def state(answer):
    """The state that an answer names; None without one."""
    with suppress(ValueError, AttributeError):
        return answer.json().get("state")


@contextmanager
def frozen(server):
    """It takes connections, and says nothing."""
    process = server.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


@contextmanager
def away(server):
    """It refuses connections, and those that are open end; but not this check's own."""
    port = server.config_get("port")["port"]
    server.config_set("port", 0)
    try:
        server.client_kill_filter(_type="normal", skipme=True)
        yield
    finally:
        server.config_set("port", port)
