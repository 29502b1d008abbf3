"""What the student wrote: the Python files of the current folder, and the mistakes in them as sentences."""

import ast
import difflib
import importlib
import inspect
import itertools
import os
import re
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any, NoReturn, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pexpect
from celery import Celery
from celery.app.defaults import SETTING_KEYS
from celery.app.utils import Settings
from celery.signals import before_task_publish

from lab.fault import Wrong, in_own_line, own_line

TASK = "my_ml_app.predict"
POOL = 10  # connections: with the student's 1, a program that asks workers, listens and sends would wait forever


class NotImportable(Wrong):
    """{file} cannot be used: {error}."""

    next = "Correct it, and check again"


class NoPackages(Wrong):
    """{package} is not installed here, and {file} needs it."""

    next = "In your folder: `pip install -r requirements-http.txt`"


class NoFile(Wrong):
    """There is no {file} in {folder}."""

    next = """Go to the folder that `lab new` made for you. Is this the folder? Then get the file back: `lab reset N`,
        with the number of its exercise"""


class SendsAtImport(Wrong):
    """{file} sends a message while it is imported{where}: every program that imports it would send it, each worker
    too."""

    next = "Remove that line there. Sending belongs in the producer, use_ml_app.py"


class NoApp(Wrong):
    """my_ml_app.py has no Celery app called `app`."""

    next = "Make one with `Celery(...)` in my_ml_app.py, and call it app"


class OtherModule(Wrong):
    """my_ml_app.py tells the app to read its configuration from a module that does not exist: {error}."""

    next = "The module is called celeryconfig: the name of the file without `.py`"


class MisspeltSetting(Wrong):
    """celeryconfig.py sets {name!r}, but Celery's setting is called {right!r}."""

    next = "Correct its name. Celery ignores a setting that it does not know, and does not say so"


class NotAssigned(Wrong):
    """celeryconfig.py names {name}, but gives it no value: there is a colon after the name."""

    next = "In Python, `=` gives a name its value"


class AlwaysEager(Wrong):
    """celeryconfig.py sets task_always_eager: every task runs where it is asked for, and no message is sent."""

    next = "Remove this setting: it is for tests without a broker"


class NotAList(Wrong):
    """accept_content in celeryconfig.py is {value!r}, not a list: Celery takes each letter for a format."""

    next = "Put square brackets around it"


class OtherFormat(Wrong):
    """{name} in celeryconfig.py is {value!r}, but accept_content does not contain it: what is sent would be refused."""

    next = "Set both to JSON, as in the file that you got"


class NoTimeZone(Wrong):
    """timezone in celeryconfig.py is {value!r}, but there is no such time zone."""

    next = "A time zone has the name of a continent and a city, such as Europe/Zurich; or it is UTC"


class AsyncPredict(Wrong):
    """predict is an `async def`: Celery gets a coroutine when it calls it, and the code inside never runs."""

    next = "A task is a normal function, with `def`"


class AfterReturn(Wrong):
    """predict in my_ml_app.py returns in line {line}: the code below that, from line {below} on, never runs."""

    next = "`return` ends a function. Put it at the end of predict"


def require(file: str) -> None:
    """Raise NoFile unless it is in the current folder."""
    if not os.path.exists(file):
        raise NoFile(file=file, folder=os.getcwd())


def load(name: str) -> ModuleType:
    """The module in name.py of the current folder.

    Raises NoFile, NotImportable with the student's own line, and SendsAtImport instead of sending.
    """
    file = f"{name}.py"
    require(file)
    before_task_publish.connect(stop_sending)
    try:
        return importlib.import_module(name)
    except _Sends as sends:
        raise SendsAtImport(file=file, where=own_line(sends)) from None
    except (Exception, SystemExit) as error:
        raise NotImportable(file=file, error=in_own_line(error)) from None
    finally:
        before_task_publish.disconnect(stop_sending)


class _Sends(BaseException):
    """A message is about to be sent. Neither Celery's signals nor a student's `except Exception` catch this."""


def stop_sending(**_: object) -> NoReturn:
    raise _Sends()


