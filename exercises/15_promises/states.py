"""How a student can stand before exercise 15."""

import json

OPTIONS = '{"confirm_publish": True, "read_timeout": 5}'


def stub(student):
    student.hand_out()


not_confirmed = stub


def reference(student):
    student.solve()
    student.run(
        "python", "-m", "lab", "trial", "--break=network", "--number=30", "--seconds=10", "--defaults", seconds=200
    )


def misspelt_setting(student):
    student.solve()
    student.edit("celeryconfig.py", "broker_transport_options", "broker_transport_option")


def not_inside(student):
    student.solve()
    student.edit("celeryconfig.py", f"broker_transport_options = {OPTIONS}", "confirm_publish = True\nread_timeout = 5")


def no_dictionary(student):
    """A comma in place of the colon makes a set."""
    student.solve()
    student.edit("celeryconfig.py", OPTIONS, '{"confirm_publish", True}')


def misspelt_option(student):
    student.solve()
    student.edit("celeryconfig.py", "confirm_publish", "confirm_publishing")


def no_timeout(student):
    student.solve()
    student.edit("celeryconfig.py", ', "read_timeout": 5', "")


def odd_timeout(student):
    student.solve()
    student.edit("celeryconfig.py", '"read_timeout": 5', '"read_timeout": "5"')


def no_trial(student):
    """Who has run promise.py alone."""
    student.solve()


def other_trial(student):
    """Who has done exercise 13 before."""
    student.solve()
    _record(student, kinds=["worker"])


def stale_trial(student):
    student.solve()
    _record(student, confirm=False)


def nothing_accepted(student):
    """Who has sent one prediction, to be done sooner: its fault met it."""
    student.solve()
    _record(student, accepted=0)


def still_lost(student):
    """Who has broken workers too, and acknowledges early."""
    student.solve()
    _record(student, kinds=["network", "worker"], lost=2)


def no_contrast(student):
    """Who has run the trial with their own settings only."""
    student.solve()
    _record(student)


def _record(student, kinds=("network",), confirm=True, accepted=58, lost=0):
    """What a trial of 60 predictions writes down, as far as the check reads it."""
    options = {"confirm_publish": confirm, "read_timeout": 5}
    begin = {"fact": "trial", "time": 1.8e9, "seed": 7, "kinds": kinds, "defaults": False}
    end = {"fact": "verdict", "time": 1.8e9 + 30, "accepted": accepted, "lost": lost, "faults": 3}
    end["refused"] = 60 - accepted
    runs = student.path / ".lab" / "runs"
    runs.mkdir(parents=True)
    lines = (json.dumps(fact) for fact in ({**begin, "settings": {"broker_transport_options": options}}, end))
    (runs / "2027-01-15_09-00-00_1_trial.jsonl").write_text("\n".join(lines))
