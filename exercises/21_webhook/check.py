"""Send with the student's callback.py, and let a worker of the check's own post the results to the check's own server.

Between the programs stands the check: what they send, it reads, changes, and hands to the worker. So a try that should
come after minutes comes at once. Then webhooks, true and forged, are posted to the student's receiver.py.
"""

import base64
import hashlib
import hmac
import json
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import httpx
from celery.backends.redis import RedisBackend
from celery.states import EXCEPTION_STATES, READY_STATES

from lab.course.kit import (
    TASK,
    Desk,
    NoPackages,
    NotImportable,
    Program,
    Wrong,
    free_port,
    own_valkey,
    printable,
    require_packages,
    url_of,
)

SENDER, RECEIVER = "callback.py", "receiver.py"
TEXT = "Is it told?"
WORKERS = "the-check"  # the queue from which the worker takes
CELERY = str(Path(__file__).with_name("worker.py"))
CHANGES = "changes.example"  # a name with another address when it is looked up again
ELSEWHERE = "127.0.0.2", "::1"  # this machine, too; macOS has only the second
OPTIONS = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--pool=solo", "--loglevel=INFO"]
START = 12  # seconds that the worker or the receiver may take to start, on a busy machine
SOON = 8  # seconds for everything else; httpx, unless told otherwise, waits 5 for an answer
MOST = 20  # tries that are followed
DEADLINE = 60


class NotLinked(Wrong):
    """When the prediction {ends}, nobody is told: the message for predict names no task for that."""

    next = "`apply_async()` takes `link` for a success, and `link_error` for a failure: each a signature of deliver"


class NothingPosted(Wrong):
    """Nothing was posted to {url}: {why}."""

    next = "`celery -A callback worker` shows what happens to the task deliver when `python callback.py` has sent"


class NotSigned(Wrong):
    """What callback.py posts lacks {headers}: whoever gets it cannot know who sent it."""

    next = """Standard Webhooks has three headers: webhook-id, webhook-timestamp (a whole number of seconds), and
        webhook-signature"""


class OtherBytes(Wrong):
    """The signature of what callback.py posts does not fit: its webhook-signature is {signature}, and `{shown}` has
    another."""

    next = """Sign, with WEBHOOK_SECRET, the very text that you post, and the id and the time that are in its headers.
        A datetime without a time zone counts as UTC"""


class ToldAsSuccess(Wrong):
    """When the prediction has failed, callback.py posts what it posts for a success: `{shown}`."""

    next = "With link_error, deliver gets the id of predict, and not a result. Let it know that: `failed=True`"


class GivesUp(Wrong):
    """callback.py met {what}, and does not try again: the result is lost for whoever waits for it."""

    next = """That may be over soon: a server starts again, or is too busy. `self.retry()` sends the task once more, for
        later"""


class NewId(Wrong):
    """callback.py tries again with another webhook-id: {first}, then {second}. Whoever got both takes them for two
    predictions."""

    next = "The id is the prediction's, not the try's. In deliver, `self.request` knows the task by which it was called"


class OldTime(Wrong):
    """callback.py tries again with the webhook-timestamp of its first try: after five minutes, receivers refuse it."""

    next = "The time is the try's, and not the prediction's. Sign anew each time"


class NoBackoff(Wrong):
    """When it is answered 500, callback.py tries again {each}: a server that is too busy gets no rest."""

    next = """Let each wait be twice as long as the one before, and add some chance: `countdown` of `self.retry()` are
        seconds, and `self.request.retries` counts"""


class NeverEnds(Wrong):
    """callback.py tries more than {number} times: to a server that has gone, it would post for ever."""

    next = "Say in `@app.task(…)` how often it may be tried again: `max_retries`"


class RetriesGone(Wrong):
    """callback.py was answered 410, and tries again: 410 means that nobody there wants webhooks any more."""

    next = "Look at the status before you try again. 410 is a failure, and the end: raise an error of your own"


