"""Wait for a fact, or for an answer, with a deadline."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

Answer = TypeVar("Answer")
Facts = TypeVarTuple("Facts")


def wait_until(fact: Callable[[], Answer], seconds: float, every: float = 0.05) -> Answer | None:
    """Ask fact() until it is true, and a last time after these seconds. Return its answer, or None if it was never
    true."""
    deadline = time.monotonic() + seconds
    while not (answer := fact()) and time.monotonic() < deadline:
        time.sleep(every)
    return answer or None


def within(seconds: float, question: Callable[[*Facts], Answer], *arguments: *Facts) -> Answer:
    """The answer to question(*arguments), or what it raises; TimeoutError after this many seconds, even if it goes
    on."""
    answer: Future[Answer] = Future()

    def ask() -> None:
        try:
            answer.set_result(question(*arguments))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer.result(seconds)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C, a closed terminal and a request to end until this block has tidied up. In the main thread only."""
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def unhurried() -> Iterator[None]:
    """Stop the clock of a check's deadline while the check tidies up; afterwards it goes on."""
    left, every = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, every)
