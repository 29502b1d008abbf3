"""Are messages acknowledged late, and has the student seen what that saves when a worker is killed?"""

import ast
from collections.abc import Iterator

from lab.course.kit import Desk, MisspeltSetting, NoContrast, Record, Wrong, tree, trials, with_defaults

LATE, REJECT = SETTINGS = "task_acks_late", "task_reject_on_worker_lost"
TRIAL = "In terminal 3: `lab trial --number 40 --seconds 5 --defaults`"


class NotLate(Wrong):
    """With this celeryconfig.py, a message is acknowledged when its prediction begins: if the worker dies then, nobody
    has it any more."""

    next = "Find the setting with which it is acknowledged late, and write it into celeryconfig.py"


class NotRejected(Wrong):
    """With this celeryconfig.py, a message is acknowledged, and lost, when its pool process is killed and the worker
    lives."""

    next = "Find the setting that rejects such a message, so that it goes back, and write it into celeryconfig.py"


class NotABoolean(Wrong):
    """{name} in celeryconfig.py is {value!r}. Celery takes every text that is not empty for true, 'False' too."""

    next = "Write True, without quotation marks"


class InTheApp(Wrong):
    """my_ml_app.py sets {name} itself. A trial with Celery's own settings leaves celeryconfig.py out, and this not."""

    next = "Remove it there, and write {setting} = True into celeryconfig.py"


class TaskSaysOtherwise(Wrong):
    """celeryconfig.py sets {name}, but predict has its own value, {value!r}, and that one counts."""

    next = "Look at the line above predict in my_ml_app.py, and at task_annotations in celeryconfig.py: remove it there"


class NoTrial(Wrong):
    """The lab has not seen what your settings are worth: in {folder}, no trial that killed a worker has ended."""

    next = f"In this folder. {TRIAL}"


class OtherTrial(Wrong):
    """Your trials broke something else, the newest one: {kinds}. No worker was killed."""

    next = f"{TRIAL}: without `--break`, it kills workers"


class StaleTrial(Wrong):
    """Your newest trial, at {time}, ran with {name} = {then!r}, but now it is {now!r}."""

    next = f"Do it again. {TRIAL}"


class StillLost(Wrong):
    """In your newest trial, at {time}, {lost} of {number} predictions were lost with your settings."""

    next = f"Its story says why: `lab trial` shows it. Then do it again. {TRIAL}"


class TooGentle(Wrong):
    """Your trial at {time} lost nothing, but it would have lost nothing with Celery's own settings either: when the
    worker was killed, no prediction ran."""

    next = f"Send more, in less time. {TRIAL}"


RECOGNISES = (
    MisspeltSetting,
    NotLate,
    NotRejected,
    NotABoolean,
    InTheApp,
    TaskSaysOtherwise,
    NoTrial,
    OtherTrial,
    StaleTrial,
    StillLost,
    NoContrast,
    TooGentle,
)


def check(desk: Desk) -> Iterator[str]:
    for name, wrong in zip(SETTINGS, (NotLate, NotRejected), strict=True):
        value = desk.configuration[name]
        if isinstance(value, str):
            raise NotABoolean(name=name, value=value)
        short = name.removeprefix("task_")
        own = getattr(desk.task, short)
        if own and (found := {name, short} & words_in_app()):
            raise InTheApp(name=found.pop(), setting=name)
        if not value:
            raise wrong()
        if not own:
            raise TaskSaysOtherwise(name=name, value=own)
    yield "settings: a message is acknowledged when its prediction is done, and given back when its process is lost"
    found = list(trials())
    killed = [one for one in found if "worker" in one.kinds]
    same = [one for one in killed if not one.defaults and not differs(desk, one)]
    if not same:
        raise why_not(desk, found)
    newest = same[0]
    number = newest.verdict.accepted
    if newest.verdict.lost:
        raise StillLost(time=newest.clock, lost=newest.verdict.lost, number=number)
    yield f"trial: at {newest.clock}, {number} predictions with your settings, {newest.verdict.faults} faults, 0 lost"
    if not (beside := with_defaults(same)):
        raise NoContrast(time=newest.clock)
    most = max(beside, key=lambda verdict: verdict.lost)
    if not most.lost:
        raise TooGentle(time=newest.clock)
    yield f"defaults: the same faults with Celery's own settings, {most.lost} of {most.accepted} lost"


def words_in_app() -> set[str]:
    """Each name and each text in my_ml_app.py."""
    values = (value for node in ast.walk(tree("my_ml_app.py")) for value in vars(node).values())
    return {value for value in values if isinstance(value, str)}


def differs(desk: Desk, trial: Record) -> list[str]:
    """The names of the two settings that had other values in a trial than now."""
    return [name for name in SETTINGS if trial.settings.get(name, False) != desk.configuration[name]]


def why_not(desk: Desk, found: list[Record]) -> Wrong:
    """Why none of the trials found killed a worker that had the settings of now."""
    own = [one for one in found if not one.defaults]
    stale = next((one for one in own if "worker" in one.kinds), None)
    if stale:
        name = differs(desk, stale)[0]
        then, now = stale.settings.get(name, False), desk.configuration[name]
        return StaleTrial(time=stale.clock, name=name, then=then, now=now)
    return OtherTrial(kinds=" and ".join(own[0].kinds)) if own else NoTrial(folder=desk.folder.name)
