"""Start the lab's child processes, and end them, whatever happens to the lab itself.

A lab that is killed cannot tidy up after itself. So a process of its own, the keeper, starts the children. It reads
orders from its standard input, one JSON object a line. When that ends, because the lab left or died, it ends what still
runs, the youngest first, and then itself. It has a session of its own: neither Ctrl-C nor a closed terminal reaches it.

If both are killed, a record of what they started lets the next lab end what is left.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import IO, NamedTuple, TypedDict

GRACE = 10  # seconds from the last signal to SIGKILL; a RabbitMQ node took 6 to stop
ENDS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)  # the signals that ask to end


class Order(TypedDict):
    """What the keeper is to start: its name, its command, its log, what is added to its environment; last_signal."""

    start: str
    argv: list[str]
    log: str
    env: dict[str, str]
    last_signal: int


class Child:
    """One child process, as the lab sees it: its pid, and when it has ended its code, as in Popen.returncode."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.name, self.log = order["start"], order["log"]
        self.begin, self.end = time.monotonic(), inf
        self.started, self.ended = threading.Event(), threading.Event()
        self.pid: int | None = None  # None: it could not be started
        self.code = -signal.SIGKILL  # unless the keeper says otherwise
        self.restarts: list[float] = []  # when it was started again
        self.given_up = False  # not to be started again


class Keeper:
    """The lab's end of the pipe. locks are descriptors that the keeper holds until the last child has ended.

    record, a Record, lists the children; it is None for a lab that joins another one, which has no children. gone says
    whether the keeper has ended.
    """

    def __init__(self, locks: Sequence[int] = (), record: "Record | None" = None) -> None:
        self.children: dict[str, Child] = {}
        self.gone = False
        self._record = record
        process = self._process = subprocess.Popen(
            [sys.executable, __file__, *map(str, locks)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=locks,
            text=True,
            encoding="utf-8",
        )
        self._orders: IO[str] = process.stdin  # type: ignore[assignment]  # asked for above, so never None
        self._news: IO[str] = process.stdout  # type: ignore[assignment]  # like it
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def start(
        self,
        name: str,
        argv: Sequence[object],
        log: Path,
        env: dict[str, str] | None = None,
        last_signal: int = signal.SIGTERM,
    ) -> Child:
        """Start argv, with env added to the environment and its output appended to the file log.

        last_signal ends it when the lab ends without asking it to: work that it does not finish must not be lost.
        """
        words = [str(part) for part in argv]
        return self._start(Order(start=name, argv=words, log=str(log), env=env or {}, last_signal=last_signal))

    def restart(self, child: Child) -> None:
        """Start an ended child again."""
        self._start(child.order).restarts = [*child.restarts, time.monotonic()]

    def abandon(self, child: Child) -> None:
        """End a child for good."""
        child.given_up = True
        self.signal(child, signal.SIGTERM)

    def signal(self, child: Child, number: int) -> None:
        """Send a signal to the child itself, not to its own children; nothing happens when it has ended."""
        self._order({"signal": child.name, "number": number})

    def close(self) -> None:
        """End all children, and wait until they have ended. From here on, signals are ignored."""
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)
        with suppress(BrokenPipeError):
            self._orders.close()
        self._process.wait()
        if self._record:
            self._record.clear()

    def _start(self, order: Order) -> Child:
        child = Child(order)
        self.children[child.name] = child
        self._order(order)
        while not child.started.wait(0.5) and not self.gone:
            pass
        if not child.started.is_set():
            child.ended.set()
        return child

    def _order(self, order: Mapping[str, object]) -> None:
        with self._lock, suppress(BrokenPipeError, ValueError):
            print(json.dumps(order), file=self._orders, flush=True)

    def _listen(self) -> None:
        with self._news:
            for line in self._news:
                news = json.loads(line)
                child = self.children[news["name"]]
                if "pid" in news:
                    child.pid = news["pid"]
                    if self._record and child.pid:
                        self._record.add(child)
                    child.started.set()
                else:
                    child.code, child.end = news["code"], time.monotonic()
                    child.ended.set()
        self.gone = True
        for child in list(self.children.values()):
            if child.pid and not child.ended.is_set():  # the keeper was killed, so it cannot end them
                kill_group(child.pid)
                child.end = time.monotonic()
            child.given_up = True
            child.started.set()
            child.ended.set()


