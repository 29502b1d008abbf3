"""How much a running `view` slows predictions down, and what 100,000 of them cost it in memory and time.

    .venv/bin/python benchmarks/view.py [PREDICTIONS]

takes a quarter of an hour. It starts servers and a worker of its own, in a temporary folder.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from conftest import free_port
from e2e.student import Student, eventually

from lab.probe.workers import workers

ROUNDS = 7
LAB = [sys.executable, "-m", "lab"]


def main():
    with tempfile.TemporaryDirectory() as folder:
        student = Student(Path(folder), f"amqp://myuser:mypassword@localhost:{free_port()}//")
        try:
            student.open(*LAB, "servers").see("Ctrl-C ends")
            log = ["--loglevel", "ERROR", "--logfile", "worker.log"]
            student.open("celery", "-A", "my_ml_app", "worker", "-c", "10", "-E", *log)
            eventually(lambda: workers(student.app), "the worker answers")
            for number, seconds in ((2000, 0), (1000, 0.05)):
                compare(student, number, seconds)
            remember(student, int(sys.argv[1]) if sys.argv[1:] else 100_000)
        finally:
            student.close()


def compare(student, number, seconds):
    """Predictions per second without and with a view, in turn, and the ratio pair by pair."""
    ratios = []
    run(student, number, seconds)
    for _ in range(ROUNDS):
        without = run(student, number, seconds)
        with subprocess.Popen([*LAB, "view"], cwd=student.path, env=student.env, stdout=subprocess.PIPE) as view:
            while b"running 0/10" not in view.stdout.readline():
                pass
            beside = run(student, number, seconds)
            view.terminate()
            view.communicate()
        ratios.append(beside / without)
        print(f"{number} predictions of {seconds} s: {without:.0f}/s without, {beside:.0f}/s with a view", flush=True)
    print(f"ratio: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}", flush=True)


def run(student, number, seconds):
    """Predictions per second, from the first that begins to the last that has ended."""
    app = student.app
    app.control.cancel_consumer("celery")
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(number):
            payload = {"message": "hello", "seconds": seconds}
            app.send_task("my_ml_app.predict", [payload], producer=producer, ignore_result=True)
    begin = time.monotonic()
    app.control.add_consumer("celery")
    with app.connection() as connection:
        channel = connection.default_channel
        while channel.queue_declare("celery", passive=True).message_count:
            time.sleep(0.02)
    return number / (time.monotonic() - begin)


def remember(student, number):
    """Peak memory of a burst, which is a view that also sends, and how long its picture takes."""
    with subprocess.Popen(
        [*LAB, "burst", str(number), "--seconds", "0"], cwd=student.path, env=student.env, stdout=subprocess.PIPE
    ) as burst:
        printed = burst.stdout.read().decode()
        _, status, usage = os.wait4(burst.pid, 0)
        burst.returncode = status
    megabytes = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    begin = time.monotonic()
    subprocess.run([*LAB, "picture", re.search(r"its data +(\S+)", printed)[1]], cwd=student.path, env=student.env)
    print(printed.strip().splitlines()[-4])
    print(f"{number} predictions: {megabytes:.0f} MB at most, picture in {time.monotonic() - begin:.1f} s")


if __name__ == "__main__":
    main()
