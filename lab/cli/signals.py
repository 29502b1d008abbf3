"""What Ctrl-C, a closed terminal, and a request to end do to a command."""

import signal
import threading
from typing import NoReturn

from lab.cli.terminal import to_nobody

interrupted = threading.Event()


def interrupt(number: int, _: object) -> NoReturn:
    """A closed terminal, or a request to end, is Ctrl-C: whatever survives that survives them."""
    interrupted.set()
    if number == signal.SIGHUP:
        to_nobody()
    raise KeyboardInterrupt


def heed_interrupt() -> None:
    """Leave if that was asked for at a moment when Python, busy with a finalizer, had to ignore the exception."""
    if interrupted.is_set():
        raise KeyboardInterrupt


def heed_signals() -> None:
    """Let each of them interrupt the command, unless whoever started it ignores it: nohup, or a script with &."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
