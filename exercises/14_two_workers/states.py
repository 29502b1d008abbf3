"""How a student can stand before exercise 14."""

import json
import re
import socket
import time

HOST = socket.gethostname()
KILLED, COLD, WARM = "w3", "w2", "w1"


def stub(student):
    student.hand_out()


not_killed = stub


def reference(student):
    """Three workers with enough to do end in three ways, and another one makes what is left."""
    student.solve()
    workers = [_worker(student, name) for name in (KILLED, COLD, WARM)]
    student.celery("worker", "-n", f"{WARM}@%h").see("RESOURCE_LOCKED")
    burst = student.open("python", "-m", "lab", "burst", "12", "--seconds=6")
    for worker in workers:
        worker.see("received")
    student.run("python", "who.py")  # meanwhile, the burst hears of all three
    student.run("python", "stop.py", KILLED, "kill", COLD, "cold", WARM, "warm")
    _worker(student, "w4", "--concurrency=8")
    burst.see("12 of 12 sent")


def _worker(student, name, *options):
    """A worker that has said that it is ready, which it does not do unasked."""
    worker = student.celery("worker", "-n", f"{name}@%h", "--concurrency=1", "--loglevel=INFO", *options)
    worker.see("ready")
    return worker


def early_acks(student):
    """Who has taken the line of exercise 13 out again."""
    student.solve()
    text = (student.path / "celeryconfig.py").read_text()
    (student.path / "celeryconfig.py").write_text(re.sub("task_acks_late.*", "", text))


def not_cold(student):
    """Two ways only: the second worker had finished before it was stopped."""
    _record(student, _began(KILLED), _gone(KILLED, lost=True), _began("w4", KILLED), _over("w4", KILLED))


def not_warm(student):
    """Ctrl-C twice in each terminal, out of impatience."""
    _record(student, _began(KILLED), _gone(KILLED, lost=True), _began(COLD), _gone(COLD))


def one_name(student):
    """The same worker, started again each time."""
    life = [*_three(WARM, WARM, WARM)]
    _record(student, *life)


def not_finished(student):
    """No worker was started again, and the burst was ended with Ctrl-C."""
    _record(student, *_three(KILLED, COLD, WARM, finish=False))


def same_name(student):
    """With Redis, which refuses none."""
    _record(student, *_three(KILLED, COLD, WARM), broker=re.sub("/0$", "/1", student.results))
    student.worker("-n", "w1@%h")
    student.celery("worker", "-n", "w1@%h", "--loglevel=INFO").see("ready")


def _three(killed, cold, warm, finish=True):
    """What a burst writes down of three workers that end while each runs a prediction."""
    yield _began(killed, "killed")
    yield _gone(killed, lost=True)
    yield _began(cold, "cold")
    yield _gone(cold)
    yield {
        "fact": "active",
        "worker": f"{warm}@{HOST}",
        "tasks": [{"id": "warm", "process": 1, "started": time.time()}],
    }
    yield _over(warm, "warm")
    yield _gone(warm)
    for task in ("killed", "cold") if finish else ():
        yield _began("w4", task)
        yield _over("w4", task)


def _began(name, task=None):
    return {"fact": "started", "worker": f"{name}@{HOST}", "id": task or name}


def _over(name, task):
    return {"fact": "succeeded", "worker": f"{name}@{HOST}", "id": task, "runtime": 15}


def _gone(name, lost=False):
    return {"fact": "gone", "worker": f"{name}@{HOST}", "lost": lost}


def _record(student, *facts, **addresses):
    """The record of a burst, with a few seconds between any two facts."""
    student.solve(**addresses)
    runs = student.path / ".lab" / "runs"
    runs.mkdir(parents=True)
    begin = time.time() - 5 * len(facts)
    lines = [json.dumps(fact | {"time": begin + 5 * number}) for number, fact in enumerate(facts)]
    (runs / "2026-01-01_00-00-00_1.jsonl").write_text("".join(f"{line}\n" for line in lines))
