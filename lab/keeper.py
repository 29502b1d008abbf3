"""Start the lab's child processes, and end them however the lab itself ends.

A lab that is killed cannot tidy up after itself. So a process of its own, the keeper, starts the
children. It reads orders from its standard input, one JSON object a line. When that ends, because the
lab left or died, it ends what still runs, the youngest first, and then itself. It has a session of its
own: neither Ctrl-C nor a closed terminal reaches it.
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
    """The lab's end of the pipe. locks are descriptors that the keeper holds until the last child has ended."""

    def __init__(self, locks=()):
        self.children = {}
        self._gone = False
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
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _start(self, order):
        child = Child(order)
        self.children[child.name] = child
        self._order(order)
        while not child.started.wait(0.5) and not self._gone:
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
                child.started.set()
            else:
                child.code = news["code"]
                child.ended.set()
        self._gone = True
        for child in list(self.children.values()):
            if child.pid and not child.ended.is_set():  # the keeper was killed: nobody else ends them now
                kill_group(child.pid)
            child.given_up = True
            child.started.set()
            child.ended.set()


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

    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        for line in sys.stdin:
            order = json.loads(line)
            if "start" in order:
                start(order)
            elif order["signal"] in children:
                children[order["signal"]].send_signal(order["number"])
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for lock in locks:
            os.ftruncate(lock, 0)  # from here on nobody should join
        for process in reversed(children.values()):
            process.send_signal(process.last_signal)
            process.watch.join(GRACE)
            if process.watch.is_alive():
                kill_group(process.pid)
                process.watch.join()


if __name__ == "__main__":
    keep([int(lock) for lock in sys.argv[1:]])
