"""What the lab raises instead of a traceback: sentences that say what was found, and what to do."""

import errno
import os
import re
import sys
import tempfile
import traceback
from inspect import cleandoc

# They move the cursor, change colours or the direction of writing, or are not allowed in XML.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
REMEDIES: dict[int | None, str] = {  # an OSError that a program makes by hand has no number
    errno.ENOSPC: "The disk is full: make room, and try again",
    errno.EDQUOT: "Your share of the disk is full: make room, and try again",
    errno.EMFILE: "Allow more open files, and try again: `ulimit -n 1024`",
    errno.ENFILE: "This machine has too many open files: end a few programs, and try again",
    errno.ENOENT: "Make sure that it is there, and try again",
}


def printable(text: object, most: int = 200) -> str:
    """Text from elsewhere, safe for a terminal: control characters become ?, and text longer than most is cut."""
    whole = str(text)
    shown = CONTROL.sub("?", whole[:most].expandtabs())
    return shown if len(whole) <= most else f"{shown[:-1]}…"


def plain(text: object, most: int = sys.maxsize) -> str:
    """Lines from elsewhere, each safe for a terminal and for an XML file."""
    return "\n".join(printable(line, most) for line in str(text).split("\n"))


def counted(number: int, noun: str) -> str:
    """How many of something there are: 1 process, 2 processes."""
    return f"{number} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


class Fault(Exception):
    """What was found instead of an answer, and what to do about it."""

    temporary = False  # whether it goes away by itself

    def __init__(self, found: object, remedy: object = "") -> None:
        super().__init__(plain(found))
        self.remedy = plain(remedy)

    def sentences(self) -> str:
        return " ".join(f"{part}." for part in (str(self), self.remedy) if part)


def of_this_machine(error: Exception) -> Fault | None:
    """What the operating system said of a file, or of its own limits, as a Fault; None for a network's."""
    if not (isinstance(error, OSError) and error.strerror and (error.filename or error.errno in REMEDIES)):
        return None
    if error.errno == errno.ENOENT and not error.filename:  # which is what os.getcwd() says
        return Fault("The folder of this terminal does not exist any more", "Go to yours: `cd`, and its name")
    what = error.filename or "The lab cannot go on"
    return Fault(
        f"{what}: {error.strerror}",
        REMEDIES.get(error.errno, "Make sure that you may read and write it, and try again"),
    )


def of_our_own(error: Exception) -> Fault:
    """What went wrong in the lab itself, as a Fault. The traceback is kept for the person who repairs it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    found = f"The lab itself has failed, not you: {type(error).__name__}: {error} ({last.name}, line {last.lineno})"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="lab-", suffix=".txt", encoding="utf-8", delete=False) as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return Fault(found, "Try again")
    return Fault(found, f"Try again. If it happens again, show {file.name} to the person who gave you this lab")


def in_own_line(error: BaseException, *programs: str) -> str:
    """An error as a sentence, with the last of the student's own lines that it came through."""
    if isinstance(error, SyntaxError):
        where = f" ({os.path.basename(error.filename)}, line {error.lineno})" if error.filename else ""
        return f"{type(error).__name__}: {error.msg}{where}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{own_line(error, *programs)}"


def own_line(error: BaseException, *programs: str) -> str:
    """The last of the student's own lines that an error came through, in parentheses; nothing without."""
    files = (*programs, "my_ml_app.py", "celeryconfig.py")
    own = [f for f in traceback.extract_tb(error.__traceback__) if os.path.basename(f.filename) in files]
    return f" ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else ""


class Wrong(Fault):
    """A wrong state that has a name. Each kind is a class: its docstring says what is wrong, next what to do.

    Both are templates for the facts with which it is raised.
    """

    next = ""

    def __init__(self, **facts: object) -> None:
        sentence = " ".join(cleandoc(self.__doc__ or type(self).__name__).removesuffix(".").split())
        super().__init__(sentence.format_map(facts), " ".join(self.next.split()).format_map(facts))
