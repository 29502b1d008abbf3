"""The student's producer at a prompt: what the worker prints, and each result, appears above what is typed."""

import builtins
import json
import re
import runpy
import sys
import threading
import traceback
from collections import deque
from contextlib import nullcontext, suppress

from celery.signals import after_task_publish
from prompt_toolkit import PromptSession
from prompt_toolkit.patch_stdout import patch_stdout

from lab.observe import wait_until, workers

WIDTH = 300  # characters of a line that are shown; the log has all of it
LOOK = 0.2  # seconds between two looks for output and results
AT_ONCE = 50  # results asked for in one look, so that thousands of messages do not keep the broker busy
WORKER_GONE = 10  # seconds without an answer after which no worker is expected; a new one starts in 2
RECORD = re.compile(r"\[[^]]*: \w+/(\S+?)\] ")  # how Celery begins a line of the worker's log


class Above:
    """Calls functions, each a look for something to tell, again and again in a thread of its own."""

    def __init__(self):
        self._looks = ()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self, *looks):
        self._looks = looks
        self._thread.start()

    def finish(self):
        """Look once more, and stop."""
        self._over.set()
        if self._looks:
            self._thread.join()

    def _run(self):
        over = False
        while not over:
            over = self._over.wait(LOOK)
            for look in self._looks:
                look()


class WorkerLog:
    """What a worker prints: from now on, or all of it but the warnings before the first line of its log."""

    def __init__(self, path, from_now, tell):
        self._file = open(path, encoding="utf-8", errors="replace")
        if from_now:
            self._file.seek(0, 2)
        self._begun = from_now
        self._rest = ""
        self._tell = tell

    def look(self):
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        for line in lines:
            self._begun = self._begun or RECORD.match(line)
            if self._begun and line:
                self._tell(shortened(RECORD.sub(r"[\1] ", line, count=1)))


class Results:
    """The results of the tasks sent by this process, each told once when it is stored."""

    def __init__(self, app, tell):
        self._app = app
        self._tell = tell
        self._expected = deque()
        app.conf.result_backend_always_retry = False  # a look must not wait
        # rpc:// results go to whoever asks first, and that is the student's program
        self._stored = app.conf.result_backend and not app.conf.result_backend.startswith("rpc")
        if self._stored:
            after_task_publish.connect(self._expect)

    def __len__(self):
        return len(self._expected)

    def _expect(self, headers=None, **_):
        self._expected.append(headers["id"])

    def look(self):
        for _ in range(min(AT_ONCE, len(self._expected))):
            task = self._expected.popleft()
            result = self._app.AsyncResult(task)
            with suppress(Exception):  # the result backend is away: the next look may find it back
                if result.ready():
                    self._tell(shortened(f"Result of {task}: {self._text(result)}"))
                    continue
            self._expected.append(task)

    @staticmethod
    def _text(result):
        if result.successful():
            return json.dumps(result.result, ensure_ascii=False)
        return f"{result.state}, {type(result.result).__name__}: {result.result}"


def shortened(line):
    return line if len(line) <= WIDTH else f"{line[:WIDTH]} … ({len(line)} characters)"


def run(program):
    """Run the student's producer, with a prompt that lets other output appear above it."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    builtins.input = PromptSession().prompt if is_terminal else echoed_input
    with patch_stdout(raw=True) if is_terminal else nullcontext():
        try:
            runpy.run_path(program, run_name="__main__")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(f"{program} ended with {type(error).__name__}: {error} ({where.filename}, line {where.lineno})")


def echoed_input(prompt=""):
    """input() for lines that nobody types: the transcript shows each of them behind the prompt."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    print(prompt + shortened(line.rstrip("\n")), flush=True)
    return line.rstrip("\n")


def wait_for_results(app, results, tell):
    """Return when all results are there, or when no worker is left that could make them."""
    while not wait_until(lambda: not results, WORKER_GONE):
        if not wait_until(lambda: workers(app), WORKER_GONE):
            tell("No worker is online, so the lab does not wait for results.")
            return
