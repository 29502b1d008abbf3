"""How a student can stand before exercise 09."""

AUTOSCALE = "--autoscale=10,2"


def stub(student):
    student.hand_out()
    student.worker()


does_not_grow = stub


def reference(student):
    student.solve()
    student.worker(AUTOSCALE)


def too_fast(student):
    student.solve()
    student.edit("my_ml_app.py", "time.sleep(10)", "time.sleep(0.1)")
    student.worker(AUTOSCALE)


def prefetch_hides(student):
    student.hand_out()
    student.worker(AUTOSCALE)
