"""How a student can stand before exercise 08."""

import os


def stub(student):
    student.hand_out()
    student.worker()


def reference(student):
    student.solve()
    student.worker("--autoscale=10,2")


def no_autoscale(student):
    student.solve()
    student.worker("--concurrency=10")


def other_limits(student):
    student.solve()
    student.worker("--autoscale=4")


def swapped(student):
    student.solve()
    student.worker("--autoscale=2,10")


def concurrency_beside(student):
    student.solve()
    student.worker("-c", "4", "--autoscale", "10,2")


def stale_code(student):
    student.solve()
    student.worker("--autoscale=10,2")
    later = os.stat(student.path / "my_ml_app.py").st_mtime + 100
    os.utime(student.path / "my_ml_app.py", (later, later))
