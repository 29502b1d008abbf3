"""How a student can stand before exercise 07."""

SLEEP = "time.sleep(10)"


def stub(student):
    student.hand_out()
    student.worker()


not_slow = stub


def reference(student):
    student.solve()
    student.worker()


def one_thing(student):
    student.solve()
    student.worker("--pool=solo")


def after_return(student):
    """The stub's `return` was left where it stood."""
    student.solve()
    student.edit("my_ml_app.py", f"    # Simulate a long task\n    {SLEEP}", f"    return\n    {SLEEP}")


def misplaced(student):
    student.solve()
    student.edit("my_ml_app.py", f"    {SLEEP}\n", "")
    student.edit("my_ml_app.py", "app = Celery", f"{SLEEP}\napp = Celery")


def sleeps_too_long(student):
    """In milliseconds, as other languages count."""
    student.solve()
    student.edit("my_ml_app.py", SLEEP, "time.sleep(10000)")


def async_predict(student):
    student.solve()
    student.edit("my_ml_app.py", "def predict", "async def predict")


def predict_fails(student):
    student.solve()
    student.edit("my_ml_app.py", "import time\n", "")
    student.worker()


def ends_its_process(student):
    student.solve()
    student.edit("my_ml_app.py", SLEEP, "exit()")
    student.worker()


def busy_waiting(student):
    student.solve()
    loop = "end = time.time() + 10\n    while time.time() < end:\n        pass"
    student.edit("my_ml_app.py", SLEEP, loop)
    student.worker()
