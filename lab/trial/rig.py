"""What a trial breaks: a broker, a result backend, a worker and a producer of its own, from the student's files."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
from celery import Celery

from lab.fault import Fault
from lab.messages import give_back
from lab.probe.address import Address
from lab.probe.login import answers
from lab.probe.ports import takes_connections
from lab.probe.wait import wait_until
from lab.probe.workers import workers
from lab.run.folder import Folder
from lab.run.keeper import Child, Keeper
from lab.run.servers import RABBITMQ_START, Server, Servers, allow_files, await_child, free_port
from lab.trial import DEFAULTS, SETTINGS, TASK, TRUTH
from lab.trial.plan import KINDS, Planned

WORKER = f"trial@{socket.gethostname()}"
PROCESSES = 4  # of the worker's pool
START = 30  # seconds that a worker may take to start; 2 on an idle machine
COLD = 10  # seconds that a cold shutdown may take; less than 1 on an idle machine
FROZEN = 6, 8  # seconds: longer than the 5 that the lab's celeryconfig.py waits for an answer
AWAY = 1, 3  # seconds that a result backend is away


@dataclass(frozen=True)
class Wanted:
    """What the student's files say: their task's name, the queue to which it goes, whether the broker is RabbitMQ, and
    whether results are stored."""

    task: str
    queue: str
    is_rabbitmq: bool
    with_results: bool


class Rig:
    """Everything that one trial runs. Each part is a child of one keeper, and ends with it.

    defaults is whether Celery's own settings take the place of celeryconfig.py, kinds what will be broken. monitor is
    an app of the trial's own: it asks broker and backend, and knows nothing of the student's settings.
    """

    broker: Server
    results: Server | None = None

    def __init__(self, wanted: Wanted, defaults: bool, kinds: set[str], tell: Callable[[str], None]) -> None:
        allow_files()
        self._wanted, self._defaults, self._kinds, self._tell = wanted, defaults, kinds, tell
        self._folder = Folder(temporary=True)
        self._truth = self._folder.path / "truth.jsonl"
        self._keeper = Keeper()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException as error:
            self._close(keep_logs=isinstance(error, Fault))
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self, keep_logs: bool = False) -> None:
        self._keeper.close()
        if not keep_logs:
            self._folder.remove_if_temporary()

    def _start(self) -> None:
        servers = Servers(self._keeper, self._folder, lambda name: self._tell(f"Starting {name} …"))
        scheme = "amqp://myuser:mypassword@localhost:{}//" if self._wanted.is_rabbitmq else "redis://localhost:{}/0"
        self.broker = servers.broker(scheme.format(free_port()))
        self._broker_child = list(self._keeper.children.values())[-1]
        if self._wanted.with_results:
            self.results = servers.result_backend(f"redis://localhost:{free_port()}/0")
            self._results_child = list(self._keeper.children.values())[-1]
        self.monitor = Celery("trial", broker=self.broker.url, backend=self.results and self.results.url)
        self.monitor.conf.task_default_queue = self._wanted.queue
        self._address = self.broker.url
        if "network" in self._kinds:
            port = free_port()
            address = Address(self.broker.url)
            self._address = self.broker.url.replace(f":{address.port}", f":{port}")
            self._start_child("network", [Path(__file__).with_name("proxy.py"), port, address.port])
            await_child(self._keeper.children["network"], lambda: takes_connections(port), START)
        self._tell("Starting a worker …")
        self._start_child(
            "worker",
            ["-m", "celery", "-A", "lab.trial.app", "worker", "-c", PROCESSES, "--task-events", "-n", WORKER],
        )
        await_child(self._keeper.children["worker"], self._worker_answers, START)

    def _start_child(self, name: str, command: list[object]) -> Child:
        environment = {
            "CELERY_BROKER_URL": self._address,
            "CELERY_RESULT_BACKEND": self.results.url if self.results else "",
            TASK: self._wanted.task,
            TRUTH: str(self._truth),
            SETTINGS: DEFAULTS if self._defaults else "",
        }
        command = [sys.executable, *command]
        return self._keeper.start(name, command, self._folder.log(name), environment, signal.SIGKILL)

    @property
    def broker_is_rabbitmq(self) -> bool:
        return Address(self.broker.url).is_rabbitmq

    def _worker_answers(self) -> list[str]:
        return workers(self.monitor, [WORKER], 0.5)

    def produce(self, number: int, seconds: float) -> Child:
        """Start a producer that sends so many predictions, evenly in these seconds; it has begun."""
        producer = self._start_child("producer", ["-m", "lab.trial.producer", number, seconds])
        await_child(producer, self.truth, START)
        return producer

    def truth(self) -> list[dict[str, Any]]:
        """What predictions and producer have written, in this order."""
        if not self._truth.exists():
            return []
        return [json.loads(line) for line in self._truth.read_text().splitlines()]

    def running(self) -> dict[int, str]:
        """{process: the id of the prediction that it runs}, as the truth says."""
        found: dict[int, str] = {}
        for fact in self.truth():
            if fact["fact"] == "begun":
                found[fact["process"]] = fact["id"]
            elif fact["fact"] in ("made", "raised"):
                found.pop(fact["process"], None)
        return {process: task for process, task in found.items() if psutil.pid_exists(process)}

    def give_back(self) -> None:
        """With Redis as broker: what dead workers held goes back now, and not after visibility_timeout."""
        give_back(self.monitor)

    def inject(self, planned: Planned) -> dict[str, Any]:
        """Break what is planned, wait until all works again, and return the fault as a fact. Raises Fault."""
        begin = time.time()
        hit = self.running()
        match planned.kind:
            case "worker":
                pid = self._kill("worker", signal.SIGKILL)
            case "worker-cold":
                pid = self._kill("worker", signal.SIGQUIT)
            case "process":
                pid, hit = self._kill_process(planned.draw, hit)
            case "broker":
                pid = self._kill_and_wait(self._broker_child, self.broker.url, 0)
            case "results":
                away = AWAY[0] + planned.draw * (AWAY[1] - AWAY[0])
                pid = self._kill_and_wait(self._results_child, self.results.url, away) if self.results else 0
            case "broker-frozen":
                pid = self._freeze(self._broker_child, planned.draw)
            case _:
                pid = self._freeze(self._keeper.children["network"], planned.draw)
                self._kill("network", signal.SIGKILL)
        return {
            "time": round(begin, 4),
            "fact": "fault",
            "kind": planned.kind,
            "what": KINDS[planned.kind][0],
            "until": round(time.time(), 4),
            "process": pid,
            "running": sorted(hit.values()),
            "planned": planned.at,
        }

    def _kill(self, name: str, number: int) -> int:
        """End a child of Python's with a signal, and start it again at once. Return its process id."""
        child = self._keeper.children[name]
        self._keeper.signal(child, number)
        if not child.ended.wait(COLD):
            self._keeper.signal(child, signal.SIGKILL)
            child.ended.wait()
        self._keeper.restart(child)
        if name == "worker":
            wait_until(self._worker_answers, START)
        return child.pid or 0

    def _kill_process(self, draw: float, running: dict[int, str]) -> tuple[int, dict[int, str]]:
        """Kill one process of the pool, if possible one that predicts. Return its id, and what it ran."""
        main = psutil.Process(self._keeper.children["worker"].pid)
        pool = sorted(process.pid for process in main.children())
        those = [process for process in pool if process in running] or pool
        victim = those[int(draw * len(those))]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len({one.pid for one in main.children()} - {victim}) == len(pool), COLD)
        return victim, {process: task for process, task in running.items() if process == victim}

    def _kill_and_wait(self, child: Child, url: str, away: float) -> int:
        """Kill a server, start it again on its data after so many seconds, and wait until it answers."""
        self._keeper.signal(child, signal.SIGKILL)
        child.ended.wait()
        time.sleep(away)
        self._keeper.restart(child)
        again = self._keeper.children[child.name]
        if child is self._broker_child:
            self._broker_child = again
        else:
            self._results_child = again
        await_child(again, lambda: answers(url), RABBITMQ_START)
        return child.pid or 0

    def _freeze(self, child: Child, draw: float) -> int:
        """Let a child, and its own children, stand still for FROZEN seconds, of which draw decides."""
        process = psutil.Process(child.pid)
        family = [process, *process.children(recursive=True)]
        for one in family:
            one.suspend()
        try:
            time.sleep(FROZEN[0] + draw * (FROZEN[1] - FROZEN[0]))
        finally:
            for one in family:
                with suppress(psutil.NoSuchProcess):
                    one.resume()
        return process.pid