class FollowsRedirect(Wrong):
    """callback.py was answered 302, and went on to where that led: to an address that the caller did not give."""

    next = "By the standard, 3xx is a failure. Do not follow: in httpx that is how it is, without `follow_redirects`"


class CallsLoopback(Wrong):
    """callback.py posts to {url}, which is this machine, and is not in WEBHOOK_ALLOW: whoever gives it a URL reaches
    what nobody outside should."""

    next = (
        "Look up what the name stands for, and call only what is_global, or is in ALLOWED. CLOSED is not public either"
    )


class ReadsTheName(Wrong):
    """callback.py refuses {plain}, but posts to {url}, which is the same address, written in another way."""

    next = "There are too many ways to write an address. Look at what `socket.getaddrinfo()` makes of it"


class LooksUpTwice(Wrong):
    """callback.py looked a name up, and found an address that it may call. To connect, the name was looked up again,
    and was another address by then: {address}, which it may not call."""

    next = """Whoever owns the name can change it in between. Call the address that you have checked:
        `url.copy_with(host=…)`, with the name in the header Host, and in the extension sni_hostname for TLS"""


class OtherHost(Wrong):
    """callback.py calls the address of {name}, and says `Host: {host}`: a server with many names cannot know which of
    them is meant."""

    next = "Put the name of the URL, and its port, into the header Host: `url.netloc.decode()`"


class ReceiverAway(Wrong):
    """receiver.py does not answer at the port that it was given. It printed {said}."""

    next = "`python receiver.py 5699` has to listen at port 5699 of 127.0.0.1"


class RefusesGood(Wrong):
    """receiver.py was sent a webhook with a right signature, and {did}."""

    next = "Verify `await request.body()` with the request's headers. Then print the event, and answer 204"


class TakesForged(Wrong):
    """receiver.py takes a webhook {what}. Whoever knows its URL can tell it anything."""

    next = """Verify first, with `Webhook(SECRET).verify()`, and answer 401 when that raises an error: ValueError, too,
        for a header that cannot be decoded"""


class FailsAtForged(Wrong):
    """receiver.py ends in an error of its own, and answers {status}, to a webhook {what}: by that, it is not refused,
    and may come for days."""

    next = "`Webhook(SECRET).verify()` raises WebhookVerificationError, or ValueError: catch both, and answer 401"


class TakesOld(Wrong):
    """receiver.py takes a webhook that was signed 10 minutes ago: whoever has a copy of it can post it again."""

    next = "The signature covers the time, and only `Webhook(SECRET).verify()`, or you, can see that it is too old"


class CountsTwice(Wrong):
    """receiver.py was sent a webhook twice, with one webhook-id, and printed its event twice."""

    next = "Remember each webhook-id that you have seen, and answer 204 to what comes again, without printing its event"


RECOGNISES = (
    NoPackages,
    NotImportable,
    NotLinked,
    NothingPosted,
    NotSigned,
    OtherBytes,
    ToldAsSuccess,
    GivesUp,
    NewId,
    OldTime,
    NoBackoff,
    NeverEnds,
    RetriesGone,
    FollowsRedirect,
    CallsLoopback,
    ReadsTheName,
    LooksUpTwice,
    OtherHost,
    ReceiverAway,
    RefusesGood,
    TakesForged,
    FailsAtForged,
    TakesOld,
    CountsTwice,
)


def check(desk: Desk) -> Iterator[str]:
    secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
    with (
        own_valkey() as valkey,
        listening("127.0.0.1") as here,
        listening(*ELSEWHERE, port=here.server_port) as there,
    ):
        office = Office(desk, valkey, here, there, secret)
        predict = sent(office)
        yield f"{SENDER} sends a prediction, which names a task for its success, and one for its failure"
        with office.worker():
            done, failed = deliveries(office, predict)
            yield from posts(office, done, failed)
            yield from tries_again(office, done)
            yield from calls_nobody_else(office, done)
    yield from receives(desk, secret)


