"""Wait for a fact, or for an answer, with a deadline."""

import threading
import time
from concurrent.futures import Future


def wait_until(fact, seconds, every=0.05):
    """Ask fact() until it is true, once more when the seconds are over, and return what it said; None if it was not."""
    deadline = time.monotonic() + seconds
    while not (answer := fact()) and time.monotonic() < deadline:
        time.sleep(every)
    return answer or None


def within(seconds, question, *arguments):
    """The answer to question(*arguments), or what it raises; TimeoutError after so many seconds, whatever it is at."""
    answer = Future()

    def ask():
        try:
            answer.set_result(question(*arguments))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer.result(seconds)
