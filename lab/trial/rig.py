"""What a trial breaks: a broker, a result backend, a worker and a producer of its own, from the student's files."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import psutil
from celery import Celery

from lab.fault import Fault
from lab.messages import give_back
from lab.probe.address import Address
from lab.probe.dead import dead
from lab.probe.login import answers
from lab.probe.ports import takes_connections
from lab.probe.wait import wait_until
from lab.probe.workers import workers
from lab.run.folder import Folder
from lab.run.keeper import Child, Keeper
from lab.run.servers import RABBITMQ_START, Server, Servers, allow_files, await_child, free_port
from lab.trial import DEFAULTS, ID, QUEUE, SETTINGS, TASK, TRUTH
from lab.trial.plan import KINDS, Planned
from lab.trial.verdict import Fact

WORKER = f"trial@{socket.gethostname()}"
PROCESSES = 4  # of the worker's pool
START = 30  # seconds that a worker may take to start; 2 on an idle machine
COLD = 10  # seconds that a cold shutdown may take; less than 1 on an idle machine
FROZEN = 6, 8  # seconds: longer than the 5 that the lab's celeryconfig.py waits for an answer
AWAY = 1, 3  # seconds that a result backend is away


@dataclass(frozen=True)
class Wanted:
    """What the student's files say: their task's name, the queue to which it goes, and to which it goes with Celery's
    own settings, whether the broker is RabbitMQ, and whether results are stored."""

    task: str
    queue: str
    default_queue: str
    is_rabbitmq: bool
    with_results: bool


class Rig:
    """Servers and programs of a trial's own. Each is a child of one keeper, and ends with it.

    kinds is what will be broken. heed() is called where it waits, and raises what has to end it. After begin(), monitor
    is an app of the trial's own: it asks broker and backend, and knows nothing of the student's settings.
    """

    broker: Server
    results: Server | None = None
    monitor: Celery

    def __init__(self, wanted: Wanted, kinds: set[str], tell: Callable[[str], None], heed: Callable[[], None]) -> None:
        allow_files()
        self._wanted, self._kinds, self._tell, self._heed = wanted, kinds, tell, heed
        self._folder = Folder(temporary=True)
        self._keeper = Keeper()
        self._parts: dict[str, Child] = {}
        self._urls: dict[str, str] = {}
        self._at = 0.0  # when the last fault was injected, in seconds since 1970

    def __enter__(self) -> Self:
        try:
            self._start_servers()
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._keeper.close()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._tell("Interrupted. All that was started here has ended.")
        if kind is None or not issubclass(kind, Fault):  # whose sentence names a log
            self._folder.remove_if_temporary()

    def _start_servers(self) -> None:
        servers = Servers(self._keeper, self._folder, lambda name: self._tell(f"Starting {name} …"))
        scheme = "amqp://myuser:mypassword@localhost:{}//" if self._wanted.is_rabbitmq else "redis://localhost:{}/0"
        self.broker = servers.broker(scheme.format(free_port()))
        self._parts["broker"], self._urls["broker"] = self._youngest(), self.broker.url
        if self.broker.instead:
            self._tell(f"{self.broker.instead} This trial's broker is Valkey.")
        if self._wanted.with_results:
            self.results = servers.result_backend(f"redis://localhost:{free_port()}/0")
            self._parts["results"], self._urls["results"] = self._youngest(), self.results.url
        self._port = self._target = self.broker.address.port
        if "network" in self._kinds:
            self._port = free_port()
            command = [sys.executable, Path(__file__).with_name("proxy.py"), self._port, self._target]
            self._parts["network"] = self._keeper.start("network", command, self._folder.log("network"))
            await_child(self._parts["network"], lambda: takes_connections(self._port), START)

    def begin(self, defaults: bool = False) -> None:
        """Start a worker at an empty broker and backend, with the student's settings or with Celery's own."""
        self._defaults = defaults
        self._truth = self._folder.path / f"{DEFAULTS if defaults else 'truth'}.jsonl"
        self._facts: list[Fact] = []
        self._read = 0  # how much of the truth is among these facts
        self._since, self._killed = 0, set[int]()  # where among them the worker of now begins; its dead processes
        broker, results = self.broker.url, self.results.url if self.results else ""
        if defaults:
            self._kill("worker", signal.SIGKILL)
            broker, results = self._another(self.broker), self._another(self.results) if self.results else ""
        # In the environment, the student's own addresses would win.
        os.environ["CELERY_BROKER_URL"], os.environ["CELERY_RESULT_BACKEND"] = broker, results
        self.monitor = Celery("trial", broker=broker, backend=results or None)
        self._queue = self._wanted.default_queue if defaults else self._wanted.queue
        self.monitor.conf.task_default_queue = self._queue
        self._address = broker.replace(f":{self._target}", f":{self._port}")
        self._tell("Starting a worker …")
        options = ["-Q", self._queue, "-c", PROCESSES, "--task-events", "-n", WORKER]
        worker = ["-m", "celery", "-A", "lab.trial.app", "worker", *options]
        await_child(self._start_child("worker", worker), self._worker_answers, START)
        if "flower" in self._kinds:
            port = f"--port={free_port()}"
            self._start_child("flower", ["-m", "celery", "-A", "lab.trial.app", "flower", "--address=127.0.0.1", port])

    def _another(self, server: Server) -> str:
        """The URL of an empty virtual host, or database, of a server."""
        if not server.dashboard:
            return f"{server.url.rpartition('/')[0]}/2"
        with httpx.Client(trust_env=False, auth=(server.address.user, server.address.password)) as client:
            client.put(f"{server.dashboard}/api/vhosts/{DEFAULTS}").raise_for_status()
        return f"{server.url.rstrip('/')}/{DEFAULTS}"

    def _youngest(self) -> Child:
        """The child that was started last."""
        return list(self._keeper.children.values())[-1]

    def _start_child(self, name: str, command: Sequence[object]) -> Child:
        environment = {
            "CELERY_BROKER_URL": self._address,
            "CELERY_RESULT_BACKEND": os.environ["CELERY_RESULT_BACKEND"],
            TASK: self._wanted.task,
            QUEUE: self._queue,
            TRUTH: str(self._truth),
            SETTINGS: DEFAULTS if self._defaults else "",
        }
        python = [sys.executable, *command]
        self._parts[name] = self._keeper.start(name, python, self._folder.log(name), environment, signal.SIGKILL)
        return self._parts[name]

    @property
    def broker_is_rabbitmq(self) -> bool:
        return Address(self.broker.url).is_rabbitmq

    def _worker_answers(self) -> list[str]:
        self._heed()
        return workers(self.monitor, [WORKER], 0.5)

    def produce(self, number: int, seconds: float, poison: bool) -> Child:
        """Start a producer that sends so many predictions, evenly in these seconds; it has begun."""
        producer = self._start_child("producer", ["-m", "lab.trial.producer", number, seconds, *["poison"] * poison])
        await_child(producer, self.truth, START)
        return producer

    def truth(self) -> list[Fact]:
        """What predictions and producer have written, in this order."""
        with suppress(FileNotFoundError), open(self._truth, "rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]  # a line that is being written is read the next time
            self._facts += map(json.loads, whole.splitlines())
            self._read += len(whole) + bool(whole)
        return self._facts

    def _running(self) -> dict[int, str]:
        """{process: the id of the prediction that it runs}, as the truth says of the processes that live."""
        found: dict[int, str] = {}
        for fact in self.truth()[self._since :]:
            if fact["fact"] == "begun":
                found[fact["process"]] = fact["id"]
            elif fact["fact"] in ("made", "raised", "deferred"):
                found.pop(fact["process"], None)
        return {process: task for process, task in found.items() if process not in self._killed}

    def give_back(self) -> None:
        """With Redis as broker: what dead workers held goes back now, and not after visibility_timeout."""
        give_back(self.monitor)

    def dead(self) -> dict[str, str]:
        """{id: why it is there} of the messages in the queue dead."""
        with dead(self.monitor) as (_, found):
            return {message.headers.get(ID) or message.name: message.reason for message in found}

    def inject(self, planned: Planned) -> Fact:
        """Break what is planned, wait until all works again, and return the fault as a fact. Raises Fault."""
        self._at = 0.0
        hit = self._running()
        part, _, how = planned.kind.partition("-")
        if part == "process":
            pid, hit = self._kill_process(planned.draw)
        elif how == "frozen":
            pid = self._freeze(part, planned.draw)
        elif part == "worker":
            pid, hit = self._kill_worker(signal.SIGQUIT if how == "cold" else signal.SIGKILL)
        elif part == "network":
            pid = self._freeze(part, planned.draw, cut=True)
            await_child(self._restart(part), lambda: takes_connections(self._port), START)
        elif part == "flower":
            pid = self._kill(part, signal.SIGKILL)
            self._restart(part)
        else:
            away = AWAY[0] + planned.draw * (AWAY[1] - AWAY[0]) if part == "results" else 0
            pid = self._kill_server(part, away)
        return self._fault(planned.kind, KINDS[planned.kind][0], self._at, pid, hit) | {"planned": planned.at}

    def _fault(self, kind: str, what: str, begin: float, pid: int, hit: dict[int, str]) -> Fact:
        """A fault that is over now: which process it hit, and the predictions that ran there."""
        return {
            "time": round(begin, 4),
            "fact": "fault",
            "kind": kind,
            "what": what,
            "until": round(time.time(), 4),
            "process": pid,
            "running": sorted(hit.values()),
        }

    def _kill(self, part: str, number: int) -> int:
        """End a part with a signal, or after COLD seconds with SIGKILL. Return its process id."""
        child = self._parts[part]
        self._at = self._at or time.time()
        self._keeper.signal(child, number)
        if not child.ended.wait(COLD):
            self._keeper.signal(child, signal.SIGKILL)
            child.ended.wait()
        return child.pid or 0

    def _restart(self, part: str) -> Child:
        child = self._parts[part]
        self._keeper.restart(child)
        self._parts[part] = self._keeper.children[child.name]
        return self._parts[part]

    def mend(self) -> Fact | None:
        """Start the worker again if it has ended by itself, as whatever supervises a worker does, and say so in a
        fact."""
        self._heed()
        child = self._parts["worker"]
        if not child.ended.is_set():
            return None
        begin, hit = time.time() - (time.monotonic() - child.end), self._start_worker_again()
        what = f"the worker ended by itself, with exit status {child.code}"
        return self._fault("worker-ended", what, begin, child.pid or 0, hit)

    def _start_worker_again(self) -> dict[int, str]:
        """Return what it ran when it ended."""
        hit = self._running()
        self._since = len(self.truth())
        worker = self._restart("worker")
        wait_until(lambda: worker.ended.is_set() or self._worker_answers(), START)
        return hit

    def _kill_worker(self, number: int) -> tuple[int, dict[int, str]]:
        """End the worker and start it again. Return its process id, and what it ran when it ended."""
        return self._kill("worker", number), self._start_worker_again()

    def _kill_process(self, draw: float) -> tuple[int, dict[int, str]]:
        """Kill a process of the pool, if possible one that predicts. Return its id, and what it ran when it ended."""
        running, pool = self._running(), self._pool()
        those = sorted(running.keys() & pool) or sorted(pool)
        if not those:
            raise Fault("The trial's worker has no process to kill", f"Look into {self._parts['worker'].log}")
        victim = those[int(draw * len(those))]
        self._at = time.time()
        with suppress(ProcessLookupError):  # poison may have ended it just now
            os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(self._pool() - {victim}) == len(pool), COLD)
        hit = {process: task for process, task in self._running().items() if process == victim}
        self._killed.add(victim)
        return victim, hit

    def _kill_server(self, part: str, away: float) -> int:
        """Kill a server, start it again on its data after so many seconds, and wait until it answers."""
        pid = self._kill(part, signal.SIGKILL)
        time.sleep(away)
        url = self._urls[part]
        await_child(self._restart(part), lambda: answers(url), RABBITMQ_START)
        return pid

    def _freeze(self, part: str, draw: float, cut: bool = False) -> int:
        """Let a part, with all its processes, stand still for FROZEN seconds, of which draw decides; if it is to be
        cut, it ends then, and what has piled up is lost."""
        family = self._family(part)
        self._at = time.time()
        try:
            for one in family:
                with suppress(psutil.NoSuchProcess):  # it ended by itself just now
                    one.suspend()
            time.sleep(FROZEN[0] + draw * (FROZEN[1] - FROZEN[0]))
            if cut:
                self._kill(part, signal.SIGKILL)
        finally:
            for one in family:
                with suppress(psutil.NoSuchProcess):
                    one.resume()
        return self._parts[part].pid or 0

    def _pool(self) -> set[int]:
        """The processes of the worker's pool."""
        return {one.pid for one in self._family("worker", recursive=False)[1:]}

    def _family(self, part: str, recursive: bool = True) -> list[psutil.Process]:
        """The process of a part, and those that it has started; recursive: those that these have started too. None if
        it has ended."""
        child = self._parts[part]
        with suppress(psutil.NoSuchProcess):
            if child.pid and not child.ended.is_set():
                main = psutil.Process(child.pid)
                return [main, *main.children(recursive)]
        return []
