"""What the check of an exercise looks at: the student's app, broker, workers, Flower and results, as they are now."""

import ast
import json
import os
import signal
import socket
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import psutil
import redis
from celery.utils.nodenames import nodesplit

from lab import student
from lab.fault import Fault, Wrong, counted
from lab.folder import Claim
from lab.follow import HEARING, hearing, switch_events_on
from lab.observe import (
    AWAY,
    ODD,
    PORTS,
    Address,
    AnothersServer,
    BrokerFull,
    ManagementAway,
    NothingListens,
    Totals,
    alarm,
    ask,
    ask_workers,
    each_answer,
    flower_port,
    get,
    management,
    take_back,
    totals,
    wait_until,
    waiting,
)
from lab.student import TASK

LOOK = 0.1  # seconds between two looks at a fact
CHECKS = "check-"  # how the ids of tasks begin that a check has sent
SHORT = 60  # characters of a message that are shown
START = 8  # seconds that a worker may take to start; on an idle machine it takes 2
EXPIRES = 10  # seconds after which no worker begins what a check has sent


@contextmanager
def unhurried():
    """Where a check tidies up: its deadline does not go off meanwhile, and what was left of it counts afterwards."""
    left, every = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, every)


class NotRegistered(Wrong):
    """The app has no task called predict: it knows {tasks}."""

    next = """A function becomes a task by a decorator on the line above it, and by being called predict: see
        `python -m lab hint 2`"""


class OtherName(Wrong):
    """The task is registered as {name!r}, and others will ask for 'my_ml_app.predict'."""

    next = """Celery names a task after its module and its function, small and capital letters as they are there. Let
        the function in my_ml_app.py be called predict, and give `@app.task` no other name"""


class OtherArguments(Wrong):
    """predict cannot be called with one payload: {error}."""

    next = "Let predict take one argument, the payload, as the lecture does"


class NoWorker(Wrong):
    """No worker answers, and {waiting} in the queue {queue!r}."""

    next = """In terminal 2: `celery -A my_ml_app worker`. If it ends at once, the last lines there say why"""


class Suspended(Wrong):
    """The worker in process {pid} is suspended: it is there, and nothing of it runs (Ctrl-Z does that)."""

    next = "Type `fg` in terminal 2: it goes on where it was. Or, from elsewhere: `kill -CONT {pid}`"


class Silent(Wrong):
    """The queue {queue!r} has {consumers}, and {answering}. Perhaps a worker is suspended, or another program takes
    the messages."""

    next = """If terminal 2 shows a prompt and the word Stopped, type `fg` there. Otherwise look for what takes
        messages, in each terminal and in Docker, and end it"""


class NotReady(Wrong):
    """The worker in process {pid} does not answer: {why}."""

    passes = True
    next = (
        "Wait a moment, and check again. Once terminal 2 shows a prompt, start the worker: `celery -A my_ml_app worker`"
    )


class NotConnected(Wrong):
    """The worker in process {pid} has no connection to your broker at {ours}: it was started with {theirs}."""

    next = """If you typed an `export …` line into another terminal, type it into terminal 2 too. End the worker there
        (Ctrl-C), and start it again, without `-b`"""


class Unreadable(Wrong):
    """The first message in the queue {queue!r} ends each worker that takes it, and stays: it has {flaw}. It says
    {body}."""

    next = """Empty the queue, with all that waits there: `celery -A my_ml_app purge`. Then start the worker again, and
        send with `predict.delay(payload)`, which writes messages as a worker needs them"""


class OtherApp(Wrong):
    """{worker} takes messages from the queue {queue!r}, and does not know the task my_ml_app.predict: it runs another
    app, and discards your messages. It knows {tasks}."""

    next = "End that worker (Ctrl-C), and start yours, in this folder: `celery -A my_ml_app worker`"


class OtherQueue(Wrong):
    """{worker} takes messages from {queues}, and your app sends them to the queue {queue!r}."""

    next = "Start it without `-Q`, or with `-Q {queue}`: `celery -A my_ml_app worker -Q {queue}`"


