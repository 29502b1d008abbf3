"""What the check of an exercise looks at: the student's app, broker, workers, Flower and results, as they are now."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from celery import Celery, Task
from celery.app.utils import Settings

from lab.course import student
from lab.course.prediction import CHECKS, Prediction, is_of_a_check
from lab.course.student import TASK
from lab.course.wrong import (
    NoRabbit,
    NotConnected,
    NotReady,
    NotRegistered,
    NoWorker,
    OtherApp,
    OtherFolder,
    OtherName,
    OtherQueue,
    SameName,
    Silent,
    StaleCode,
    Suspended,
    TooLong,
    Unreadable,
)
from lab.fault import Fault, Wrong, counted
from lab.live.events import HEARING, Event, hearing, switch_events_on
from lab.messages import send, take_back
from lab.probe.address import PORTS, Address
from lab.probe.connection import AWAY, ONCE
from lab.probe.login import NothingListens, ask
from lab.probe.queue import Totals, consumers, first_message, flaw, in_short, ready_and_unacked, waiting
from lab.probe.rabbitmq import BrokerFull, ManagementAway, alarm, management
from lab.probe.wait import Answer, unhurried, wait_until
from lab.probe.web import ODD, get
from lab.probe.workers import Worker, ask_workers, each_answer, is_main, told_broker
from lab.run import running

LOOK = 0.1  # seconds between two looks at a fact
START = 8  # seconds that a worker may take to start; on an idle machine it takes 2
ANOTHER = 2  # seconds that a worker may take to answer when it takes messages already
EXPIRES = 10  # seconds after which no worker begins what a check has sent


def broker_of(process: psutil.Process) -> Address:
    """Address of the broker that a process started in the student's folder uses. Raises psutil.Error."""
    # By key, as in the file: the attribute would use this terminal's environment. Without a value, Celery uses amqp://.
    return Address(told_broker(process) or student.app().conf["broker_url"] or "amqp://")


