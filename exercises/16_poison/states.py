"""How a student can stand before exercise 16."""

ASIDE = "                self.bury(message, error)"  # the last line of what a student writes in guard.py


def stub(student):
    student.hand_out()


guard_off = stub


def reference(student):
    student.solve()
    student.worker()
    student.run("python", "poison.py", "malformed")


def not_imported(student):
    student.solve()
    student.edit("celeryconfig.py", 'imports = ["guard"]\n', "")


def lets_through(student):
    """The guard is switched on; what it does is as it was handed out."""
    student.solve()
    (student.path / "guard.py").write_text((student.exercise.path / "stub" / "guard.py").read_text())


def not_checked(student):
    """What `handle` does not mind is passed on."""
    student.solve()
    student.edit("guard.py", "                check(message, self.strategies)\n", "")


def still_held(student):
    _with(student, "print(error)")


def comes_back(student):
    _with(student, "message.requeue()")


def not_kept(student):
    _with(student, "message.reject()")


def same_reason(student):
    _with(student, 'self.bury(message, "malformed")')


def _with(student, line):
    """Another last line."""
    student.solve()
    student.edit("guard.py", ASIDE, f"                {line}")


def refuses_all(student):
    """What it is given of the worker's tasks is nothing."""
    student.solve()
    student.edit("guard.py", "check(message, self.strategies)", "check(message, {})")


def buries_at_break(student):
    student.solve()
    student.edit("guard.py", "            except broken:", "            except ():")


def no_time_limit(student):
    student.solve()
    student.edit("celeryconfig.py", "task_time_limit = 150\n", "")


def odd_limit(student):
    student.solve()
    student.edit("celeryconfig.py", "task_time_limit = 150", 'task_time_limit = "150"')


def limit_too_short(student):
    """Those of `slow` in poison.py, for every task."""
    student.solve()
    student.edit("celeryconfig.py", "task_soft_time_limit = 120", "task_soft_time_limit = 2")
    student.edit("celeryconfig.py", "task_time_limit = 150", "task_time_limit = 4")


def limits_swapped(student):
    student.solve()
    student.edit("celeryconfig.py", "task_time_limit = 150", "task_time_limit = 60")


def ended_by_it(student):
    """By the worker without a guard, which has ended: it had made the queue."""
    student.solve()
    headers = {"task": "my_ml_app.predict", "id": "malformed"}
    student.publish("[]", content_type="application/json", content_encoding="utf-8", headers=headers)


def stale_code(student):
    student.solve()
    student.worker()
    student.edit_later("guard.py")


def not_met(student):
    student.solve()
    student.worker()