class Came(NamedTuple):
    """A request that came to the check's own server. The names of headers have small letters."""

    path: str
    headers: dict[str, str]
    body: bytes


class Listener(ThreadingHTTPServer):
    """The check's own server, which keeps what came."""

    def __init__(self, address):
        self.came = []
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Answer)


class Answer(BaseHTTPRequestHandler):
    """The answer begins with what the path begins with: /302 is answered 302, and leads to /204/elsewhere."""

    def do_POST(self):  # noqa: N802 - the library's name
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        self.server.came.append(Came(self.path, headers, body))
        self.send_response(int(self.path[1:4]))
        if self.path == "/302":
            self.send_header("Location", "/204/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_):
        pass


@contextmanager
def listening(*hosts, port=0):
    """A Listener at the first of these addresses that this machine has; None when it has none of them."""
    listener = None
    for host in hosts:
        with suppress(OSError):
            listener = listener or Listener((host, port))
    if not listener:
        yield None
        return
    threading.Thread(target=listener.serve_forever, args=[0.05], daemon=True).start()
    try:
        yield listener
    finally:
        listener.shutdown()
        listener.server_close()


class Office:
    """What the student's programs send, on its way to the worker. A message is Celery's, as it is in Redis."""

    def __init__(self, desk, valkey, here, there, secret):
        results = url_of(valkey, 1)
        self.desk, self.valkey, self.here, self.there, self.secret = desk, valkey, here, there, secret
        self.backend = RedisBackend(app=desk.app, url=results)
        self.program, self.messages = None, []
        self.environment = {
            "CELERY_BROKER_URL": url_of(valkey),
            "CELERY_RESULT_BACKEND": results,
            "PREDICT_SECONDS": "0",
            "TZ": "IST-5:30",  # somewhere else, a time without a zone is seen to be none
            "WEBHOOK_ALLOW": "127.0.0.1/32",
            "WEBHOOK_SECRET": secret,
        }

    def url(self, status, host="127.0.0.1"):
        return f"http://{host}:{self.here.server_port}/{status}"

    @contextmanager
    def worker(self):
        """A worker with the student's callback.py, which takes only what give() gives it."""
        changes = f"{CHANGES} 127.0.0.1 {self.there.server_address[0] if self.there else '127.0.0.1'}"
        options = ["-A", "callback", "worker", f"--queues={WORKERS}", *OPTIONS]
        with Program(CELERY, changes, *options, **self.environment) as self.program:
            self.program.file = SENDER  # whose fault it is when the worker ends
            yield

    def take(self, fits):
        """The first message that was sent, and for which fits(headers) is true; None without."""
        for queue in self.valkey.scan_iter(_type="list"):
            if queue.decode() != WORKERS:
                self.messages += [json.loads(one) for one in self.valkey.rpop(queue, 1000)]
        found = next((one for one in self.messages if fits(one["headers"])), None)
        if found:
            self.messages.remove(found)
        return found

    def give(self, message):
        """Let the worker have a message, at once: without its eta."""
        message["headers"]["eta"] = None
        message["properties"]["delivery_tag"] = str(uuid.uuid4())
        self.valkey.lpush(WORKERS, json.dumps(message))

    def attempt(self, message):
        """Let deliver be run once: what was posted, how it ended, and the message that it sent to try again, or None.

        Raises NotImportable when the worker ends.
        """
        task, before = message["headers"]["id"], len(self.here.came)

        def ended():
            self.program.raise_its_error()
            return again() or self.backend.get_state(task) in READY_STATES

        def again():
            again.found = again.found or self.take(lambda headers: headers["id"] == task)
            return again.found

        again.found = None
        self.give(message)
        self.desk.wait(ended, "deliver to post", START)
        again()  # it may have been sent just before it ended
        return self.here.came[before:], self.backend.get_task_meta(task), again.found


def with_body(message, change):
    """A copy of a message with another id, and change(text) instead of the text of its body."""
    text = change(base64.b64decode(message["body"]).decode())
    new = json.loads(json.dumps(message)) | {"body": base64.b64encode(text.encode()).decode()}
    new["headers"]["id"] = str(uuid.uuid4())
    return new


def sent(office):
    """The message for predict that callback.py sends. Raises NoPackages, NotImportable and NotLinked."""
    with Program(SENDER, office.url(204), TEXT, **office.environment) as program:
        if not office.desk.wait(program.ended, f"{SENDER} to send", SOON):
            raise NotImportable(file=SENDER, error=f"after {SOON} seconds it has not ended")
        require_packages(program.file, program.said)
        program.raise_its_error()
        message = office.take(lambda headers: headers["task"] == TASK)
        if not message:
            raise NotImportable(file=SENDER, error=f"it sends no message for predict, and says {program.answer()}")
    linked = json.loads(base64.b64decode(message["body"]))[2]
    for field, ends in {"callbacks": "has succeeded", "errbacks": "has failed"}.items():
        if not linked.get(field):
            raise NotLinked(ends=ends)
    return message


def deliveries(office, predict):
    """The messages for deliver that a worker sends after a prediction that has succeeded, and one that has failed."""
    failing = with_body(predict, lambda text: json.dumps([[], {}, json.loads(text)[2]]))
    office.give(predict)
    office.give(failing)

    def delivery(parent):
        office.program.raise_its_error()
        return office.take(lambda headers: headers["parent_id"] == parent["headers"]["id"])

    for parent, ends in (predict, "has succeeded"), (failing, "has failed"):
        message = office.desk.wait(lambda parent=parent: delivery(parent), "the worker to link deliver", START)
        if not message:
            raise NothingPosted(why=f"a prediction {ends}, but no message for deliver was sent", url=office.url(204))
        yield message
    if (meta := office.backend.get_task_meta(predict["headers"]["id"]))["status"] in EXCEPTION_STATES:
        raise NothingPosted(why=f"the prediction itself has failed, {in_short(meta['result'])}", url=office.url(204))


def posts(office, done, failed):
    """Facts about what is posted. Raises NothingPosted, NotSigned, OtherBytes and ToldAsSuccess."""
    told = []
    for message, ends in (done, "succeeded"), (failed, "failed"):
        came, meta, _ = office.attempt(with_body(message, str))
        if not came:
            ended = meta["status"] in READY_STATES
            why = in_short(meta["result"]) if ended else f"the worker printed {office.program.answer()}"
            raise NothingPosted(why=why, url=office.url(204))
        verify(came[0], office.secret)
        shown = printable(came[0].body.decode(errors="replace"), 99)
        if (event := parts(came[0].body)) and event in told:
            raise ToldAsSuccess(shown=shown)
        told.append(event)
        yield f"{ends}: posts {shown}, rightly signed"


def parts(body):
    """The type of an event, and the names of its data; None for a body that is built in another way."""
    with suppress(ValueError, LookupError, TypeError):
        event = json.loads(body)
        return event["type"], sorted(event["data"])


def in_short(result):
    """A result, or an error, within a sentence."""
    return printable(result).rstrip(".")


def verify(came, secret):
    """Raise NotSigned or OtherBytes unless a request is signed as Standard Webhooks says."""
    lacking = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if not came.headers.get(name)]
    if lacking:
        raise NotSigned(headers=", ".join(lacking))
    event, when, signature = (came.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    if not when.isdecimal() or abs(int(when) - time.time()) > 300:
        raise NotSigned(headers=f"a time in whole seconds: its webhook-timestamp is {when!r}")
    if signed(secret, event, when, came.body) not in signature.split():
        raise OtherBytes(signature=repr(signature), shown=f"{event}.{when}.{printable(came.body.decode(), 60)}")


def signed(secret, event, when, body):
    """The signature of a body, by Standard Webhooks. It is made here, without the library that students use."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.digest(key, f"{event}.{when}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac).decode()}"


def to(message, url, office):
    """The same message for deliver, with another URL."""
    return with_body(message, lambda text: text.replace(office.url(204), url))


def tries(office, done, status):
    """All tries of one delivery that is answered with this status: what came, and after how many seconds it would."""
    message, came, waits = to(done, office.url(status), office), [], [0.0]
    while message and len(came) < MOST:
        posted, meta, message = office.attempt(message)
        came += posted
        if message:
            eta = message["headers"]["eta"]
            waits.append(round((datetime.fromisoformat(eta) - datetime.now(UTC)).total_seconds(), 1) if eta else 0.0)
        if message and len(came) == 1:  # the next try has another time, in whole seconds
            second = int(time.time())
            office.desk.wait(lambda second=second: int(time.time()) > second, "the next second", 2)
    return came, waits[1:]


def tries_again(office, done):
    """A fact about the tries. Raises GivesUp, NewId, OldTime, NoBackoff, NeverEnds, RetriesGone, FollowsRedirect."""
    came, waits = tries(office, done, 500)
    for one in came:
        verify(one, office.secret)
    if len(came) < 2:
        raise GivesUp(what="the answer 500")
    ids, times = ([one.headers[f"webhook-{name}"] for one in came] for name in ("id", "timestamp"))
    if len(set(ids)) > 1:
        raise NewId(first=ids[0], second=next(one for one in ids if one != ids[0]))
    if times[0] == times[-1]:
        raise OldTime()
    if len(came) >= MOST:
        raise NeverEnds(number=MOST - 1)
    if steady(waits) and steady(waits + tries(office, done, 500)[1]):  # chance may look steady, but not twice
        raise NoBackoff(each=f"{waits[0]:.1f} seconds later, each time" if waits[0] else "at once")
    yield f"500: {len(came)} tries with one webhook-id, the next ones after {', '.join(map(str, waits))} s"
    nobody = f"http://127.0.0.1:{free_port()}/204"
    for url, what in (office.url(404), "the answer 404"), (nobody, "a port where nobody listens"):
        if not office.attempt(to(done, url, office))[2]:
            raise GivesUp(what=what)
    if office.attempt(to(done, office.url(410), office))[2]:
        raise RetriesGone()
    office.attempt(to(done, office.url(302), office))
    if any(one.path.endswith("/elsewhere") for one in office.here.came):
        raise FollowsRedirect()
    yield "404, and nobody there: tried again; 410: the end; 302: not followed"


def steady(waits):
    """Whether the next try comes always after the same time, within half a second."""
    return len(waits) > 1 and max(waits) - min(waits) < 0.5


def calls_nobody_else(office, done):
    """A fact about addresses. Raises CallsLoopback, ReadsTheName, LooksUpTwice and OtherHost."""
    if not office.there:
        return
    plain, *others = spellings(office.there.server_address[0])
    for host in plain, *others:
        office.attempt(to(done, office.url(204, host), office))
        if office.there.came:
            kind = CallsLoopback if host == plain else ReadsTheName
            raise kind(url=office.url(204, host), plain=office.url(204, plain))
    came, *_ = office.attempt(to(done, office.url(204, CHANGES), office))
    if office.there.came:
        raise LooksUpTwice(address=plain)
    if came and (host := came[0].headers.get("host")) != f"{CHANGES}:{office.here.server_port}":
        raise OtherHost(name=CHANGES, host=host)
    yield f"not called, in {1 + len(others)} spellings: {plain}; nor when a name becomes that, once it was looked up"


def spellings(host):
    """How else an address can be written in a URL."""
    if ":" in host:
        return f"[{host}]", "[0:0:0:0:0:0:0:1]", "[::0001]"
    number = int.from_bytes(socket.inet_aton(host))
    return host, str(number), hex(number), "0177.0.0.2", "127.2", f"[::ffff:{host}]"


def receives(desk, secret):
    """Facts about receiver.py. Raises NoPackages, NotImportable, ReceiverAway, and what it does wrong."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        Program(RECEIVER, str(port), WEBHOOK_SECRET=secret) as program,
        # A server may close a connection after an error: the next webhook has one of its own.
        httpx.Client(base_url=url, trust_env=False, timeout=SOON, headers={"Connection": "close"}) as client,
    ):
        receiver = Receiver(desk, program, client, secret)
        answers = desk.wait(lambda: receiver.listens(port) or program.ended(), f"{RECEIVER} to listen", SOON)
        require_packages(program.file, program.said)
        program.raise_its_error()
        if not answers or program.ended():
            raise ReceiverAway(said=program.answer())
        event, forged = secrets.token_hex(8), secrets.token_hex(8)
        receiver.good(secrets.token_hex(8))
        for what, changes in FORGED.items():
            answer = receiver.post(forged, event, **changes)
            if answer.is_success:
                raise TakesForged(what=what)
            if answer.is_server_error:
                raise FailsAtForged(what=what, status=answer.status_code)
        if receiver.post(forged, event, when=time.time() - 600).is_success:
            raise TakesOld()
        good = receiver.good(event)  # by now, what came before would be printed, too
        if receiver.lines_with(forged):
            raise TakesForged(what="that it refuses, and prints it all the same")
        yield "prints a webhook with a right signature, and none that was changed, or is unsigned, or old"
        again = receiver.post(good, event)
        if not again.is_success:
            raise RefusesGood(did=f"answered {again.status_code} when it came again, so that it comes for ever")
        receiver.good(secrets.token_hex(8))
        if receiver.lines_with(good) > 1:
            raise CountsTwice()
        yield "answers what comes again, and prints it once"