class Record:
    """Who the children are, in a file: a process id, and when that process began, so that a later process with the same
    id is not taken for it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, child: Child) -> None:
        import psutil  # the keeper itself does not need it

        with suppress(OSError, psutil.Error):
            noted = {"pid": child.pid, "begin": psutil.Process(child.pid).create_time()}
            with open(self._path, "a") as file:
                file.write(json.dumps(noted | {key: child.order[key] for key in ("start", "last_signal")}) + "\n")

    def clear(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def end(self) -> list[str]:
        """End those that still run, the youngest first, and return "name (process 42)" of each.

        Only a lab that holds the locks may call this: then the keeper that wrote this has ended.
        """
        import psutil

        ended, lines = [], []
        with suppress(OSError):
            lines = self._path.read_text(errors="replace").splitlines()
        for line in reversed(lines):
            with suppress(ValueError, TypeError, KeyError, psutil.Error):  # the last line may not be whole
                noted = json.loads(line)
                process = psutil.Process(noted["pid"])
                same = abs(process.create_time() - noted["begin"]) < 1  # the clock may have been set
                if same and process.status() != psutil.STATUS_ZOMBIE:
                    ended.append(f"{noted['start']} (process {process.pid})")
                    process.send_signal(noted["last_signal"])
                    psutil.wait_procs([process], GRACE)
                    kill_group(process.pid)
        self.clear()
        return ended


def kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS forbids it for a group of zombies
        os.killpg(pid, signal.SIGKILL)


class Kept(NamedTuple):
    """A child as the keeper has it: what ends it, and the thread that tells its end."""

    process: subprocess.Popen[bytes]
    last_signal: int
    watch: threading.Thread


def keep(locks: list[int]) -> None:
    """What the keeper's own process does. locks are the Keeper's."""
    children: dict[str, Kept] = {}
    pipe = threading.Lock()

    def tell(**news: object) -> None:
        with pipe, suppress(BrokenPipeError):
            print(json.dumps(news), flush=True)

    def start(order: Order) -> None:
        name = order["start"]
        try:
            with open(order["log"], "ab") as log:
                process = subprocess.Popen(
                    order["argv"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=os.environ | order["env"],
                    start_new_session=True,
                )
        except OSError as error:
            tell(name=name, pid=None)
            tell(name=name, code=error.errno)
            return
        tell(name=name, pid=process.pid)
        child = Kept(process, order["last_signal"], threading.Thread(target=watch, args=(name, process)))
        child.watch.start()
        children.pop(name, None)
        children[name] = child

    def watch(name: str, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        kill_group(process.pid)  # whatever it left behind
        tell(name=name, code=process.returncode)

    for number in ENDS:
        signal.signal(number, lambda *_: sys.exit())
    try:
        for line in sys.stdin:
            order = json.loads(line)
            if "start" in order:
                start(order)
            elif order["signal"] in children:
                children[order["signal"]].process.send_signal(order["number"])
    finally:
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)
        for lock in locks:
            with suppress(OSError):  # even if the file cannot be changed, the children must end
                os.ftruncate(lock, 0)  # nobody should join from here on
        for child in reversed(children.values()):
            child.process.send_signal(child.last_signal)
            child.watch.join(GRACE)
            if child.watch.is_alive():
                kill_group(child.process.pid)
                child.watch.join()


if __name__ == "__main__":
    keep([int(lock) for lock in sys.argv[1:]])