class OtherFolder(Wrong):
    """{worker} runs in the folder {theirs}, and not in yours: it takes your messages, and runs the code from there."""

    next = "End it there (Ctrl-C, or `exit` in a `make lab`). Then, in your folder: `celery -A my_ml_app worker`"


class SameName(Wrong):
    """{number} workers are called {worker}: Celery takes them for one. With RabbitMQ, the second one would end at once
    with `RESOURCE_LOCKED`."""

    next = "End one of them. Or give it a name of its own: `celery -A my_ml_app worker -n w2@%h`"


class StaleCode(Wrong):
    """{worker} started {seconds} seconds before you last changed {file}: it runs what was in it before."""

    next = "End the worker in terminal 2 with Ctrl-C, and start it again"


class TooLong(Wrong):
    """The check waited for {what}, and it did not happen in {seconds} seconds."""

    passes = True
    next = "See what the worker in terminal 2 says, and check again"


@dataclass
class Worker:
    """A worker that answered: its name, `celery inspect stats`, the tasks that it knows, its queues, and when it
    started (seconds since 1970, up to one too late)."""

    name: str
    stats: dict
    tasks: list
    queues: list
    started: float

    @property
    def processes(self):
        """Process ids of its pool."""
        return self.stats["pool"].get("processes", [])

    @property
    def size(self):
        """How many predictions it makes at once, by now."""
        return len(self.processes) or self.stats["pool"].get("max-concurrency", 0)

    @property
    def pool(self):
        """The size of its pool, in words."""
        if self.processes and self.processes == [self.stats.get("pid")]:
            return "without a pool"  # --pool=solo
        what = "pool process" if self.processes else "thread"
        return counted(self.size, what) if self.size else "no pool process yet"

    @property
    def autoscale(self):
        """(most, least) pool processes, or None when it does not scale."""
        limits = self.stats.get("autoscaler")
        return limits and (limits["max"], limits["min"])

    @property
    def process(self):
        """Its main process, when that runs on this machine and may be looked at; otherwise None."""
        if nodesplit(self.name)[1] != socket.gethostname():
            return None
        with suppress(psutil.Error):
            process = psutil.Process(self.stats["pid"])
            if "worker" in process.cmdline() or "celery" in process.name():
                return process
        return None

    @property
    def folder(self):
        """Where its main process runs, when that can be seen; otherwise None."""
        with suppress(psutil.Error):
            return Path(self.process.cwd()) if self.process else None
        return None


def is_main(process, processes):
    """Whether a process is a worker, and not one of a worker's pool."""
    command = process.info["cmdline"] or [""]
    names = [os.path.basename(part) for part in command]
    parent = processes.get(process.info["ppid"])
    is_worker = "python" in names[0].lower() and "celery" in names and "worker" in command
    return is_worker and not (parent and parent.info["cmdline"] == command)


def broker_of(process):
    """Address of the broker that a process started in the student's folder uses. Raises psutil.Error."""
    # By key, as it is in the files: the attribute prefers this terminal's environment. Without any, Celery takes amqp://.
    return Address(told_broker(process) or student.app().conf["broker_url"] or "amqp://")


def told_broker(process):
    """The broker that its command, or else its terminal, tells a process of; None without. Raises psutil.Error."""
    for option, value in pairwise([*process.cmdline(), ""]):
        if option in ("-b", "--broker"):
            return value
        if option.startswith("--broker="):
            return option.removeprefix("--broker=")
    return process.environ().get("CELERY_BROKER_URL")


def flaw(message):
    """What ends every worker that meets this message, as words; None when there is nothing.

    Other faults do no harm: a worker throws such a message away, and says so.
    """
    headers = message.headers or {}
    if "task" not in headers:
        return None
    if message.content_type in (None, "", "application/data"):
        return "no content type that says JSON"
    try:
        body = json.loads(message.body or "[]")
    except ValueError:
        return None
    if message.content_type == "application/json" and not (isinstance(body, list) and len(body) == 3):
        return "a body that is not a list of three: arguments, keyword arguments, and further instructions"
    for name in ("id", "task"):
        if not isinstance(headers.get(name), str):
            return f"no {name} that is a text" if name in headers else f"no {name}"
    return None


def is_of_a_check(task):
    """Whether a task has been sent by a check, going by its id."""
    return task.startswith(CHECKS)