FORGED = {
    "whose body was changed on its way": {"changed": b" "},
    "that was signed with another secret": {"secret": f"whsec_{base64.b64encode(bytes(24)).decode()}"},
    "without a signature": {"headers": {"webhook-signature": None}},
    "without any of the three headers": {
        "headers": dict.fromkeys(("webhook-id", "webhook-timestamp", "webhook-signature"))
    },
    "whose signature is no signature": {"headers": {"webhook-signature": "right"}},
}


class Receiver:
    """The student's receiver.py, to which the check posts."""

    def __init__(self, desk, program, client, secret):
        self.desk, self.program, self.client, self.secret = desk, program, client, secret

    @staticmethod
    def listens(port):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True

    def post(self, marker, event, when=None, secret=None, changed=b"", headers=()):
        """The answer to a webhook with this id, whose data has this marker. What is None in headers is left out."""
        when = str(int(when or time.time()))
        body = json.dumps({"type": "prediction.done", "data": {"id": event, "result": marker}}).encode()
        everything = {
            "content-type": "application/json",
            "webhook-id": event,
            "webhook-timestamp": when,
            "webhook-signature": signed(secret or self.secret, event, when, body),
        } | dict(headers)
        everything = {name: value for name, value in everything.items() if value}
        try:
            return self.client.post("/", content=body + changed, headers=everything)
        except httpx.HTTPError as error:
            raise RefusesGood(did=f"did not answer: {printable(error)}") from None

    def good(self, event):
        """The marker of a webhook that it has to print. Raises RefusesGood."""
        marker = secrets.token_hex(8)
        answer = self.post(marker, event)
        if not answer.is_success:
            raise RefusesGood(did=f"answered {answer.status_code}")
        if not self.desk.wait(lambda: self.lines_with(marker), f"{RECEIVER} to print", SOON):
            raise RefusesGood(did=f"printed nothing of it. It printed {self.program.answer()}")
        return marker

    def lines_with(self, text):
        self.program.ended()  # which reads what it has printed
        return sum(text in line for line in self.program.said.splitlines())
