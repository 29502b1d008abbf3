"""How a student can stand before exercise 05."""

PRODUCER = "python", "use_ml_app.py"
TYPED = "hello\nIs it true?\nhello again\nexit\n"


def stub(student):
    student.hand_out()


def reference(student):
    student.solve()
    student.worker()


def no_worker(student):
    student.solve()
    student.run(*PRODUCER, typed=TYPED)


def other_app(student):
    student.solve()
    (student.path / "other_app.py").write_text((student.path / "my_ml_app.py").read_text())
    student.worker(app="other_app")
    student.run(*PRODUCER, typed=TYPED)


def other_queue(student):
    student.solve()
    student.worker("-Q", "predictions")
    student.run(*PRODUCER, typed=TYPED)


def stranded(student):
    reference(student)
    student.edit("use_ml_app.py", "predict.delay(payload)", 'predict.apply_async([payload], queue="predictions")')
    student.run(*PRODUCER, typed=TYPED)


def refused(student):
    """The worker accepts JSON only, and the task is sent as pickle."""
    student.solve()
    student.edit("my_ml_app.py", "@app.task\n", '@app.task(serializer="pickle")\n')
    student.worker()


def busy(student):
    student.solve()
    student.edit("my_ml_app.py", "    return", "    import time\n\n    time.sleep(60)")
    student.worker("--concurrency=1", "--prefetch-multiplier=1")
    student.run(*PRODUCER, typed=TYPED)


def failing(student):
    student.solve()
    student.edit("my_ml_app.py", "    return", '    return payload["text"]')
    student.worker()
