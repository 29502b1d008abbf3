"""What the student wrote: the Python files of the current folder, and their mistakes as sentences."""

import ast
import importlib
import itertools
import os
import re
import traceback

from celery import Celery

from lab.fault import Fault, Wrong

TASK = "my_ml_app.predict"


class NotImportable(Wrong):
    """{file} cannot be used: {error}."""

    next = "Correct it, and check again"


class NoFile(Wrong):
    """There is no {file} in {folder}."""

    next = """Go to the folder that `python -m lab new` made for you. Or, if this is it, get the file back:
        `python -m lab reset N`, with the number of its exercise"""


class NoApp(Wrong):
    """my_ml_app.py has no Celery app called `app`."""

    next = 'Write `app = Celery("my_ml_app")` into my_ml_app.py'


class AfterReturn(Wrong):
    """{function} in {file} returns in line {line}: what stands below that, from line {below} on, never runs."""

    next = "`return` ends a function. Let it be the last thing that {function} does"


def require(file):
    """Raise NoFile unless it is in the current folder."""
    if not os.path.exists(file):
        raise NoFile(file=file, folder=os.getcwd())


def load(name):
    """The module in name.py of the current folder. Raises NoFile, and NotImportable with the student's own line."""
    file = f"{name}.py"
    require(file)
    try:
        return importlib.import_module(name)
    except Fault:  # the deadline of a check, which passed meanwhile
        raise
    except (Exception, SystemExit) as error:
        raise NotImportable(file=file, error=in_own_line(error)) from None


def tree(file):
    """What is written in a file, as a syntax tree: nothing is run. Raises NoFile and NotImportable."""
    require(file)
    try:
        with open(file, "rb") as source:
            return ast.parse(source.read(), os.path.abspath(file))
    except (SyntaxError, ValueError) as error:
        raise NotImportable(file=file, error=in_own_line(error)) from None


def nothing_after_return(function="predict", file="my_ml_app.py"):
    """Raise AfterReturn when a function has statements that can never run, since `return` stands above them."""
    for found in ast.walk(tree(file)):
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef) and found.name == function:
            blocks = [block for node in ast.walk(found) for block in vars(node).values() if isinstance(block, list)]
            for this, below in (pair for block in blocks for pair in itertools.pairwise(block)):
                if isinstance(this, ast.Return):
                    raise AfterReturn(function=function, file=file, line=this.lineno, below=below.lineno)


def app():
    """The app in my_ml_app.py, with its configuration read. Raises NotImportable and NoApp."""
    found = getattr(load("my_ml_app"), "app", None)
    if not isinstance(found, Celery):
        raise NoApp()
    return with_configuration(found, "my_ml_app.py")


def configuration():
    """What celeryconfig.py says, with Celery's defaults. Raises NotImportable."""
    load("celeryconfig")
    alone = Celery("alone", set_as_current=False)
    alone.config_from_object("celeryconfig")
    return with_configuration(alone, "celeryconfig.py").conf


def with_configuration(found, file):
    """Let an app read its configuration, which Celery does when it is first asked. Raises NotImportable."""
    try:
        found.conf.broker_url  # noqa: B018
        return found
    except Exception as error:
        raise NotImportable(file=file, error=in_own_line(error)) from None


def in_own_line(error, *programs):
    """An error as a sentence, with the last of the student's own lines that it came through."""
    files = (*programs, "my_ml_app.py", "celeryconfig.py")
    if isinstance(error, SyntaxError):
        where = f" ({os.path.basename(error.filename)}, line {error.lineno})" if error.filename else ""
        return f"{type(error).__name__}: {error.msg}{where}"
    own = [f for f in traceback.extract_tb(error.__traceback__) if os.path.basename(f.filename) in files]
    where = f" ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}"


def in_printed_line(text):
    """The error at the end of a printed traceback, with the last line of the student's own files in it."""
    last = text.rpartition("Traceback (most recent call last):")[2]
    errors = re.findall(r"^\w[\w.]*(?::.*)?$", last, re.MULTILINE)
    error = errors[-1] if errors else " ".join(last.split())[-200:]
    frames = re.findall(r'^ *File "(.*)", line (\d+)', last, re.MULTILINE)
    own = [(os.path.basename(path), number) for path, number in frames if "-packages" not in path]
    own = [f"{name}, line {number}" for name, number in own if os.path.exists(name)]
    return error + (f" ({own[-1]})" if own else "")
