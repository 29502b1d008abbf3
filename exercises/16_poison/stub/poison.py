"""Send one dose of poison. `celery -A poison worker` is a worker that knows every kind."""

import argparse
import os
import time
from contextlib import suppress

from celery.exceptions import SoftTimeLimitExceeded

from my_ml_app import app


@app.task
def fails():
    raise RuntimeError("no prediction today")


@app.task(autoretry_for=(ConnectionError,), retry_backoff=True, retry_jitter=False, max_retries=3)
def flaky():
    raise ConnectionError("the model does not answer")  # tried again after 1 second, then 2, then 4


@app.task(soft_time_limit=2, time_limit=4)
def slow():
    with suppress(SoftTimeLimitExceeded):  # the soft limit raises it here: time to tidy up
        time.sleep(60)
    time.sleep(60)  # here the hard limit ends the process


@app.task
def kills():
    os.kill(os.getpid(), 9)  # SIGKILL, which a system sends that has no memory left


@app.task
def eats():
    bytearray(10**18)  # a billion gigabytes: Python refuses at once, and uses nothing


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["fails", "flaky", "slow", "kills", "eats", "malformed"])
    kind = task = parser.parse_args().kind
    if kind == "malformed":  # the body of a task's message is a list of three: this one is empty
        message = {"body": [], "headers": {"task": "my_ml_app.predict", "id": kind}}
        with app.connection_for_write() as connection:
            connection.Producer().publish(**message, routing_key=app.conf.task_default_queue)
    else:
        task = app.send_task(f"poison.{kind}")
    print(f"Sent as task {task}")
