"""How a student can stand before exercise 11."""

import os
import signal

import redis

LAST = "worker_prefetch_multiplier = 1"  # line of celeryconfig.py
RETURN = 'return {"message": message, "prediction": prediction, "process": os.getpid()}'


def stub(student):
    student.hand_out()


no_backend = stub


def reference(student):
    student.solve()
    student.worker()


def not_a_backend(student):
    """The broker's own address, which Celery 3 took."""
    student.solve(results=student.broker)


def nothing_listens(student):
    student.solve(results=f"redis://localhost:{student.free_port()}/0")


def not_answering(student):
    student.solve()
    os.kill(student.valkey.pid, signal.SIGSTOP)


def stores_nothing(student):
    """It is full."""
    student.solve()
    redis.Redis.from_url(student.results).config_set("maxmemory", 1)


def results_ignored(student):
    student.solve()
    student.edit("celeryconfig.py", LAST, f"{LAST}\ntask_ignore_result = True")
    student.worker()


def other_backend(student):
    student.solve()
    student.worker(CELERY_RESULT_BACKEND="rpc://")


def not_shared(student):
    student.solve(results="cache+memory://")
    student.worker()


def busy(student):
    student.solve()
    student.worker("--concurrency=1", PREDICT_SECONDS="60")
    student.ask("Who is next?")


def after_return(student):
    """Written below the `return` of exercise 07."""
    student.solve()
    student.edit("my_ml_app.py", RETURN, f"return\n    {RETURN}")


def predict_fails(student):
    student.solve()
    student.edit("my_ml_app.py", RETURN, "return message.prediction")
    student.worker()


def not_json(student):
    student.solve()
    student.edit("my_ml_app.py", RETURN, "return {message, prediction}")
    student.worker()


def returns_nothing(student):
    """As exercise 07 left it."""
    student.solve()
    student.edit("my_ml_app.py", RETURN, "return")
    student.worker()


def read_once(student):
    student.solve(results="rpc://")
    student.worker()


def soon_gone(student):
    student.solve()
    student.edit("celeryconfig.py", LAST, f"{LAST}\nresult_expires = 5")
    student.worker()
