"""How a student can stand before exercise 17. No worker runs: page.py is asked, and nothing else."""

MARK = '    app.backend.store_result(task_id, None, "SENT")\n'
SEND = '    predict.apply_async([{"message": text}], task_id=task_id)\n'


def stub(student):
    student.hand_out()


unknown_waits = stub


def reference(student):
    student.solve()


def not_importable(student):
    student.solve()
    student.edit("page.py", "from celery import uuid\n", "")


def nothing_kept(student):
    student.solve()
    student.edit("page.py", "task_id=task_id)", "task_id=task_id, ignore_result=True)")


def sends_nothing(student):
    """It makes the signature of a task."""
    student.solve()
    student.edit("page.py", "predict.apply_async(", "predict.signature(")


def no_id(student):
    """The id that it marks and prints is not the message's."""
    student.solve()
    student.edit("page.py", SEND, '    predict.delay({"message": text})\n')


def blocks(student):
    student.solve()
    student.edit("page.py", "    match result.state", "    result.get(propagate=False)\n    match result.state")


def backend_away(student):
    student.solve()
    student.edit("page.py", 'print("not now: a server does not answer. Try again in a minute.")', 'print("unknown")')


def waiting_unknown(student):
    student.solve()
    student.edit("page.py", MARK, "")


def mark_too_late(student):
    student.solve()
    student.edit("page.py", MARK + SEND, SEND + MARK)


def other_sentence(student):
    """STARTED is one of the states that it does not know."""
    student.solve()
    student.edit("page.py", 'case "STARTED"', 'case "RUNNING"')


def failure_breaks(student):
    student.solve()
    student.edit("page.py", 'f"failed: {result.result}"', 'f"failed: {result.get()}"')


def forgets_at_once(student):
    student.solve()
    student.edit("page.py", 'case "SUCCESS":\n', 'case "SUCCESS":\n            app.backend.forget(task_id)\n')


def gone_waits(student):
    """The mark is a file, which stays."""
    student.solve()
    student.edit("page.py", MARK, '    open(f"{task_id}.sent", "w").close()\n')
    student.edit("page.py", "import sys\n", "import os\nimport sys\n")
    student.edit("page.py", '"unknown: ', '"waiting" if os.path.exists(f"{task_id}.sent") else "unknown: ')