def tree(file: str) -> ast.Module:
    """What is written in a file, as a syntax tree: nothing is run. Raises NoFile and NotImportable."""
    require(file)
    try:
        with open(file, "rb") as source:
            return ast.parse(source.read(), os.path.abspath(file))
    except (SyntaxError, ValueError) as error:
        raise NotImportable(file=file, error=in_own_line(error)) from None


def literal(file: str, name: str) -> str | None:
    """What a file gives to a name, when that is a plain text there; None otherwise. Raises NoFile and NotImportable."""
    for statement in tree(file).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=found)], value=ast.Constant(value=str(text))) if found == name:
                return text
    return None


def nothing_after_return() -> None:
    """Raise AfterReturn when predict has statements that can never run, since `return` stands above them."""
    for found in ast.walk(tree("my_ml_app.py")):
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef) and found.name == "predict":
            blocks = [block for node in ast.walk(found) for block in vars(node).values() if isinstance(block, list)]
            for this, below in (pair for block in blocks for pair in itertools.pairwise(block)):
                if isinstance(this, ast.Return):
                    raise AfterReturn(line=this.lineno, below=below.lineno)


def app() -> Celery:
    """The app in my_ml_app.py, with its configuration read.

    Raises NotImportable, SendsAtImport, NoApp, OtherModule, and what settings() raises.
    """
    settings()
    found = getattr(load("my_ml_app"), "app", None)
    if not isinstance(found, Celery):
        raise NoApp()
    with_configuration(found, "my_ml_app.py").conf.broker_pool_limit = POOL
    return found


def configuration() -> Settings:
    """What celeryconfig.py says, with Celery's defaults. Raises NoFile, NotImportable, and what settings() raises."""
    require("celeryconfig.py")
    settings()
    alone = Celery("alone", set_as_current=False)
    alone.config_from_object("celeryconfig")
    return with_configuration(alone, "celeryconfig.py").conf


def settings() -> dict[str, Any]:
    """What celeryconfig.py sets, {name: value}: nothing when there is no such file.

    Raises NotImportable. For mistakes that Celery reports late or not at all, it raises MisspeltSetting, NotAssigned,
    AlwaysEager, NotAList, OtherFormat and NoTimeZone.
    """
    if not os.path.exists("celeryconfig.py"):
        return {}
    module = load("celeryconfig")
    found = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    for name in getattr(module, "__annotations__", {}):
        if name not in found:
            raise NotAssigned(name=name)
    for name, value in found.items():
        right = right_name(name, value)
        if right and right not in found:
            raise MisspeltSetting(name=name, right=right)
    if found.get("task_always_eager"):
        raise AlwaysEager()
    accepted = found.get("accept_content", ["json"])
    if isinstance(accepted, str):
        raise NotAList(value=accepted)
    for name in ("task_serializer", "result_serializer"):
        if (value := found.get(name)) and value not in {*accepted, *(one.rpartition("/")[2] for one in accepted)}:
            raise OtherFormat(name=name, value=value)
    try:
        ZoneInfo(found.get("timezone") or "UTC")
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):  # raised for the name of a folder
        raise NoTimeZone(value=found["timezone"]) from None
    return found


def right_name(name: str, value: object) -> str | None:
    """The name of Celery's setting that a name looks like; None if it is a setting, or looks like none."""
    lower = name.lower().removeprefix("celery_")
    if name in SETTING_KEYS or callable(value) or inspect.ismodule(value):
        return None
    if "://" in str(value) and not difflib.get_close_matches(lower, SETTING_KEYS, 1, 0.8):
        addresses = {"broker": "broker_url", "backend": "result_backend"}
        return next((right for word, right in addresses.items() if lower.startswith(word)), None)
    close = [f"{prefix}_{lower}" for prefix in ("task", "worker", "broker", "result") if "_" in lower]
    close += difflib.get_close_matches(lower, SETTING_KEYS, 1, 0.8)
    return next((right for right in close if right in SETTING_KEYS), None)


