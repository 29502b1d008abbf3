"""A trial's producer: `python -m lab.trial.producer NUMBER SECONDS` sends so many predictions, evenly in these seconds.

It writes down what delay() said: when it was called for a prediction, and when that was accepted or refused.
"""

import sys
import time

from lab.trial.app import app, note, predict


def main(number: int, seconds: float) -> None:
    app.conf.task_send_sent_event = True  # so that the picture shows since when each one waits
    begin = time.monotonic()
    for count in range(1, number + 1):
        time.sleep(max(0, begin + (count - 1) * seconds / number - time.monotonic()))
        task = f"trial-{count}"
        note("called", id=task)
        try:
            # As delay() does, but with an id that is known also when it fails.
            predict.apply_async(({"message": f"{count} of {number}"},), task_id=task)
        except Exception as error:
            note("refused", id=task, why=" ".join(f"{type(error).__name__}: {error}".split())[:200])
        else:
            note("accepted", id=task)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
