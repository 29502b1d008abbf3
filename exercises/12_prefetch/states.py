"""How a student can stand before exercise 12."""

import json
import os
import signal
import socket
import time

HOST = socket.gethostname()
FAIR = "--autoscale=10,2"


def stub(student):
    student.hand_out()


no_hoard = stub


def reference(student):
    """The hoard of a burst, as in the README; then two workers that share."""
    student.solve()
    hoarder = _worker(student, "w1", "--concurrency=1", "--prefetch-multiplier=40")
    burst = student.open("python", "-m", "lab", "burst", "40", "--seconds=2")
    hoarder.see("received")
    _worker(student, "w2", FAIR)
    student.run("python", "who.py")
    student.run("celery", "-A", "my_ml_app", "control", f"--destination=w1@{HOST}", "shutdown")
    _worker(student, "w3", FAIR)
    burst.see("40 of 40 sent")


def _worker(student, name, *options):
    """A worker that has said that it is ready, which it does not do unasked."""
    worker = student.celery("worker", "-n", f"{name}@%h", "--loglevel=INFO", *options)
    worker.see("ready")
    return worker


def other_setting(student):
    """Who has taken the line out, to see a hoard."""
    student.solve()
    student.edit("celeryconfig.py", "worker_prefetch_multiplier = 1", "")


def nobody_idle(student):
    """The second worker was there already when the messages came, or never."""
    student.solve()
    _record(student, pool=["w1"], received=40)


def suspended(student):
    """Who has ended the hoarder with Ctrl-Z, and started the other one."""
    one_worker(student)
    worker = student.terminals[-1].pid
    student.worker("-n", "w2@%h")
    os.kill(worker, signal.SIGSTOP)


def no_limit(student):
    """Zero, for none ahead; but it means no limit. As in Docker, the file here does not say so."""
    _seen(student)
    student.edit("celeryconfig.py", "worker_prefetch_multiplier = 1", "worker_prefetch_multiplier = 0")
    student.worker("-n", "w1@%h")
    student.edit("celeryconfig.py", "worker_prefetch_multiplier = 0", "worker_prefetch_multiplier = 1")
    os.utime(student.path / "celeryconfig.py", (0, 0))


def still_hoards(student):
    """Who has the hoarder still."""
    _seen(student)
    student.worker("-n", "w1@%h", "--prefetch-multiplier=4")


def one_worker(student):
    _seen(student)
    student.worker("-n", "w1@%h")


def _seen(student):
    student.solve()
    _record(student, pool=["w1", "w2"], received=40)


def _record(student, pool, received):
    """What a burst writes down when these workers are there, and the first one takes so many messages."""
    now = time.time() - 60
    facts = [{"fact": "pool", "time": now, "worker": f"{name}@{HOST}", "processes": [1]} for name in pool]
    for number in range(received):
        facts.append({"fact": "received", "time": now + 2, "worker": f"w1@{HOST}", "id": f"burst-{number}"})
    runs = student.path / ".lab" / "runs"
    runs.mkdir(parents=True)
    (runs / "2026-01-01_00-00-00_1.jsonl").write_text("".join(f"{json.dumps(fact)}\n" for fact in facts))
