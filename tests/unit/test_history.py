"""What a History makes of facts that come twice, late, in another order, or not at all, and of what is no fact."""

from types import SimpleNamespace

import pytest

from lab.fault import Fault
from lab.live.history import History
from lab.live.view import show_live


def story(*facts):
    """A History of facts at 1, 2, 3 … seconds, written like "started 1 one": kind, id, worker.

    "active 1=2.5 one" says that one runs it since 2.5, "active - one" that it runs nothing.
    """
    history = History()
    for second, fact in enumerate(facts, 1):
        kind, task, worker, *_ = [*fact.split(), None, None]
        details = {"requeue": True, "runtime": None, "why": "", "lost": True}
        if kind == "active":
            one, _, started = task.partition("=")
            details["tasks"] = [{"id": one, "process": 7, "started": float(started)}] if started else []
        elif kind == "counts":
            details |= {"ready": {"celery": int(task)}, "unacked": 0}
        elif kind != "gone":
            details["id"] = task
        history.note({"time": second, "fact": kind, "worker": worker, **details})
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
    assert all(one.sent for one in history.ended) == ("sent 1" in facts)
    assert not history.running
    assert history.heard == 1
    assert history.done == ("succeeded" in [outcome for _, _, outcome in ended])
    waits_again = ended[-1][2] in ("lost", "returned")
    assert list(history.open) == (["1"] if waits_again else [])


def test_messages_that_a_worker_gives_back_are_not_counted_twice():
    taken = "received 1 one", "received 2 one"
    history = story("counts 3", "counts 3", *taken, "counts 1", "gone - one", "counts 3", "counts 3")
    assert history.total == 3


def test_the_numbers_of_one_moment_belong_together():
    """What ended while the broker counted is not in what it counted, and not in the others either."""
    before = ("asked", "counts 3", *BEGUN, "started 2 one", "started 3 one")
    history = story(*before, "asked", "succeeded 1 one", "succeeded 2 one", "counts 1")
    assert (history.moment.ready, history.moment.running, history.moment.done) == (1, 3, 0)
    assert history.done == 2


def test_a_killed_process_is_told_when_its_prediction_is_tried_again():
    history = History()
    for number, (fact, more) in enumerate([("started", {}), ("retried", {"why": "WorkerLostError('signal 9')"})], 1):
        history.note({"time": number, "fact": fact, "id": "1", "worker": "one@here", **more})
    assert [what for _, _, what in history.incidents] == ["a process was killed"]
    assert list(history.open) == ["1"]


GOOD = '{"time": 1, "fact": "sent", "id": "1"}\n'
BAD = {
    "text": "hello\n",
    "no kind": '{"time": 1}\n',
    "a list": "[]\n",
    "empty": "",
    "binary": b"\x89PNG\xff\xfe\n",
    "deep": "[" * 100_000 + "\n",
    "no line": "x" * 10_000_000,
    "nan": GOOD + '{"time": NaN, "fact": "sent", "id": "1"}\n',
    "huge": GOOD + '{"time": 2, "fact": "counts", "ready": {"celery": 1%s}, "unacked": 0}\n' % ("0" * 400),
    "infinite": GOOD + '{"time": 2, "fact": "counts", "ready": {"celery": 1e999}, "unacked": 0}\n',
    "below": GOOD + '{"time": 2, "fact": "counts", "ready": {"celery": -1}, "unacked": 0}\n',
    "kind": '{"time": 1, "fact": ["sent"], "id": "1"}\n',
    "private": '{"time": 1, "fact": "new", "id": "1"}\n',
    "id": '{"time": 1, "fact": "sent", "id": {}}\n',
    "half a character": '{"time": 1, "fact": "sent", "id": "\\ud800"}\n',
    "tasks": GOOD + '{"time": 2, "fact": "active", "worker": "one@here", "tasks": [{"id": "1"}]}\n',
    "pool": GOOD + '{"time": 2, "fact": "pool", "worker": "one@here", "processes": 5}\n',
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_file_that_is_no_record_is_a_fault(tmp_path, text):
    (tmp_path / "file").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Fault, match="file (is not the record|has no prediction)"):
        History.read(tmp_path / "file")


def test_a_record_whose_end_is_cut_and_with_kinds_of_later_labs(tmp_path):
    (tmp_path / "file").write_text(GOOD + '{"time": 2, "fact": "later", "id": []}\n{"time": 2, "fa')
    assert History.read(tmp_path / "file").heard == 1


def test_ctrl_c_that_python_had_to_ignore_ends_a_view():
    """It came while a finalizer ran, where an exception is lost: whoever loops asks whether it did."""
    asked = []

    def heed():
        asked.append(True)
        if len(asked) == 3:
            raise KeyboardInterrupt

    recording = SimpleNamespace(history=History(), take=lambda: [])
    assert not show_live(recording, "here", heed)
