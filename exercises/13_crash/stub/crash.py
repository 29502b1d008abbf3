"""What a crash costs: 40 predictions in a queue of their own, and the worker that makes them is killed three times."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from my_ml_app import app  # with your settings

WORKER = [sys.executable, "-m", "celery", "-A", "crash", "worker", "-n", "crash@%h", "-Q", "crash", "-c", "4"]
MADE = Path("crash.txt")  # each prediction writes its number here when it is made


@app.task(name="crash.short_prediction")
def short_prediction(number):
    time.sleep(1)
    with MADE.open("a") as made:
        made.write(f"{number}\n")


def start_worker():
    return subprocess.Popen(WORKER, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_until_made(number):
    """Wait until so many are made, for 20 seconds at most; return how many are made."""
    end = time.monotonic() + 20
    while (made := len(set(MADE.read_text().split()))) < number and time.monotonic() < end:
        time.sleep(0.1)
    return made


if __name__ == "__main__":  # and not when the worker imports this file
    MADE.write_text("")
    for number in range(40):
        short_prediction.apply_async([number], queue="crash")
    worker = start_worker()
    try:
        for enough in (8, 16, 24):
            wait_until_made(enough)
            time.sleep(0.5)  # the next four are half done now
            os.killpg(worker.pid, signal.SIGKILL)  # its pool processes too, as if the machine had lost its power
            print("kill -9 of the worker. A new one starts.")
            worker = start_worker()
        print(f"{wait_until_made(40)} of 40 made.")
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        app.connection().default_channel.queue_delete("crash")
