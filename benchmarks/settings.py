"""What the settings in celeryconfig.py cost, beside Celery's own defaults, and beside dramatiq, which confirms too.

    .venv/bin/python benchmarks/settings.py [ROUNDS]

takes some five minutes. It starts a RabbitMQ, a Valkey and two workers of its own, in a temporary folder, and installs
dramatiq into another one. All is measured in turn, ROUNDS times (7), and printed as ratios of one round each.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from conftest import free_port
from e2e.student import Student, eventually

from lab.probe.workers import workers

STOCK = 'broker_url = result_backend = ""\n'  # both come from the environment; all else is as Celery has it
DRAMATIQ = "dramatiq[rabbitmq]==2.2.1"
SENT, DRAINED, TRIPS = 1000, 3000, 300

SEND = f"""
import time
from my_ml_app import predict
predict.delay({{"message": "the first one connects"}})
begin = time.perf_counter()
for number in range({SENT}):
    predict.delay({{"message": "hello"}})
print({SENT} / (time.perf_counter() - begin))
"""

SEND_DRAMATIQ = f"""
import os, time
import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
dramatiq.set_broker(RabbitmqBroker(url=os.environ["DRAMATIQ_URL"], confirm_delivery=True))

@dramatiq.actor
def predict(payload):
    pass

predict.send({{"message": "the first one connects"}})
begin = time.perf_counter()
for number in range({SENT}):
    predict.send({{"message": "hello"}})
print({SENT} / (time.perf_counter() - begin))
"""

DRAIN = f"""
import time
from my_ml_app import app, predict
[worker] = app.control.ping(timeout=1)
app.control.cancel_consumer("celery", reply=True)
with app.producer_pool.acquire(block=True) as producer:
    for number in range({DRAINED}):
        predict.apply_async([{{"message": "hello"}}], producer=producer)
with app.connection() as connection:
    wait = lambda: connection.default_channel.queue_declare("celery", passive=True).message_count
    app.control.add_consumer("celery")
    begin = time.perf_counter()
    while wait():
        time.sleep(0.01)
print({DRAINED} / (time.perf_counter() - begin))
"""

TRIP = f"""
import statistics, time
from my_ml_app import predict
seconds = []
for number in range({TRIPS}):
    begin = time.perf_counter()
    predict.delay({{"message": "hello"}}).get(timeout=10, interval=0.001)
    seconds.append(time.perf_counter() - begin)
print(statistics.median(seconds))
"""


def main(rounds):
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: Path(folder) / name for name in ("lab", "stock", "dramatiq")}
        for path in folders.values():
            path.mkdir()
        peer = dramatiq_in(folders["dramatiq"])
        ours = Student(folders["lab"], f"amqp://myuser:mypassword@localhost:{free_port()}//")
        stock = Student(folders["stock"], ours.broker, ours.results)
        (stock.path / "celeryconfig.py").write_text(STOCK)
        try:
            ours.open("python", "-m", "lab", "servers").see("Ctrl-C ends")
            found = {"delay() per second": [], "drained per second": [], "round trip, p50 in s": []}
            beside_dramatiq = []
            for _ in range(rounds):
                sent = []
                for student in (ours, stock):
                    sent.append(seen(student, SEND))
                    purge(student)
                beside_dramatiq.append((sent[0], dramatiq_sends(peer, ours)))
                found["delay() per second"].append(sent)
                both = [at_work(student) for student in (ours, stock)]
                for name, values in zip(list(found)[1:], zip(*both, strict=True), strict=True):
                    found[name].append(values)
            for name, pairs in found.items():
                show(name, "stock Celery", pairs)
            show("delay() per second", "dramatiq with confirms", beside_dramatiq)
        finally:
            ours.close()
            stock.close()


def seen(student, program):
    printed, status = student.run(sys.executable, "-c", program, seconds=300, PREDICT_SECONDS="0")
    assert status == 0, printed
    return float(printed.split()[-1])


def at_work(student):
    """Predictions per second, and the median of round trips in seconds, with a worker of two processes."""
    log = ["--loglevel", "ERROR", "--logfile", "worker.log"]
    worker = student.open("celery", "-A", "my_ml_app", "worker", "-c", "2", *log, PREDICT_SECONDS="0")
    worker.unwatched()
    eventually(lambda: workers(student.app), "the worker answers")
    try:
        return seen(student, DRAIN), seen(student, TRIP)
    finally:
        worker.sendintr()
        eventually(lambda: not worker.isalive(), "the worker has ended", 60)


def purge(student):
    student.run("celery", "-A", "my_ml_app", "purge", "-f")


def dramatiq_in(folder):
    """The Python of an environment of dramatiq's own."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", DRAMATIQ], check=True)
    return python


def dramatiq_sends(python, student):
    url = re.sub("//$", "/%2F", student.broker)
    done = subprocess.run(
        [python, "-c", SEND_DRAMATIQ],
        env=os.environ | {"DRAMATIQ_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def show(name, yardstick, pairs):
    ratios = [ours / theirs for ours, theirs in pairs]
    ours, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
    print(
        f"{name}: {ours:.4g}, {yardstick} {theirs:.4g}; "
        f"ratio {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 7)
