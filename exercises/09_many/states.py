"""How a student can stand before exercise 09."""

import os

AUTOSCALE = "--autoscale=10,2"


def stub(student):
    student.hand_out()
    student.worker()


def reference(student):
    student.solve()
    student.worker(AUTOSCALE)


def does_not_grow(student):
    student.solve()
    student.worker()


def too_fast(student):
    student.solve()
    student.edit("my_ml_app.py", "time.sleep(10)", "time.sleep(0.1)")
    student.worker(AUTOSCALE)


def prefetch_hides(student):
    student.hand_out()
    student.worker(AUTOSCALE)


def stale_code(student):
    """celeryconfig.py is right, and the worker, which began before, still takes four messages per process ahead."""
    student.hand_out()
    student.worker(AUTOSCALE)
    student.solve()
    later = os.stat(student.path / "celeryconfig.py").st_mtime + 100
    os.utime(student.path / "celeryconfig.py", (later, later))