def with_configuration(found: Celery, file: str) -> Celery:
    """Make an app read its configuration; Celery does so when it is first needed.

    Raises NotImportable, OtherModule, and NoFile without a celeryconfig.py.
    """
    try:
        found.conf.broker_url  # noqa: B018
        return found
    except ModuleNotFoundError as error:
        require("celeryconfig.py")
        raise OtherModule(error=error) from None
    except Exception as error:
        raise NotImportable(file=file, error=in_own_line(error)) from None


def in_printed_line(text: str) -> str | None:
    """The error of a traceback in a printed text, with the last line in the student's own files; None without."""
    text = text[max(0, text.rfind("Traceback (most recent call last):")) :]
    frames = list(re.finditer(r'^ *File "(.*)", line (\d+).*$', text, re.MULTILINE))
    error = re.search(r"^\w[\w.]*(?::.*)?$", text[frames[-1].end() :], re.MULTILINE) if frames else None
    if not error:
        return None
    places = [(os.path.basename(frame[1]), frame[2]) for frame in frames if "-packages" not in frame[1]]
    own = [f"{name}, line {number}" for name, number in places if os.path.exists(name)]
    return error[0] + (f" ({own[-1]})" if own else "")


def require_packages(file: str, said: str) -> None:
    """Raise NoPackages when a program said that one of those is missing which requirements-http.txt names."""
    if missing := re.search("No module named '(fastapi|httpx|standardwebhooks|uvicorn)'", said):
        raise NoPackages(package=missing[1], file=file)


def command(file: str) -> list[str]:
    """What runs a program of the current folder: this Python, or what its first line names, or the program itself.

    Raises NoFile.
    """
    require(file)
    if file.endswith(".py"):
        return [sys.executable, file]
    with open(file, "rb") as program:
        first = os.fsdecode(program.readline(1000))
    return [*first.removeprefix("#!").split(), file] if first.startswith("#!") else [os.path.abspath(file)]


class Program:
    """A program of the student's, which runs in a terminal. What it printed is in said.

    Raises NoFile, and NotImportable when it cannot be started.
    """

    def __init__(self, file: str, *arguments: str, **environment: str):
        self.file, self.said, self.heard = file, "", 0
        plain = {"TERM": "dumb", "NO_COLOR": "1", "PYTHON_COLORS": "0"}
        program, *words = command(file)
        try:
            self.terminal = pexpect.spawn(
                program,
                [*words, *arguments],
                env=os.environ | plain | environment,
                encoding="utf-8",
                codec_errors="replace",
                echo=False,
                dimensions=(50, 500),
            )
        except (pexpect.ExceptionPexpect, OSError, ValueError):
            raise NotImportable(file=file, error=f"{program!r} cannot be started") from None
        self.terminal.delaybeforesend = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.terminal.close(force=True)

    def type(self, line: str) -> None:
        """Type a line. What was printed before does not count as an answer to it."""
        self.ended()
        self.heard = len(self.said)
        with suppress(OSError):  # it has ended
            self.terminal.sendline(line)

    def ended(self) -> bool:
        """Whether it has ended; what it has printed until now is in said."""
        try:
            while True:
                self.said += self.terminal.read_nonblocking(100_000, timeout=0).replace("\r", "")
        except pexpect.TIMEOUT:
            return False
        except pexpect.EOF:
            self.terminal.wait()
            return True

    def answer(self) -> str:
        """What it has printed since something was typed last, in one line and quotes."""
        self.ended()
        words = " ".join(self.said[self.heard :].split())
        return repr(words if len(words) < 200 else f"{words[:200]} …") if words else "nothing"

    def raise_its_error(self) -> None:
        """Raise NotImportable when it has ended with an error, its own line named."""
        if self.ended() and self.terminal.exitstatus != 0:
            status, signal = self.terminal.exitstatus, self.terminal.signalstatus
            how = f"it ended with exit status {status}" if signal is None else f"signal {signal} ended it"
            raise NotImportable(file=self.file, error=in_printed_line(self.said) or f"{how}, and said {self.answer()}")