class Desk:
    """The student's world. waiting(what) is called when the check has to wait for something."""

    def __init__(self, waiting: Callable[[str], None] = lambda what: None):
        self._waiting, self._awaited = waiting, ""
        self._heard: dict[str, Prediction] = {}  # by their ids
        self._switched_on: list[str] = []  # workers that send events of their tasks because we want them
        self.folder = Path.cwd()

    def wait(self, fact: Callable[[], Answer], what: str, seconds: float) -> Answer | None:
        """The first true answer of fact(), or None after this many seconds. If the wait is long enough to notice, it is
        shown."""
        if answer := wait_until(fact, min(0.3, seconds), LOOK):
            return answer
        if what != self._awaited:
            self._awaited = what
            self._waiting(what)
        return wait_until(fact, seconds - 0.3, LOOK)

    @cached_property
    def configuration(self) -> Settings:
        """What celeryconfig.py says, with Celery's defaults."""
        return student.configuration()

    @cached_property
    def app(self) -> Celery:
        """The student's app. Where the lab in this folder uses Valkey instead of the broker, the app uses it too."""
        app = student.app()
        if app.conf.broker_url:
            running.join(app.conf.broker_url)
        return app

    @property
    def broker(self) -> Address:
        return Address(self.app.conf.broker_url)

    @cached_property
    def task(self) -> Task:
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
    def queue(self) -> str:
        """Name of the queue to which a message for predict goes."""
        options = self.app.amqp.router.route({}, self.task.name)
        queue = getattr(self.task, "queue", None) or options.get("queue") or self.app.conf.task_default_queue
        return getattr(queue, "name", queue)

    def rabbitmq(self) -> tuple[str, Address]:
        """Name and version of the student's RabbitMQ, and its Address. Raises NoRabbit, and what ask() raises."""
        address = Address(self.configuration.broker_url)
        if stand_in := running.join(address.url):
            raise NoRabbit(found=f"Valkey is used instead, at {stand_in}")
        try:
            product = ask(address.url)
        except NothingListens:
            raise NoRabbit(found=f"nothing listens at {address.host}:{address.port}") from None
        if not address.is_rabbitmq:
            raise NoRabbit(found=f"celeryconfig.py has the address of {product}")
        return product, address

    def other_ports(self, address: Address) -> list[int]:
        """Other ports at which the broker may be: the lab's in this folder, the dashboard's minus 10000, the
        default."""
        held = running.broker()
        ports = [Address(held["url"]).port] if held else []
        if address.is_rabbitmq:
            ports += [address.port - 10000, PORTS["amqp"]]
        return [port for port in ports if port > 0]

    def on_dashboard(self, address: Address, *path: str) -> Any:
        """What RabbitMQ's dashboard says of, for example, "queues", virtual host, name. Raises ManagementAway.

        Its numbers are statistics, up to ten seconds old: totals() has those of now.
        """
        try:
            return management(running.dashboard(address), address, "".join(f"/{quote(part, safe='')}" for part in path))
        except Fault as fault:
            raise ManagementAway(found=fault, user=address.user) from None

    def ready(self) -> Iterator[str]:
        """Facts that every exercise from 03 on needs: the broker answers, and predict can be sent.

        Raises BrokerFull: a question to the workers would wait forever.
        """
        app, queue = self.app, self.queue
        yield f"broker: {ask(app.conf.broker_url)} at {self.broker}"
        if full := self.full():
            raise full
        yield f"app: {TASK}, sent to the queue {queue!r}"

    def full(self) -> BrokerFull | None:
        """BrokerFull when the broker takes no messages."""
        broker = self.broker
        short = alarm(broker, running.dashboard(broker))
        return BrokerFull(where=f"{broker.host}:{broker.port}", what=short) if short else None

    def workers(self) -> list[Worker]:
        """All workers that answer within a second, even two with one name."""
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
    def online(self) -> list[Worker]:
        """The workers that answered when they were first asked."""
        return self.wait(self.workers, "a worker to answer", 2) or []

    @property
    def _names(self) -> list[str]:
        return sorted({worker.name for worker in self.online})

    @property
    def worker(self) -> Worker:
        """The worker that takes the student's messages; the first by name, if there are several."""
        return self.takers[0]

    @cached_property
    def takers(self) -> list[Worker]:
        """The workers that take the student's messages, and run what is in the files now; at least one.

        Raises what silence() returns, SameName, OtherApp, OtherQueue, OtherFolder and StaleCode.
        """
        workers = self._all_that_take()
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

    def _all_that_take(self) -> list[Worker]:
        """The workers that answer. One that has just started takes messages a moment before it answers: it is waited
        for."""
        number = consumers(self.app, self.queue) or 0
        if 0 < len(self.online) < number and not self.suspended():
            self.wait(lambda: self._ask_again() >= number, "another worker to answer", ANOTHER)
        return self.online

    def _ask_again(self) -> int:
        """How many workers answer now, if they are more than before."""
        self.online = max(self.online, self.workers(), key=len)
        return len(self.online)

    def silence(self) -> Wrong:
        """Why no worker answers."""
        if wrong := self.full() or self.suspended() or self.unreadable():
            return wrong
        not_ready = next(filter(None, map(self.why_not_ready, self.main_processes())), None)
        return not_ready or self.others(answering=0) or NoWorker(queue=self.queue, waiting=self.messages_wait())

    def suspended(self) -> Suspended | None:
        """Suspended when a worker can be seen to be so."""
        for process in self.main_processes():
            with suppress(psutil.Error):
                if process.status() == psutil.STATUS_STOPPED:
                    return Suspended(pid=process.pid)
        return None

    def others(self, answering: int | None = None) -> Suspended | Silent | None:
        """What is wrong when the queue has more consumers than workers that answer."""
        answering = len(self.takers) if answering is None else answering
        number = consumers(self.app, self.queue) or 0
        if number <= answering:
            return None
        answers = f"{answering or 'no'} worker{'s' * (answering > 1)} answer{'s' * (answering < 2)}"
        several = counted(number, "consumer")
        return self.suspended() or Silent(queue=self.queue, consumers=several, answering=answers)

    def not_in_time(self, what: str, seconds: float) -> Wrong:
        """Why something did not happen in these seconds: no worker answers any more, or TooLong."""
        return TooLong(what=what, seconds=seconds) if self.workers() else self.silence()

    def main_processes(self) -> list[psutil.Process]:
        """Main processes of workers on this machine that run in the student's folder or were given its broker."""
        processes = {one.pid: one for one in psutil.process_iter(["cmdline", "ppid"])}
        found = []
        for process in processes.values():
            with suppress(psutil.Error):
                if is_main(process, processes) and (self._is_here(process) or self._is_told(process)):
                    found.append(process)
        return found

    def _is_here(self, process: psutil.Process) -> bool:
        return Path(process.cwd()) == self.folder

    def _is_told(self, process: psutil.Process) -> bool:
        """Whether a process got the student's broker from its command, its terminal, or the lab that started it."""
        told = told_broker(process)
        return bool(told and self.broker.is_same_as(Address(told)))

    def _is_connected(self, process: psutil.Process) -> bool:
        return any(one.raddr and one.raddr.port == self.broker.port for one in process.net_connections("tcp"))

    def why_not_ready(self, process: psutil.Process) -> NotConnected | NotReady | None:
        """Why a worker's main process that runs does not answer."""
        with suppress(psutil.Error):
            age = time.time() - process.create_time()
            theirs = broker_of(process)
            if not theirs.is_same_as(self.broker) or (age > START and not self._is_connected(process)):
                return NotConnected(pid=process.pid, ours=self.broker, theirs=theirs)
            if age < START:
                return NotReady(pid=process.pid, why=f"it started {age:.0f} s ago")
            if "solo" in " ".join(process.cmdline()):
                why = "with `--pool=solo` it does one thing at a time, and now a prediction runs"
                return NotReady(pid=process.pid, why=why)
            number = consumers(self.app, self.queue)
            if not number:  # a worker that still takes messages was not told to end
                perhaps = "perhaps " if number is None else ""
                return NotReady(
                    pid=process.pid, why=f"{perhaps}it was told to end, and finishes the predictions that run"
                )
        return None

    def unreadable(self) -> Unreadable | None:
        """Unreadable when the queue's first message ends every worker."""
        message = first_message(self.app, self.queue)
        if message and (what := flaw(message)):
            return Unreadable(queue=self.queue, flaw=what, body=in_short(message.body))
        return None

    def worker_fact(self) -> str:
        worker = self.worker
        return f"worker: {worker.name}, {worker.pool}, takes from {self.queue!r}"

    def inspect(self, what: str) -> Any:
        """What `celery inspect WHAT` says of the worker now; None when it says nothing for a second."""
        return self.inspect_all(what).get(self.worker.name)

    def inspect_all(self, what: str) -> dict[str, Any]:
        """What `celery inspect WHAT` says now of each worker that takes the student's messages, {name: answer}."""
        return ask_workers(self.app, what, [worker.name for worker in self.takers], HEARING)

    @cached_property
    def flower(self) -> str:
        """URL of Flower: at FLOWER_PORT, or where the lab has it, or at 5555. Raises Fault."""
        return running.flower()

    def workers_in_flower(self) -> dict[str, int]:
        """The workers that Flower shows as online, {name: predictions that run there}: none when it does not answer."""
        with suppress(Fault, *ODD):
            rows = get(self.flower, "/workers?json=1&refresh=1").json()["data"]
            return {row["hostname"]: int(row.get("active") or 0) for row in rows if row["status"]}
        return {}

    def totals(self) -> Totals:
        """Totals of the student's queue, both of one moment."""
        with self.app.connection_for_read(transport_options=ONCE) as connection:
            dashboard = running.dashboard(self.broker)
            ready, unacked = ready_and_unacked(connection, self.broker, [self.queue], dashboard)
        return Totals(ready[self.queue], unacked)

    def messages_wait(self, queue: str | None = None) -> str:
        number = waiting(self.app, queue or self.queue)
        return "1 message waits" if number == 1 else f"{number or 'no'} messages wait"

    @contextmanager
    def predictions(
        self, number: int = 1, events: bool = True, payload: dict[str, Any] | None = None, **options: Any
    ) -> Iterator[list[Prediction]]:
        """Send predictions through the student's own app, and follow them by the workers' events.

        If events is False, workers are not asked for events: only those that they send anyway are heard. payload is
        what each payload has besides its message. options are apply_async's; without them, no result is stored. At the
        end, those that still wait are taken back, and those that a worker has not given to its pool yet are revoked;
        the others run. A worker that starts later does not know what is revoked, so they expire soon too. Meanwhile,
        own_predictions are heard as well.
        """
        sent: list[Prediction] = []
        # A task that is revoked by this mark leaves no result; by its id, it would.
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        options = {"ignore_result": True, "expires": EXPIRES} | options | {"stamped_headers": ["check"], "check": mark}
        self._heard = {}

        def note(event: Event) -> None:
            if event["type"].startswith("task-") and "uuid" in event:
                self._heard.setdefault(event["uuid"], Prediction(event["uuid"])).events.append(event)

        with self._task_events() if events else nullcontext(), hearing(self.app, note):
            try:
                for count in range(number):
                    message = {"message": f"sent by the check, {count + 1} of {number}"} | (payload or {})
                    task_id = f"{CHECKS}{os.getpid()}-{count}-{time.monotonic_ns()}"
                    self._heard[task_id] = Prediction(task_id)
                    sent.append(self._heard[task_id])
                    send(self.task, message, task_id=task_id, **options)
                yield sent
            finally:
                left = {one.id for one in sent if not one.seen & {"task-started"} and not one.has_ended}
                with unhurried(), suppress(*AWAY):
                    if left:
                        revoked = {"headers": {"check": mark}, "terminate": False, "signal": "TERM"}
                        ask_workers(self.app, "revoke_by_stamped_headers", self._names, HEARING, **revoked)
                        take_back(self.app, self.queue, left)

    @property
    def own_predictions(self) -> list[Prediction]:
        """What the student has sent since predictions() began, and a worker has taken."""
        heard = [one for one in list(self._heard.values()) if not is_of_a_check(one.id)]
        return [one for one in heard if one.event("task-received").get("name") == TASK]

    @contextmanager
    def _task_events(self) -> Iterator[None]:
        """Make every worker send events of its tasks; at the end, stop those that did not send them before."""
        self._switched_on = []
        self.hear_workers(self._names)
        try:
            yield
        finally:
            if self._switched_on:
                with unhurried():
                    ask_workers(self.app, "disable_events", self._switched_on)

    def hear_workers(self, names: list[str] | None = None) -> None:
        """Make workers, by default all that answer now, send events of their tasks until predictions() ends."""
        if names != []:
            self._switched_on += switch_events_on(self.app, names)[1]