def in_short(body):
    """What a message says, as a text of one line that a terminal can show."""
    text = body if isinstance(body, str) else bytes(body).decode(errors="replace")
    return repr(text if len(text) <= SHORT else text[: SHORT - 1] + "…")


class Prediction:
    """A task, and what the workers' events say of it: seen holds the kinds of its events so far."""

    def __init__(self, task):
        self.id = task
        self.sent = time.time()  # or, if it is the student's, when it was first heard of
        self.events = []

    @property
    def text(self):
        """The message in its payload, as the worker tells it; without one, all its arguments."""
        arguments = str(self.event("task-received").get("args"))
        with suppress(ValueError, SyntaxError, TypeError, KeyError):
            [payload] = ast.literal_eval(arguments)
            return repr(payload["message"])
        return arguments

    @property
    def seen(self):
        return {event["type"] for event in self.events}

    def event(self, kind):
        """The first event of a kind such as "task-started", or None."""
        return next((event for event in list(self.events) if event["type"] == kind), None)

    def after(self, kind):
        """Seconds from sending to the arrival here of the first event of a kind, by this machine's clock."""
        return max(0.0, self.event(kind)["local_received"] - self.sent)

    @property
    def is_over(self):
        return bool(self.seen & {"task-succeeded", "task-failed", "task-rejected", "task-revoked"})


