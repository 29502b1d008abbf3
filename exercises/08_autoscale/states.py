"""How a student can stand before exercise 08."""


def stub(student):
    student.hand_out()
    student.worker()


no_autoscale = stub


def reference(student):
    _with_burst(student, 15)


def no_burst(student):
    student.solve()
    student.edit("my_ml_app.py", "time.sleep(10)", "time.sleep(1)")
    student.worker("--autoscale=10,2")


def not_grown(student):
    _with_burst(student, 5)


def _with_burst(student, number):
    """Of predictions of a second, and not of ten."""
    no_burst(student)
    student.run("python", "-m", "lab", "burst", str(number))


def other_limits(student):
    student.solve()
    student.worker("--autoscale=4")


def swapped(student):
    student.solve()
    student.worker("--autoscale=2,10")


def concurrency_beside(student):
    student.solve()
    student.worker("-c", "4", "--autoscale", "10,2")
