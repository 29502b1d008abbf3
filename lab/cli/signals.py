"""What a command does at Ctrl-C, when its terminal is closed, and when it is asked to end."""

import signal
import threading
from typing import NoReturn

from lab.cli.terminal import to_nobody

interrupted = threading.Event()


def interrupt(number: int, _: object) -> NoReturn:
    """Treat a closed terminal, and a request to end, as Ctrl-C: code that survives one survives all."""
    interrupted.set()
    if number == signal.SIGHUP:
        to_nobody()
    raise KeyboardInterrupt


def heed_interrupt() -> None:
    """Leave, if that was asked for while Python was in a finalizer and had to ignore the exception."""
    if interrupted.is_set():
        raise KeyboardInterrupt


def heed_signals() -> None:
    """Let each signal interrupt the command, unless the program that started it ignores that signal: nohup, or a script
    with &."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
