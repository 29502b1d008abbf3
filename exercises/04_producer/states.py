"""How a student can stand before exercise 04."""

DELAY = "result = predict.delay(payload)"


def stub(student):
    student.hand_out()


def reference(student):
    student.solve()


def not_importable(student):
    student.solve()
    student.edit("use_ml_app.py", "predict.delay(payload)", "predict.delay(paylaod)")
    student.edit("use_ml_app.py", "except Exception", "except OSError")


def sends_nothing(student):
    student.solve()
    student.edit("use_ml_app.py", DELAY, "result = predict.AsyncResult(str(predict(payload)))")


def other_task(student):
    """Its name has the name of the module in it."""
    student.solve()
    (student.path / "my_app.py").write_text((student.path / "my_ml_app.py").read_text())
    student.edit("use_ml_app.py", "from my_ml_app import", "from my_app import")


def bare_string(student):
    student.solve()
    student.edit("use_ml_app.py", "predict.delay(payload)", "predict.delay(msg)")


def blocks_for_result(student):
    student.solve()
    student.edit("use_ml_app.py", DELAY, f"{DELAY}\n        while not result.ready():\n            pass")
    student.edit("celeryconfig.py", "timezone =", f'result_backend = "{student.results}"\ntimezone =')


def ends_after_one(student):
    """Without a loop."""
    student.solve()
    student.edit("use_ml_app.py", "                send(msg)\n", "                send(msg)\n        break\n")


def never_exits(student):
    student.solve()
    student.edit("use_ml_app.py", "            break\n", "            continue\n")


def dies_at_end(student):
    """As the lecture's own version does."""
    student.solve()
    student.edit("use_ml_app.py", "except (EOFError, KeyboardInterrupt)", "except KeyboardInterrupt")


def never_asks(student):
    student.solve()
    student.edit("use_ml_app.py", 'input("Enter a message: ")', '"hello"')


def asks_for_result(student):
    """There is no result backend yet."""
    student.solve()
    student.edit("use_ml_app.py", "task {result.id}", "task {result.id}, {result.state}")
