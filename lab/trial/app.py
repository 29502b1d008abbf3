"""The student's app as a trial runs it: each prediction itself writes down when it begins and when it ends.

That is a trial's ground truth, and none of it comes from Celery. A trial's worker and its producer import this module.
"""

import json
import os
import signal
import sys
import time
from types import ModuleType
from typing import Any

from celery.app.utils import find_app
from celery.exceptions import Reject, Retry

from lab.trial import DEFAULTS, SETTINGS, TASK, TRUTH

POISON = "poison"  # in a payload: this prediction ends its process, each time
LONGEST = 0.5  # seconds that a prediction may sleep: a trial with the lecture's ten would take too long

_truth = os.open(os.environ[TRUTH], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(fact: str, **details: Any) -> None:
    """Append a fact to the truth, as a line of JSON: in one write, so that no kill leaves half of it."""
    line = {"time": round(time.time(), 4), "fact": fact, **details}
    os.write(_truth, json.dumps(line).encode() + b"\n")


if os.environ[SETTINGS] == DEFAULTS:
    sys.modules["celeryconfig"] = ModuleType("celeryconfig")
app = find_app("my_ml_app")
predict = app.tasks[os.environ[TASK]]
_run, _sleep = predict.run, time.sleep


def _witnessed(*args: Any, **kwargs: Any) -> Any:
    task = predict.request.id
    note("begun", id=task, process=os.getpid())
    if isinstance(args[0], dict) and args[0].get(POISON):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep = lambda seconds: _sleep(min(float(seconds), LONGEST))
    try:
        made = _run(*args, **kwargs)
    except (Reject, Retry):  # it begins again later, or is dropped on purpose: this is no end
        note("deferred", id=task, process=os.getpid())
        raise
    except Exception as error:
        note("raised", id=task, process=os.getpid(), why=type(error).__name__)
        raise
    finally:
        time.sleep = _sleep
    note("made", id=task, process=os.getpid())
    return made


predict.run = _witnessed
