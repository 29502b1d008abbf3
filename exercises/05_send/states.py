"""How a student can stand before exercise 05."""

import os
import signal

PRODUCER = "python", "use_ml_app.py"
TYPED = "hello\nIs it true?\nhello again\nexit\n"


def stub(student):
    student.hand_out()


def reference(student):
    _with_worker(student)
    student.types("Is it true?")


def none_of_yours(student):
    """They call predict, which sends nothing."""
    _with_worker(student)
    student.edit("use_ml_app.py", "predict.delay(payload)", "predict(payload)")
    student.patience = 3
    student.types("Is it true?")


def _with_worker(student):
    student.solve()
    return student.worker()


def suspended(student):
    os.killpg(_with_worker(student).pid, signal.SIGSTOP)


def silent(student):
    """Another program takes from the queue too, and gets every second message."""
    _with_worker(student)
    student.consumer()


def not_ready(student):
    """It has been told to end, and a prediction runs."""
    student.solve()
    student.edit("my_ml_app.py", "    return", "    import time\n\n    time.sleep(60)")
    worker = student.worker("--concurrency=1")
    student.ask("hello")
    worker.see("Received:")
    worker.sendintr()
    worker.see("Warm shutdown")


def unreadable(student):
    student.solve()
    headers = {"task": "my_ml_app.predict", "id": "1"}
    student.publish('{"message": "hello"}', content_type="application/json", headers=headers)
    student.celery("worker").see("Unrecoverable error")


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
    _with_worker(student)
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


def predict_fails(student):
    student.solve()
    student.edit("my_ml_app.py", "    return", '    return payload["text"]')
    student.worker()


def ends_its_process(student):
    student.solve()
    student.edit("my_ml_app.py", "    return", "    exit()")
    student.worker()
    student.types("hello")
