"""The student's producer at a prompt. What the worker prints, and each result, appears above the prompt."""

import builtins
import json
import re
import runpy
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from celery.signals import after_task_publish, before_task_publish
from prompt_toolkit import PromptSession
from prompt_toolkit.patch_stdout import patch_stdout

from lab.fault import Fault, in_own_line, printable
from lab.probe.rabbitmq import takes_messages
from lab.probe.wait import wait_until
from lab.probe.workers import workers

WIDTH = 300  # characters of a line that are shown; the log has all of it
LOOK = 0.2  # seconds between two looks for output and results
AT_ONCE = 50  # results asked for in one look, so that thousands of messages do not keep the broker busy
CONFIRMED = 2  # seconds; a broker confirms a message in a few milliseconds
PATIENCE = 5  # seconds
WORKER_GONE = 10  # seconds without an answer after which no worker is expected; a new one starts in 2
RECORD = re.compile(r"\[[^]]*: \w+/(\S+?)\] ")  # how Celery begins a line of the worker's log

Tell = Callable[[str], None]


class Repeated:
    """Calls functions again and again in a thread of its own, from start to finish."""

    def __init__(self) -> None:
        self._functions: tuple[Callable[[], None], ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self, *functions: Callable[[], None]) -> None:
        self._functions = functions
        self._thread.start()

    def finish(self) -> None:
        """Call each function once more, then stop. Do not wait longer than a few seconds."""
        self._stop.set()
        if self._functions:
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(LOOK)
            for function in self._functions:
                function()


class WorkerLog:
    """What a worker prints: from now on, or since it started.

    Shows each line of its log, and all lines that a task printed. Celery's own tracebacks and its banner are only in
    the file.
    """

    def __init__(self, path: str, from_now: bool, tell: Tell) -> None:
        self._file = open(path, encoding="utf-8", errors="replace")
        if from_now:
            self._file.seek(0, 2)
        self._rest = ""
        self._in_task = False
        self._tell = tell
        self._lock = threading.Lock()

    def look(self) -> None:
        with self._lock:
            self._look()

    def _look(self) -> None:
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        for line in lines:
            record = RECORD.match(line)
            if record:
                self._in_task = record[1] != "MainProcess"
                self._tell(shortened(f"[{record[1]}] {line[record.end() :]}"))
            elif not line or "SecurityWarning" in line:  # Celery prints such lines outside its log
                self._in_task = False
            elif self._in_task:
                self._tell(shortened(line))


class Publishing:
    """Says what is wrong with the broker while it leaves a message unconfirmed.

    url and dashboard are the broker's. Celery itself says only that sending failed, and much later.
    """

    def __init__(self, url: str, dashboard: str | None, tell: Tell) -> None:
        self._url, self._dashboard, self._tell = url, dashboard, tell
        self._begin: float | None = None
        before_task_publish.connect(self._begins, weak=False)
        after_task_publish.connect(self._ends, weak=False)

    def _begins(self, **_: object) -> None:
        self._begin = time.monotonic()

    def _ends(self, **_: object) -> None:
        self._begin = None

    def look(self) -> None:
        begin = self._begin
        if begin and time.monotonic() - begin > CONFIRMED:
            self._begin = None
            try:
                takes_messages(self._url, self._dashboard)
            except Fault as fault:
                self._tell(fault.sentences())


class Results:
    """The results of the tasks that this process sent. Each is told once, when it is stored, after before() was called.

    before() tells what the worker has printed until then.
    """

    def __init__(self, app: Celery, tell: Tell, before: Callable[[], None]) -> None:
        self._app, self._before = app, before
        self._tell = tell
        self._expected: deque[str] = deque()  # task ids
        app.conf.update(result_backend_always_retry=False, redis_socket_timeout=2)  # a look must not wait long
        # a result in rpc:// goes to the first client that asks, and that should be the student's program
        self._stored = app.conf.result_backend and not app.conf.result_backend.startswith("rpc")
        if self._stored:
            after_task_publish.connect(self._expect)

    def __len__(self) -> int:
        return len(self._expected)

    def _expect(self, headers: dict[str, Any], **_: object) -> None:
        if not headers.get("ignore_result"):
            self._expected.append(headers["id"])

    def look(self) -> None:
        for _ in range(min(AT_ONCE, len(self._expected))):
            task = self._expected.popleft()
            result = self._app.AsyncResult(task)
            try:
                if result.ready():
                    self._before()
                    self._tell(shortened(f"Result of {task}: {self._text(result)}"))
                    continue
            except Exception:  # the result backend is away: it may be back at the next look
                self._expected.append(task)
                return
            self._expected.append(task)

    @staticmethod
    def _text(result: AsyncResult) -> str:
        if result.successful():
            return json.dumps(result.result, ensure_ascii=False)
        return f"{result.state}, {type(result.result).__name__}: {printable(result.result)}"


def shortened(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[:WIDTH]} …"


def run(program: str, tell: Tell) -> None:
    """Run the student's producer, with a prompt that lets other output appear above it."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    ask = PromptSession(enable_suspend=True).prompt if is_terminal else echoed_input
    builtins.input = ask  # type: ignore[assignment]  # which takes more than input() does
    with patch_stdout(raw=True) if is_terminal else nullcontext():
        try:
            runpy.run_path(program, run_name="__main__")
        except BrokenPipeError:
            pass  # nobody reads any more
        except Exception as error:
            tell(f"{program} ended with {in_own_line(error, program)}")


def echoed_input(prompt: object = "") -> str:
    """input() for lines that nobody types: the transcript shows each of them behind the prompt."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    print(prompt, shortened(line.rstrip("\n")), sep="", flush=True)
    return line.rstrip("\n")


def wait_for_results(app: Celery, results: Results, tell: Tell) -> None:
    """Return when all results are there, or when no worker runs any more."""
    while not wait_until(lambda: not results, WORKER_GONE):
        if not wait_until(lambda: workers(app), WORKER_GONE):
            tell("No worker is online, so the lab does not wait for results.")
            return
