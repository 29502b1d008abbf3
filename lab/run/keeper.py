"""Start the lab's child processes, and end them however the lab itself ends.

A lab that is killed cannot tidy up after itself. So a process of its own, the keeper, starts the
children. It reads orders from its standard input, one JSON object a line. When that ends, because the
lab left or died, it ends what still runs, the youngest first, and then itself. It has a session of its
own: neither Ctrl-C nor a closed terminal reaches it.

Should both be killed, a record of what they had started lets the next lab end what is left of it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

GRACE = 10  # seconds from the last signal to SIGKILL; a RabbitMQ node took 6 to stop
ENDS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)  # the signals that ask to end


class Child:
    """One child process, as the lab sees it: its pid, and when it has ended its code, as in Popen.returncode."""

    def __init__(self, order):
        self.order = order
        self.name, self.log = order["start"], order["log"]
        self.begin = time.monotonic()
        self.started, self.ended = threading.Event(), threading.Event()
        self.pid = self.code = None
        self.restarts = []  # when it was started again
        self.given_up = False  # not to be started again


class Keeper:
    """The lab's end of the pipe. locks are descriptors that the keeper holds until the last child has ended.

    In record, a Record, stand the children; a lab that joins another one has none of them, and None for it. gone says
    whether the keeper has ended.
    """

    def __init__(self, locks=(), record=None):
        self.children = {}
        self.gone = False
        self._record = record
        self._process = subprocess.Popen(
            [sys.executable, __file__, *map(str, locks)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=locks,
            text=True,
            encoding="utf-8",
        )
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, name, argv, log, env=None, last_signal=signal.SIGTERM):
        """Start argv, with env added to the environment and its output appended to the file log.

        last_signal is what ends it when nobody asked it to end: what it does not finish must not be lost.
        """
        order = {"start": name, "argv": list(map(str, argv)), "log": str(log)}
        return self._start(order | {"env": env or {}, "last_signal": int(last_signal)})

    def restart(self, child):
        """Start an ended child again."""
        self._start(child.order).restarts = [*child.restarts, time.monotonic()]

    def abandon(self, child):
        """End a child for good."""
        child.given_up = True
        self.signal(child, signal.SIGTERM)

    def signal(self, child, number):
        """Send a signal to the child itself, not to its own children; nothing happens when it has ended."""
        self._order({"signal": child.name, "number": int(number)})

    def close(self):
        """End all children, and wait for it; no signal can hurry it, now or later."""
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        if self._record:
            self._record.clear()

    def _start(self, order):
        child = Child(order)
        self.children[child.name] = child
        self._order(order)
        while not child.started.wait(0.5) and not self.gone:
            pass
        if not child.started.is_set():
            child.ended.set()
        return child

    def _order(self, order):
        with self._lock, suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()

    def _listen(self):
        for line in self._process.stdout:
            news = json.loads(line)
            child = self.children[news["name"]]
            if "pid" in news:
                child.pid = news["pid"]
                if self._record:
                    self._record.add(child)
                child.started.set()
            else:
                child.code = news["code"]
                child.ended.set()
        self.gone = True
        for child in list(self.children.values()):
            if child.pid and not child.ended.is_set():  # the keeper was killed: nobody else ends them now
                kill_group(child.pid)
            child.given_up = True
            child.started.set()
            child.ended.set()


class Record:
    """Who the children are, in a file: a process id and the time at which that process began, so that another one
    which has the number later is not meant."""

    def __init__(self, path):
        self._path = path

    def add(self, child):
        import psutil  # which the keeper itself can do without

        with suppress(OSError, psutil.Error):
            noted = {"pid": child.pid, "begin": psutil.Process(child.pid).create_time()}
            with open(self._path, "a") as file:
                file.write(json.dumps(noted | {key: child.order[key] for key in ("start", "last_signal")}) + "\n")

    def clear(self):
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def end(self):
        """End those that still run, the youngest first, and return "name (process 42)" of each.

        For who holds the locks of the keeper that wrote this: it has ended, then.
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


def kill_group(pid):
    with suppress(ProcessLookupError, PermissionError):  # macOS forbids it for a group of zombies
        os.killpg(pid, signal.SIGKILL)


def keep(locks):
    children = {}
    pipe = threading.Lock()

    def tell(**news):
        with pipe, suppress(BrokenPipeError):
            print(json.dumps(news), flush=True)

    def start(order):
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
        process.last_signal = order["last_signal"]
        tell(name=name, pid=process.pid)
        process.watch = threading.Thread(target=watch, args=(name, process))
        process.watch.start()
        children.pop(name, None)
        children[name] = process

    def watch(name, process):
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
                children[order["signal"]].send_signal(order["number"])
    finally:
        for number in ENDS:
            signal.signal(number, signal.SIG_IGN)
        for lock in locks:
            with suppress(OSError):  # whatever the file is by now, the children have to end
                os.ftruncate(lock, 0)  # from here on nobody should join
        for process in reversed(children.values()):
            process.send_signal(process.last_signal)
            process.watch.join(GRACE)
            if process.watch.is_alive():
                kill_group(process.pid)
                process.watch.join()


if __name__ == "__main__":
    keep([int(lock) for lock in sys.argv[1:]])