class Desk:
    """The student's world. waiting(what) is called when something is waited for that is not there at once."""

    def __init__(self, waiting=lambda what: None):
        self._waiting, self._awaited = waiting, None
        self.folder = Path.cwd()

    def wait(self, fact, what, seconds):
        """The first true answer of fact(), or None after so many seconds; a wait that a person notices is told."""
        if answer := wait_until(fact, min(0.3, seconds), LOOK):
            return answer
        if what != self._awaited:
            self._awaited = what
            self._waiting(what)
        return wait_until(fact, seconds - 0.3, LOOK)

    @cached_property
    def configuration(self):
        """What celeryconfig.py says, with Celery's defaults."""
        return student.configuration()

    @cached_property
    def app(self):
        """The student's app, which asks the stand-in where the lab in this folder runs one."""
        app = student.app()
        if app.conf.broker_url:
            self.join(app.conf.broker_url)
        return app

    def join(self, url):
        """The Address of what stands in for the broker at url, which is asked from now on; None when nothing does."""
        try:
            ask(url)
        except (NothingListens, AnothersServer):
            held = Claim.held("servers")
            if held and held["broker"]["instead"]:
                os.environ["CELERY_BROKER_URL"] = held["broker"]["url"]
                if held.get("results"):
                    os.environ["CELERY_RESULT_BACKEND"] = held["results"]["url"]
                return Address(held["broker"]["url"])
        except Fault:
            pass  # whoever needs the broker says so
        return None

    @property
    def broker(self):
        return Address(self.app.conf.broker_url)

    def dashboard(self, address):
        """Base URL of RabbitMQ's dashboard: where the lab in this folder has it, or 10000 above the broker's port.

        None where the broker is another one.
        """
        if not address.is_rabbitmq:
            return None
        held = Claim.held("servers").get("broker")
        return held["dashboard"] if held and held["url"] == address.url else address.management

    @cached_property
    def task(self):
        """The student's predict. Raises NotRegistered and OtherName."""
        self.app.finalize()
        own = sorted(name for name in self.app.tasks if not name.startswith("celery."))
        if TASK in own:
            return self.app.tasks[TASK]
        for name in own:
            names = [name.rpartition(".")[2].lower(), self.app.tasks[name].run.__name__.lower()]
            if get_close_matches("predict", names, 1, 0.8):
                raise OtherName(name=name)
        raise NotRegistered(tasks=", ".join(own) or "no task at all")

    @cached_property
    def queue(self):
        """Name of the queue to which a message for predict goes."""
        options = self.app.amqp.router.route({}, self.task.name)
        queue = getattr(self.task, "queue", None) or options.get("queue") or self.app.conf.task_default_queue
        return getattr(queue, "name", queue)

    def other_ports(self, address):
        """Where else the broker may be: where the lab in this folder has it, below the dashboard's port, by default."""
        held = Claim.held("servers").get("broker")
        ports = [Address(held["url"]).port] if held else []
        if address.is_rabbitmq:
            ports += [address.port - 10000, PORTS["amqp"]]
        return [port for port in ports if port > 0]

    def on_dashboard(self, address, *path):
        """What RabbitMQ's dashboard says of, for example, "queues", virtual host, name. Raises ManagementAway.

        Its numbers are up to 5 seconds old.
        """
        path = "".join(f"/{quote(part, safe='')}" for part in path)
        try:
            return management(self.dashboard(address), address, path)
        except Fault as fault:
            raise ManagementAway(found=fault, user=address.user) from None

    def ready(self):
        """Facts on which every exercise from the third on stands: the broker answers, and predict can be sent.

        Raises BrokerFull: a question to the workers would wait for ever.
        """
        app, queue = self.app, self.queue
        yield f"broker: {ask(app.conf.broker_url)} at {self.broker}"
        if full := self.full():
            raise full
        yield f"app: {TASK}, sent to the queue {queue!r}"

    def full(self):
        """BrokerFull when the broker takes no messages; otherwise None."""
        broker = self.broker
        short = alarm(broker, self.dashboard(broker))
        return BrokerFull(where=f"{broker.host}:{broker.port}", what=short) if short else None

    def workers(self):
        """All workers that answer within a second, two of one name too."""
        asked = time.time()
        answers = each_answer(self.app, "stats", timeout=HEARING)
        names = sorted({name for name, _ in answers})
        tasks, queues = (
            ask_workers(self.app, what, names) if names else {} for what in ("registered", "active_queues")
        )
        return [
            Worker(
                name,
                facts,
                tasks[name],
                [queue["name"] for queue in queues[name]],
                asked - facts["uptime"],
            )
            for name, facts in sorted(answers, key=lambda answer: answer[0])
            if name in tasks and name in queues  # it has not fallen silent meanwhile
        ]

    @cached_property
    def online(self):
        """The workers that answered when they were first asked."""
        return self.wait(self.workers, "a worker to answer", 2) or []

    @property
    def _names(self):
        return sorted({worker.name for worker in self.online})

    @property
    def worker(self):
        """The worker that takes the student's messages; the first by name, if there are several."""
        return self.takers[0]

    @cached_property
    def takers(self):
        """The workers that take the student's messages, and run what is in the files now; at least one.

        Raises what silence() returns, SameName, OtherApp, OtherQueue, OtherFolder and StaleCode.
        """
        workers = self.online
        if not workers:
            raise self.silence()
        for worker in workers:
            same = [other for other in workers if other.name == worker.name]
            if len(same) > 1:
                raise SameName(worker=worker.name, number=len(same))
        here = [worker for worker in workers if self.queue in worker.queues]
        for worker in here:
            if TASK not in worker.tasks:
                tasks = ", ".join(worker.tasks) or "no task at all"
                raise OtherApp(worker=worker.name, queue=self.queue, tasks=tasks)
        if not here:
            worker = workers[0]
            raise OtherQueue(worker=worker.name, queues=", ".join(map(repr, worker.queues)) or "none", queue=self.queue)
        for worker in here:
            if worker.folder and worker.folder != self.folder:
                raise OtherFolder(worker=worker.name, theirs=worker.folder)
            for file in ("my_ml_app.py", "celeryconfig.py"):
                late = (self.folder / file).stat().st_mtime - worker.started
                if late > 1:
                    raise StaleCode(worker=worker.name, file=file, seconds=round(late))
        return here

    def silence(self):
        """Why no worker answers: a Wrong."""
        if wrong := self.full() or self.suspended() or self.unreadable():
            return wrong
        for process in self.main_processes():
            if wrong := self.why_not_ready(process):
                return wrong
        return self.others(answering=0) or NoWorker(queue=self.queue, waiting=self.messages_wait())

    def suspended(self):
        """Suspended when a worker can be seen to be so; otherwise None."""
        for process in self.main_processes():
            with suppress(psutil.Error):
                if process.status() == psutil.STATUS_STOPPED:
                    return Suspended(pid=process.pid)
        return None

    def others(self, answering=None):
        """Suspended or Silent when the queue has more consumers than workers that answer; otherwise None."""
        answering = len(self.takers) if answering is None else answering
        number = self.consumers() or 0
        if number <= answering:
            return None
        answers = f"{answering or 'no'} worker{'s' * (answering > 1)} answer{'s' * (answering < 2)}"
        consumers = counted(number, "consumer")
        return self.suspended() or Silent(queue=self.queue, consumers=consumers, answering=answers)

    def too_long(self, what, seconds):
        """Why something did not happen in these seconds, as a Wrong: no worker answers any more, or TooLong."""
        return TooLong(what=what, seconds=seconds) if self.workers() else self.silence()

    def main_processes(self):
        """Main processes of workers on this machine, as far as they are in the folder, or told of its broker."""
        processes = {one.pid: one for one in psutil.process_iter(["cmdline", "ppid"])}
        found = []
        for process in processes.values():
            with suppress(psutil.Error):
                if is_main(process, processes) and (self._is_here(process) or self._is_told(process)):
                    found.append(process)
        return found

    def _is_here(self, process):
        return Path(process.cwd()) == self.folder

    def _is_told(self, process):
        """Whether its command, its terminal, or the lab that started it, tells a process of the student's broker."""
        told = told_broker(process)
        return bool(told) and self.broker.is_same_as(Address(told))

    def _is_connected(self, process):
        return any(one.raddr and one.raddr.port == self.broker.port for one in process.net_connections("tcp"))

    def why_not_ready(self, process):
        """A Wrong about a worker's main process that runs, and does not answer."""
        with suppress(psutil.Error):
            age = time.time() - process.create_time()
            theirs = broker_of(process)
            if not theirs.is_same_as(self.broker) or (age > START and not self._is_connected(process)):
                return NotConnected(pid=process.pid, ours=self.broker, theirs=theirs)
            if age < START:
                return NotReady(pid=process.pid, why=f"it started {age:.0f} s ago")
            if "solo" in " ".join(process.cmdline()):
                why = "with `--pool=solo` it does one thing at a time, and a prediction runs"
                return NotReady(pid=process.pid, why=why)
            number = self.consumers()
            if not number:  # one that still takes messages has not been told to end
                perhaps = "perhaps " if number is None else ""
                return NotReady(pid=process.pid, why=f"{perhaps}it has been told to end, and finishes what runs")
        return None

    def consumers(self):
        """How many consumers the queue has; None where the broker does not know."""
        if not self.broker.is_rabbitmq:
            return None
        with self.app.connection_for_read() as connection, suppress(connection.channel_errors):
            return connection.default_channel.queue_declare(self.queue, passive=True).consumer_count

    def first_message(self, queue):
        """The message that a queue gives away next, which stays there; None when there is none."""
        with self.app.connection_for_read() as connection:
            channel = connection.default_channel
            if self.broker.is_redis:
                with suppress(ValueError, TypeError, redis.ResponseError):  # nothing there, or nothing of Celery's
                    return channel.message_to_python(json.loads(channel.client.lindex(queue, -1)))
            elif self.broker.is_rabbitmq:
                with suppress(connection.channel_errors):
                    if message := channel.basic_get(queue):
                        channel.basic_reject(message.delivery_tag, requeue=True)
                        return channel.message_to_python(message)
        return None

    def unreadable(self):
        """Unreadable when the queue's first message ends every worker; otherwise None."""
        message = self.first_message(self.queue)
        if message and (what := flaw(message)):
            return Unreadable(queue=self.queue, flaw=what, body=in_short(message.body))
        return None

    def worker_fact(self):
        worker = self.worker
        return f"worker: {worker.name}, {worker.pool}, takes from {self.queue!r}"

    def inspect(self, what):
        """What `celery inspect WHAT` says of the worker now; None when it says nothing for a second."""
        return self.inspect_all(what).get(self.worker.name)

    def inspect_all(self, what):
        """What `celery inspect WHAT` says now of each worker that takes the student's messages, {name: answer}."""
        return ask_workers(self.app, what, [worker.name for worker in self.takers], HEARING)

    @cached_property
    def flower(self):
        """URL of Flower: at FLOWER_PORT, or where the lab has it, or at 5555. Raises Fault."""
        held = None if os.environ.get("FLOWER_PORT") else Claim.held("stack").get("flower")
        return held or f"http://localhost:{flower_port()}"

    def workers_in_flower(self):
        """The workers that Flower shows as online, {name: predictions that run there}: none when it does not answer."""
        with suppress(Fault, *ODD):
            rows = get(self.flower, "/workers?json=1&refresh=1").json()["data"]
            return {row["hostname"]: int(row.get("active") or 0) for row in rows if row["status"]}
        return {}

    def totals(self):
        """Totals of the student's queue, all of one moment; where nobody knows how many are Unacked, that is None."""
        if self.broker.is_rabbitmq:
            with suppress(Fault):
                return totals(self.dashboard(self.broker), self.broker).get(self.queue, Totals(0, 0))
        if self.broker.is_redis:
            with self.app.connection_for_read() as connection:
                channel = connection.default_channel
                pipe = channel.client.pipeline()  # both at once
                return Totals(*pipe.llen(self.queue).hlen(channel.unacked_key).execute())
        return Totals(waiting(self.app, self.queue), None)

    def messages_wait(self, queue=None):
        number = waiting(self.app, queue or self.queue)
        return "1 message waits" if number == 1 else f"{number or 'no'} messages wait"

    @contextmanager
    def predictions(self, number=1, events=True, **options):
        """Send predictions through the student's own app, and follow them by the workers' events.

        Unless events, nobody is asked for them: only what the workers send anyhow is heard. options are
        apply_async's; without them, no result is stored.
        What still waits at the end is taken back, and what a worker has not yet handed to its pool is revoked; the
        others run. A worker that is started anew knows of no revocation: what it finds has expired soon.
        As long as it lasts, own_predictions are heard too.
        """
        sent = []
        mark = f"{os.getpid()}-{time.monotonic_ns()}"  # revoked by it, a task leaves no result; by its id, it does
        options = {"ignore_result": True, "expires": EXPIRES} | options | {"stamped_headers": ["check"], "check": mark}
        self._heard = {}

        def note(event):
            if event["type"].startswith("task-") and "uuid" in event:
                self._heard.setdefault(event["uuid"], Prediction(event["uuid"])).events.append(event)

        with self._task_events() if events else nullcontext(), hearing(self.app, note):
            try:
                for count in range(number):
                    message = {"message": f"sent by the check, {count + 1} of {number}"}
                    task_id = f"{CHECKS}{os.getpid()}-{count}-{time.monotonic_ns()}"
                    self._heard[task_id] = Prediction(task_id)
                    sent.append(self._heard[task_id])
                    self._send(message, task_id, options)
                yield sent
            finally:
                left = {one.id for one in sent if not one.seen & {"task-started"} and not one.is_over}
                with unhurried(), suppress(*AWAY):
                    if left:
                        revoked = {"headers": {"check": mark}, "terminate": False, "signal": "TERM"}
                        ask_workers(self.app, "revoke_by_stamped_headers", self._names, **revoked)
                        take_back(self.app, self.queue, left)

    @property
    def own_predictions(self):
        """What the student has sent since predictions() began, and a worker has taken, as Predictions."""
        heard = [one for one in list(self._heard.values()) if not is_of_a_check(one.id)]
        return [one for one in heard if (taken := one.event("task-received")) and taken.get("name") == TASK]

    def _send(self, message, task_id, options):
        try:
            self.task.apply_async((message,), task_id=task_id, **options)
        except TypeError as error:
            raise OtherArguments(error=error) from None

    @contextmanager
    def _task_events(self):
        """Let every worker send events of its tasks; those that did not do so before stop it at the end."""
        self._switched_on = []
        self.hear_workers(self._names)
        try:
            yield
        finally:
            if self._switched_on:
                with unhurried():
                    ask_workers(self.app, "disable_events", self._switched_on)

    def hear_workers(self, names=None):
        """Let workers, by default all that are there now, send events of their tasks as long as predictions() lasts."""
        if names != []:
            self._switched_on += switch_events_on(self.app, names)[1]
