"""What a History makes of facts that come twice, late, in another order, or not at all."""

import pytest

from lab.fault import Fault
from lab.history import History


def story(*facts):
    """A History of facts at 1, 2, 3 … seconds, written like "started 1 one": kind, id, worker.

    "active 1=2.5 one" says that one runs it since 2.5, "active - one" that it runs nothing.
    """
    history = History()
    for time, fact in enumerate(facts, 1):
        kind, task, worker, *_ = [*fact.split(), None, None]
        details = {"requeue": True, "runtime": None, "why": "", "lost": True}
        if kind == "active":
            one, _, started = task.partition("=")
            details["tasks"] = [{"id": one, "process": 7, "started": float(started)}] if started else []
        elif kind == "counts":
            details |= {"ready": {"celery": int(task)}, "unacked": 0}
        elif kind != "gone":
            details["id"] = task
        history.note({"time": time, "fact": kind, "worker": worker, **details})
    return history


def outcomes(history):
    return [(one.number, one.worker, one.outcome) for one in history.ended]


BEGUN = "sent 1", "received 1 one", "started 1 one"


@pytest.mark.parametrize(
    "facts, ended",
    [
        ((*BEGUN, "succeeded 1 one"), [(1, "one", "succeeded")]),
        (("received 1 one", "started 1 one", "succeeded 1 one", "sent 1"), [(1, "one", "succeeded")]),
        (("succeeded 1 one",), [(1, "one", "succeeded")]),
        (("active 1=2.5 one", "received 1 one", "started 1 one", "succeeded 1 one"), [(1, "one", "succeeded")]),
        ((*BEGUN, "succeeded 1 one", "active 1=3 one"), [(1, "one", "succeeded")]),
        ((*BEGUN, "rejected 1 one", "failed 1 one"), [(1, "one", "returned")]),
        (
            (*BEGUN, "retried 1 one", "received 1 two", "started 1 two", "succeeded 1 two"),
            [(1, "one", "retried"), (2, "two", "succeeded")],
        ),
        (
            (*BEGUN, "received 1 two", "started 1 two", "retried 1 one", "succeeded 1 two"),
            [(1, "one", "retried"), (2, "two", "succeeded")],
        ),
        (
            (*BEGUN, "gone - one", "received 1 two", "started 1 two", "succeeded 1 two"),
            [(1, "one", "lost"), (2, "two", "succeeded")],
        ),
        ((*BEGUN, "gone - one", "succeeded 1 one"), [(1, "one", "succeeded")]),
        (
            (*BEGUN, "gone - one", "received 1 two", "started 1 two", "succeeded 1 one", "succeeded 1 two"),
            [(1, "one", "succeeded"), (2, "two", "succeeded")],
        ),
        ((*BEGUN, *["active - one"] * 5), [(1, "one", "lost")]),
        ((*BEGUN, *["active 1=3 one"] * 5, "succeeded 1 one"), [(1, "one", "succeeded")]),
        (("sent 1", "revoked 1 one"), [(1, "one", "revoked")]),
    ],
)
def test_each_attempt_ends_once_and_as_its_worker_says(facts, ended):
    history = story(*facts)
    assert sorted(outcomes(history)) == ended
    assert not history.running
    assert history.heard == 1
    assert history.done == ("succeeded" in [outcome for _, _, outcome in ended])
    waits_again = ended[-1][2] in ("lost", "returned")
    assert list(history.open) == (["1"] if waits_again else [])


def test_messages_that_a_worker_gives_back_are_not_counted_twice():
    taken = "received 1 one", "received 2 one"
    history = story("counts 3", "counts 3", *taken, "counts 1", "gone - one", "counts 3", "counts 3")
    assert history.sent == 3


def test_a_file_that_is_no_record_is_a_fault(tmp_path):
    for text in ("hello\n", '{"time": 1}\n', "[]\n", ""):
        (tmp_path / "file").write_text(text)
        with pytest.raises(Fault, match="file (is not the record|has no prediction)"):
            History.read(tmp_path / "file")
    (tmp_path / "file").write_text('{"time": 1, "fact": "sent", "id": "1"}\n{"time": 2, "fa')
    assert History.read(tmp_path / "file").heard == 1
