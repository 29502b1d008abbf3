"""The whole lab: servers, worker and Flower, started in this order and ended in the reverse order."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial

from celery import Celery

from lab.fault import Fault, counted
from lab.messages import give_back
from lab.probe.login import answers
from lab.probe.ports import port_holder
from lab.probe.queue import waiting
from lab.probe.rabbitmq import takes_messages
from lab.probe.wait import wait_until
from lab.probe.web import flower_answers, flower_port
from lab.probe.workers import ask_workers, in_hand, workers
from lab.run.folder import Claim, Folder
from lab.run.keeper import Child, Keeper, Record
from lab.run.servers import Server, Servers, allow_files, await_child, free_port

WORKER = f"lab@{socket.gethostname()}"  # a name of its own: a worker started by hand is celery@…
START = 30  # seconds that worker and Flower may take to start; 2 on an idle machine
STOP = 5  # seconds that a worker may take to drop what it does; less than 1 on an idle machine
PATIENCE = 60  # seconds that running predictions get when the terminal is closed, and that a worker gets to end
AGAIN = 5  # seconds in which another lab has restarted its server
TRIES, SPAN = 3, 60  # what ends more often than this in so many seconds is left alone


class Lab:
    """What one command started or joined: broker and results from start_servers() on, worker (its name), worker_log
    (a path, when it is one of ours) and flower (its URL) from start_stack() on.

    tell(sentence) is called, from any thread, with what a student should know. joined says whether another
    lab in this folder runs it all; times are the (seconds, name) of the start-up's parts.
    """

    broker: Server
    results: Server | None = None  # where celeryconfig.py has no result backend
    worker: str | None = None
    worker_log: str | None = None
    flower: str

    def __init__(self, app: Celery, tell: Callable[[str], None], parts: Sequence[str] = ("servers", "stack")) -> None:
        self.app = app
        self.other_workers: list[str] = []
        self.times: list[tuple[float, str]] = []
        self._tell = tell
        allow_files()
        self._folder = Folder()
        self._claims = {part: Claim(self._folder.path, part) for part in parts}
        self._held = {part: claim.take(tell) for part, claim in self._claims.items()}
        self.joined = all(self._held.values())
        records = [Record(self._folder.path / f"{part}.children") for part in self._own()]
        if left := [child for record in records for child in record.end()]:
            tell(f"A lab was killed here, and its keeper too. What they left running was ended: {', '.join(left)}.")
        self._keeper = Keeper([self._claims[part].fileno() for part in self._own()], records[0] if records else None)
        self._leaving = False
        self._lock = threading.Lock()

    def _own(self) -> list[str]:
        """The parts that this lab runs itself."""
        return [part for part in self._claims if not self._held[part]]

    @property
    def started_servers(self) -> bool:
        """Whether broker or result backend were started by this command."""
        return any(server and server.started for server in (self.broker, self.results))

    def start_servers(self) -> None:
        """Make broker and result backend answer, and point this process at them. Raises Fault."""
        if self._folder.problem:
            self._tell(f"The folder .lab cannot be used ({self._folder.problem}): nothing is kept when you leave.")
        theirs = self._held["servers"]
        if theirs:
            self.broker, self.results = (theirs[role] and Server(**theirs[role]) for role in ("broker", "results"))
            for server in filter(None, (self.broker, self.results)):
                if not wait_until(partial(answers, server.url), AGAIN):
                    found = f"{server.product} of another lab in this folder does not answer at {server.address}"
                    raise Fault(found, "Leave that lab with `exit` or Ctrl-C, and try again")
        else:
            servers = Servers(self._keeper, self._folder, lambda name: self._tell(f"Starting {name} …"))
            with self._timed("broker"):
                self.broker = servers.broker(self.app.conf.broker_url)
            if self.app.conf.result_backend:
                with self._timed("result backend"):
                    self.results = servers.result_backend(self.app.conf.result_backend)
            self._claims["servers"].publish(
                broker=asdict(replace(self.broker, started=False)),
                results=self.results and asdict(replace(self.results, started=False)),
            )
        os.environ.update(self._environment())

    def start_stack(self) -> None:
        """Start worker and Flower, unless they are there, and wait until both are ready. Raises Fault."""
        takes_messages(self.broker.url, self.broker.dashboard)
        if theirs := self._held["stack"]:
            self.worker, self.worker_log, self.flower = (theirs[part] for part in ("worker", "worker_log", "flower"))
            return
        with self._timed("worker and Flower"):
            self.other_workers = [] if self.broker.started else workers(self.app)
            if left := waiting(self.app):
                self._tell(f"{_are(left, 'message')} waiting from before. The worker begins with what waits.")
            children = self._keeper.children
            if WORKER not in self.other_workers:
                self._start_worker()
            self._start_flower()
            if "worker" in children:
                await_child(children["worker"], self._worker_answers, START)
            self.worker = WORKER
            await_child(children["flower"], lambda: flower_answers(self.flower), START)
        self._claims["stack"].publish(worker=self.worker, worker_log=self.worker_log, flower=self.flower)

    def mend(self) -> None:
        """Start again each part that ended by itself, and say so. Or say that the lab that this one joined has
        ended."""
        if self.joined and not self._claims["stack"].is_published():
            self.joined = False
            self._tell("The lab that you joined has ended. Leave with `exit`, and type `make lab` again.")
        with self._lock:
            if self._keeper.gone and self._keeper.children and not self._leaving:
                self._keeper.children.clear()
                self._withdraw()
                self._tell(
                    "The keeper of this lab was killed, so its parts have ended. Leave, and start the lab again."
                )
            ended = [child for child in self._keeper.children.values() if child.ended.is_set() and not child.given_up]
            for child in ended if not self._leaving else ():
                how = f"was ended by signal {-child.code}" if child.code < 0 else f"ended with exit status {child.code}"
                child.restarts = [begin for begin in child.restarts if time.monotonic() - begin < SPAN]
                if child.name == "worker" and not workers(self.app):
                    give_back(self.app)
                if len(child.restarts) == TRIES:
                    child.given_up = True
                    self._tell(
                        f"The {child.name} {how} again. The lab stops trying. Its last lines are in {child.log}."
                    )
                    if child.name == "worker":
                        self._suspect_messages()
                    continue
                self._tell(f"The {child.name} {how}. Starting it again …")
                self._keeper.restart(child)

    def _suspect_messages(self) -> None:
        """Say so when a message may be the reason: one that no worker can read goes back into the queue when that
        worker ends."""
        number = 0
        with suppress(Fault):
            number = waiting(self.app)
        if number:
            look = "Look at them in the dashboard (Queues, celery, Get messages). " if self.broker.dashboard else ""
            self._tell(
                f"{_are(number, 'message')} waiting, and one may be the reason. {look}"
                "`celery -A my_ml_app purge`, in another terminal, removes all that wait. Then leave, and start again."
            )

    def leave(self, patient: bool = True) -> None:
        """End what this command started: running predictions finish, and what still waits is counted and kept.

        Unless patient, predictions that are not done within a minute go back into the queue.
        """
        with self._lock:
            self._leaving = True
        self._withdraw()
        try:
            child = self._keeper.children.get("worker")
            if child and not child.ended.is_set():
                self._end_worker(child, float("inf") if patient else PATIENCE)
        finally:
            if self._keeper.children:
                self._tell("Stopping what was started here …")
            self._keeper.close()
            self._folder.remove_if_temporary()

    def _withdraw(self) -> None:
        for part in self._own():
            self._claims[part].withdraw()

    def _end_worker(self, child: Child, seconds: float) -> None:
        ended = False
        try:
            if self.worker and self._drain(self.worker, seconds):
                self._keeper.signal(child, signal.SIGTERM)
                ended = child.ended.wait(PATIENCE)
        except KeyboardInterrupt:
            pass
        if not ended:
            if self.worker:
                self._tell("Leaving at once: predictions that run go back into the queue.")
            for number in (signal.SIGQUIT, signal.SIGKILL) if self.worker else (signal.SIGTERM, signal.SIGKILL):
                self._keeper.signal(child, number)
                if child.ended.wait(STOP):
                    break
        left = 0
        with suppress(Fault):
            left = waiting(self.app)
        if left and self._folder.problem:
            self._tell(f"{_are(left, 'message')} waiting, and lost: .lab cannot be used.")
        elif left:
            where = "in Valkey, for the next `make lab` without RabbitMQ" if self.broker.instead else "for `make lab`"
            self._tell(f"{_are(left, 'message')} waiting in the queue, and kept {where}.")

    def _drain(self, worker: str, seconds: float) -> bool:
        """Make a worker finish what it holds, and take no more. Return whether it then says that it holds nothing.

        SIGTERM asks for the same; but a pool process that is busy then, most of all in a pool that grows, may not hear
        that its result was taken, and waits half a minute (billiard 4.3, _ensure_messages_consumed).
        """
        number = in_hand(self.app, worker)
        if number:
            self._tell(f"{_are(number, 'prediction')} running. The lab waits for the end. Ctrl-C leaves at once.")
            ask_workers(self.app, "cancel_consumer", [worker], queue=self.app.conf.task_default_queue)
        deadline = time.monotonic() + seconds
        while number and time.monotonic() < deadline:
            if self.results and not answers(self.results.url):
                self._tell("The result backend does not answer, so no prediction can end.")
                return False
            time.sleep(0.3)
            number = in_hand(self.app, worker)
        if number is None:
            self._tell("The worker does not answer.")
        return number == 0

    def _start_worker(self) -> None:
        if self.broker.started:
            give_back(self.app)
        self.worker_log = str(self._folder.log("worker"))
        self._start(
            "worker",
            # Flower, which runs too, would switch events on 5 seconds later. A malformed one would end gossip's worker.
            ["-A", "my_ml_app", "worker", "--autoscale=10,2", "--task-events", "--without-gossip", "--without-mingle"]
            + [f"--hostname={WORKER}"],
            last_signal=signal.SIGQUIT,  # a cold shutdown: what runs goes back into the queue
        )

    def _worker_answers(self) -> list[str]:
        """Whether it does. A question that comes before it listens is lost, so the first questions wait only for
        moments."""
        age = time.monotonic() - self._keeper.children["worker"].begin
        return workers(self.app, [WORKER], min(1, 0.2 + age / 10))

    def _start_flower(self) -> None:
        wanted = flower_port()
        port = free_port(wanted)
        if port != wanted:
            holder = port_holder(wanted)
            reason = f"is taken by {holder}" if holder else "may not be used"
            self._tell(f"Port {wanted} {reason}, so Flower gets port {port}.")
        self.flower = f"http://localhost:{port}"
        environment = {"FLOWER_BROKER_API": api} if (api := self.broker.flower_api) else {}
        self._start("flower", ["-A", "my_ml_app", "flower", "--address=127.0.0.1", f"--port={port}"], environment)

    def _start(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str] | None = None,
        last_signal: int = signal.SIGTERM,
    ) -> None:
        log = self._folder.log(name)
        log.write_bytes(b"")
        command = [sys.executable, "-m", "celery", *command]
        self._keeper.start(name, command, log, self._environment() | (environment or {}), last_signal)

    def _environment(self) -> dict[str, str]:
        """Where broker and result backend are, as Celery reads it from the environment."""
        urls = {"CELERY_BROKER_URL": self.broker, "CELERY_RESULT_BACKEND": self.results}
        return {name: server.url for name, server in urls.items() if server}

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.times.append((time.monotonic() - begin, name))


def _are(number: int, noun: str) -> str:
    return f"{counted(number, noun)} {'is' if number == 1 else 'are'}"
