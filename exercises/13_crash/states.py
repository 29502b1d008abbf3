"""How a student can stand before exercise 13."""

import json

LATE, REJECT = "task_acks_late = True", "task_reject_on_worker_lost = True"
SETTINGS = {"task_acks_late": True, "task_reject_on_worker_lost": True}


def stub(student):
    student.hand_out()


not_late = stub


def reference(student):
    student.solve()
    student.run("python", "-m", "lab", "trial", "--number=40", "--seconds=5", "--defaults", seconds=200)


def misspelt_setting(student):
    student.solve()
    student.edit("celeryconfig.py", LATE, "task_ack_late = True")


def not_rejected(student):
    student.solve()
    student.edit("celeryconfig.py", REJECT, "")


def not_a_boolean(student):
    """Who has turned it off again, to see the difference."""
    student.solve()
    student.edit("celeryconfig.py", LATE, 'task_acks_late = "False"')


def in_the_app(student):
    """Who has copied it from a page on the internet, where it stands above the task."""
    student.hand_out()
    student.edit("my_ml_app.py", "throws=ValueError", "throws=ValueError, acks_late=True, reject_on_worker_lost=True")


def task_says_otherwise(student):
    student.solve()
    student.edit("my_ml_app.py", "throws=ValueError", "throws=ValueError, acks_late=False")


def no_trial(student):
    """Who has run crash.py alone."""
    student.solve()


def other_trial(student):
    student.solve()
    _record(student, kinds=["process"])


def stale_trial(student):
    """Who has held the trial before the second setting."""
    student.solve()
    _record(student, settings={"task_acks_late": True})


def still_lost(student):
    student.solve()
    _record(student, kinds=["worker", "broker"], lost=1)


def no_contrast(student):
    """Who has left --defaults out."""
    student.solve()
    _record(student)


def too_gentle(student):
    student.solve()
    _record(student)
    _record(student, number=2, defaults=True)


def _record(student, number=1, kinds=("worker",), defaults=False, settings=SETTINGS, lost=0):
    """What a trial of 40 predictions writes down, as far as the check reads it."""
    begin = {"fact": "trial", "time": 1.8e9, "seed": 7, "kinds": kinds, "defaults": defaults, "settings": settings}
    end = {"fact": "verdict", "time": 1.8e9 + 30, "accepted": 40, "predicted": 40 - lost, "lost": lost, "faults": 3}
    runs = student.path / ".lab" / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps(fact)}\n" for fact in (begin, end))
    (runs / f"2027-01-15_09-00-0{number}_1_trial.jsonl").write_text(lines)
