"""A trial's plan, its verdict and its story, from facts that are written here."""

import json

import pytest

from lab.fault import Fault
from lab.trial.plan import KINDS, OF_A_TRIAL, plan, plan_soak, seconds_for
from lab.trial.record import read, trials, write
from lab.trial.story import chosen, story
from lab.trial.table import table
from lab.trial.verdict import Verdict, fates, judge

LATE = {"task_acks_late": True, "task_reject_on_worker_lost": True}
CONFIRMS = {"broker_transport_options": {"confirm_publish": True}}


def of(task, *facts):
    """Facts of one prediction: (time, kind) or (time, kind, details)."""
    return [{"time": time, "fact": kind, "id": task, **(more[0] if more else {})} for time, kind, *more in facts]


def fault(kind, begin, until, *running):
    return {"time": begin, "fact": "fault", "kind": kind, "what": KINDS[kind][0], "until": until, "process": 7} | {
        "running": list(running)
    }


CALLED = [(1.0, "called"), (1.1, "accepted")]
BEGUN = (2.0, "begun", {"process": 41})
MADE = (2.5, "made", {"process": 41})
AGAIN = [(5.0, "begun", {"process": 42}), (5.5, "made", {"process": 42})]
SUCCESS, PENDING = (9.0, "result", {"state": "SUCCESS"}), (9.0, "result", {"state": "PENDING"})


@pytest.mark.parametrize(
    "facts, expected",
    [
        ([*CALLED, BEGUN, MADE, SUCCESS], {"accepted": 1, "predicted": 1}),
        ([*CALLED, BEGUN, PENDING], {"accepted": 1, "lost": 1}),
        ([*CALLED, PENDING], {"accepted": 1, "lost": 1}),
        ([*CALLED, PENDING, (9.0, "waits")], {"accepted": 1, "waiting": 1}),
        ([*CALLED, BEGUN, (9.0, "result", {"state": "FAILURE"})], {"accepted": 1, "lost": 1, "told": 1}),
        ([*CALLED, BEGUN, *AGAIN, SUCCESS], {"accepted": 1, "predicted": 1, "twice": 1}),
        ([*CALLED, BEGUN, MADE, *AGAIN, SUCCESS], {"accepted": 1, "predicted": 1, "twice": 1, "made_twice": 1}),
        ([*CALLED, BEGUN, MADE, PENDING], {"accepted": 1, "predicted": 1, "missing": 1}),
        ([*CALLED, BEGUN, MADE, (9.0, "result", {"state": "STARTED"})], {"accepted": 1, "predicted": 1, "missing": 1}),
        ([*CALLED, BEGUN, (2.5, "deferred", {"process": 41})], {"accepted": 1, "lost": 1}),
        ([*CALLED, BEGUN, (2.5, "deferred"), *AGAIN, SUCCESS], {"accepted": 1, "predicted": 1, "twice": 1}),
        ([*CALLED, BEGUN, (9.0, "dead", {"reason": "why"})], {"accepted": 1, "dead": 1}),
        ([(1.0, "called"), (6.0, "refused", {"why": "X"}), PENDING], {"refused": 1}),
        ([(1.0, "called"), BEGUN, MADE, (6.0, "refused", {"why": "X"}), SUCCESS], {"refused": 1, "made_anyway": 1}),
        ([*CALLED, BEGUN, (2.5, "raised", {"process": 41, "why": "X"})], {"accepted": 1, "predicted": 1, "failed": 1}),
        ([*CALLED, BEGUN, MADE, SUCCESS, (2.6, "succeeded")], {"accepted": 1, "predicted": 1, "heard": 1}),
    ],
)
def test_a_verdict_counts_what_predictions_wrote_themselves(facts, expected):
    assert judge(of("one", *facts)) == Verdict(**expected)


def test_what_only_celery_speaks_of_is_no_prediction_of_the_trial():
    assert judge([*of("other", (1.0, "received"), (2.0, "succeeded")), fault("worker", 1, 2)]) == Verdict(faults=1)


def told(facts, faults, settings, is_rabbitmq=True):
    fate = fates(facts)["one"]
    return [sentence for _, sentence in story(fate, faults, settings, is_rabbitmq)]


def test_the_story_of_a_lost_one_says_where_it_was_and_which_setting_lost_it():
    lines = told(of("one", *CALLED, BEGUN, PENDING), [fault("worker", 2.2, 4, "one"), fault("worker", 6, 7)], {})
    assert lines == [
        "the producer called delay()",
        "delay() returned: the message was sent",
        "process 41 began to predict",
        "FAULT: kill -9 of the worker, process 7. It lasted 1.8 s.",
        "Its message had been acknowledged when it began, because task_acks_late is off. So the broker did not have it "
        "any more, and could not send it again.",
        "its result says PENDING, as for an id that nobody knows",
    ]


@pytest.mark.parametrize(
    "is_rabbitmq, says", [(True, "at once"), (False, "after visibility_timeout, or when the trial returned it")]
)
def test_the_story_of_one_that_ran_twice_says_why_it_came_back(is_rabbitmq, says):
    facts = of("one", *CALLED, BEGUN, *AGAIN, SUCCESS)
    lines = told(facts, [fault("worker", 2.2, 4, "one")], LATE | CONFIRMS, is_rabbitmq)
    assert "delay() returned: the broker had confirmed the message" in lines
    assert f"was not acknowledged, so {'RabbitMQ' if is_rabbitmq else 'Valkey'} gave it" in lines[4]
    assert says in lines[4]
    assert lines[5] == "process 42 began to predict, for the second time"


def test_the_story_of_one_that_valkey_lost_says_that_rabbitmq_does_not_have_this_gap():
    facts = of("one", *CALLED, PENDING)
    assert "closes this gap" in told(facts, [fault("worker", 2.2, 4)], LATE, is_rabbitmq=False)[3]
    assert len(told(facts, [fault("worker", 2.2, 4)], LATE, is_rabbitmq=True)) == 3


@pytest.mark.parametrize(
    "settings, says",
    [({}, "task_acks_late is off"), ({"task_acks_late": True}, "lost is off"), (LATE, "gave the message back")],
)
def test_the_story_of_a_killed_process_names_the_setting(settings, says):
    lines = told(of("one", *CALLED, BEGUN, PENDING), [fault("process", 2.2, 3, "one")], settings)
    assert says in lines[4]


def test_the_story_of_a_refused_one_says_that_the_broker_had_it():
    facts = of("one", (1.0, "called"), BEGUN, MADE, (6.0, "refused", {"why": "TimeoutError: timed out"}), SUCCESS)
    lines = told(facts, [fault("broker-frozen", 1.0, 7)], LATE | CONFIRMS)
    assert "delay() raised TimeoutError: timed out" in lines
    assert "RabbitMQ had the message, but delay() did not hear so in time." in lines


@pytest.mark.parametrize(
    "settings, result, says",
    [
        ({}, PENDING, "was dropped, because result_backend_always_retry is off"),
        ({"result_backend_always_retry": True}, PENDING, "although result_backend_always_retry is on"),
        ({}, SUCCESS, "kept the result until it could be stored"),
    ],
)
def test_the_story_of_a_result_says_what_became_of_it(settings, result, says):
    faults = [fault("results", 2.4, 4), fault("results", 6, 7)]
    lines = told(of("one", *CALLED, BEGUN, MADE, result), faults, settings)
    assert [says in line for line in lines] == [False, False, False, False, True, False, False], lines


@pytest.mark.parametrize(
    "facts, says",
    [
        ([(1.0, "called"), (6.0, "refused", {"why": "X"})], "did not take the message"),
        ([(1.0, "called"), (6.0, "accepted"), BEGUN, MADE], "got its answer late"),
        ([(1.0, "called"), (6.0, "accepted"), BEGUN, MADE, *AGAIN], "sent the message once more. RabbitMQ took both"),
        ([(9.0, "called"), (9.1, "accepted"), (9.2, "begun", {"process": 41})], None),
        ([(1.0, "called"), (1.1, "accepted"), BEGUN, MADE], None),  # it does not wait for an answer
    ],
)
def test_the_story_says_what_delay_made_of_a_frozen_broker(facts, says):
    lines = told(of("one", *facts), [fault("broker-frozen", 0.5, 7)], LATE | CONFIRMS)
    assert [line for line in lines if "FAULT" in line] == ([] if says is None else lines[:1])
    assert says is None or says in lines[1]


def test_the_story_of_one_that_had_just_ended_says_so():
    facts = of("one", *CALLED, BEGUN, MADE, *AGAIN, SUCCESS)
    lines = told(facts, [fault("worker", 2.53, 4), fault("worker", 7, 8)], LATE)
    assert [line for line in lines if "It had just ended" in line] == [lines[5]]
    assert "It had just ended" not in str(told(facts, [fault("process", 2.53, 4)], LATE)), "another process had it"


def test_the_story_of_one_that_the_network_swallowed_blames_that_fault_alone():
    faults = [fault("network", 0.5, 7), fault("network", 12, 13)]
    lines = told(of("one", *CALLED, PENDING), faults, {})
    assert lines[1] == "delay() had returned before RabbitMQ had its message for good, because confirm_publish is off."
    assert len([line for line in lines if "FAULT" in line]) == 1


def test_the_story_of_one_that_the_broker_never_had_blames_one_fault_and_says_why_delay_did_not_know():
    faults = [fault("broker", 1.05, 5), fault("network", 6, 7)]
    lines = told(of("one", *CALLED, PENDING), faults, {})
    assert [line for line in lines if "delay() had" in line] == [
        "delay() had returned before RabbitMQ had its message for good, because confirm_publish is off."
    ]
    assert "confirm_publish" not in told(of("one", *CALLED, PENDING), faults, CONFIRMS)[3]
    taken = of("one", *CALLED, (1.12, "received", {"worker": "w"}), PENDING)
    lines = told(taken, [fault("broker", 0.2, 0.9), fault("broker", 1.2, 5)], {})
    assert [line[:5] for line in lines] == ["the p", "delay", "w too", "FAULT", "delay", "its r"]


def test_what_a_worker_takes_again_and_does_not_begin_is_held_by_it():
    facts = of("one", *CALLED, (1.5, "received", {"worker": "w"}), BEGUN, (4.0, "received", {"worker": "w"}), *AGAIN)
    lines = told(facts, [fault("worker", 2.2, 3, "one"), fault("worker", 4.5, 4.9)], LATE)
    assert len([line for line in lines if "was not acknowledged" in line]) == 2


def test_a_message_that_is_held_while_the_broker_is_frozen_is_not_delivered_again():
    received = (1.5, "received", {"worker": "w"})
    facts = of("one", *CALLED, received, BEGUN, MADE)
    assert not any("FAULT" in line for line in told(facts, [fault("broker-frozen", 1.8, 9)], LATE))
    lines = told([*facts, *of("one", (5.0, "received", {"worker": "w"}))], [fault("broker", 1.8, 4)], LATE)
    assert "RabbitMQ did not have its acknowledgement, so it delivered the message again." in lines


def test_a_cold_worker_gives_back_to_valkey_what_it_holds():
    facts = of("one", *CALLED, BEGUN, *AGAIN)
    lines = told(facts, [fault("worker-cold", 2.2, 4, "one")], LATE, is_rabbitmq=False)
    assert "Its message was not acknowledged, so its worker put it back into Valkey's list as it ended." in lines


@pytest.mark.parametrize("kind", ["flower", "flower-frozen", "results-frozen", "worker-frozen"])
def test_delay_does_not_hear_of_what_is_no_broker(kind):
    facts = of("one", (1.0, "called"), (6.0, "accepted"), BEGUN, MADE)
    assert "delay() got" not in str(told(facts, [fault(kind, 0.5, 5)], LATE | CONFIRMS))


def test_faults_that_met_others_are_not_in_a_story():
    lines = told(of("one", *CALLED, BEGUN, MADE, SUCCESS), [fault("process", 2.2, 3, "other")], LATE)
    assert not any("FAULT" in line for line in lines)


def test_a_held_message_is_given_back_once_and_not_by_each_later_kill():
    facts = of("one", *CALLED, (1.5, "received", {"worker": "w"}), *AGAIN, (6.0, "received", {"worker": "w"}))
    lines = told(facts, [fault("worker", 2.2, 4), fault("worker", 7, 8), fault("worker", 9, 10)], LATE)
    assert len([line for line in lines if "FAULT" in line]) == 2


def test_the_worst_is_told_first():
    lost, twice = of("lost", *CALLED, BEGUN, PENDING), of("twice", *CALLED, BEGUN, MADE, *AGAIN, SUCCESS)
    fate, what = chosen(fates([*twice, *lost]))
    assert (fate.id, what) == ("lost", "was lost")
    assert chosen(fates(of("fine", *CALLED, BEGUN, MADE, SUCCESS))) is None


def test_a_seed_gives_the_same_faults_again_and_another_seed_others():
    kinds = OF_A_TRIAL
    assert plan(kinds, 7, 60) == plan(kinds, 7, 60) != plan(kinds, 8, 60)


@pytest.mark.parametrize("kinds", [["worker"], ["process", "broker"], OF_A_TRIAL])
def test_every_kind_is_injected_in_the_time_of_the_trial(kinds):
    seconds = seconds_for(kinds)
    for seed in range(50):
        faults = plan(kinds, seed, seconds)
        assert {one.kind for one in faults} == set(kinds)
        assert 3 <= len(faults) == max(3, len(kinds))
        assert [one.at for one in faults] == sorted(one.at for one in faults)
        assert faults[0].at > 0 and faults[-1].at < seconds


@pytest.mark.parametrize("with_results", [True, False])
def test_a_soak_has_each_kind_and_more_of_those_that_are_soon_over(with_results):
    kinds = [one.kind for one in plan_soak(3, 600, with_results)]
    assert set(kinds) == {kind for kind in KINDS if with_results or "results" not in kind}
    assert kinds.count("process") > kinds.count("worker") > kinds.count("broker")
    assert plan_soak(3, 600, with_results) == plan_soak(3, 600, with_results) != plan_soak(4, 600, with_results)


BEGIN = {"time": 1.0, "fact": "trial", "seed": 7, "kinds": ["worker"], "defaults": False, "settings": LATE}


def test_a_record_is_whole_or_not_there(tmp_path):
    path = write([BEGIN, *of("one", *CALLED), Verdict(accepted=1, lost=1).as_fact(9.0)], tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    (record,) = trials(tmp_path)
    assert record == read(path)
    assert record.verdict == Verdict(accepted=1, lost=1)
    assert (record.seed, record.kinds, record.defaults, record.settings) == (7, ["worker"], False, LATE)


@pytest.mark.parametrize("text", ["", "{}", "null", "no JSON", json.dumps(BEGIN), f"{json.dumps(BEGIN)}\n[]"])
def test_what_is_no_record_of_a_trial_is_said_so(tmp_path, text):
    path = tmp_path / "2026-01-01_00-00-00_1_trial.jsonl"
    path.write_text(text)
    assert list(trials(tmp_path)) == []
    with pytest.raises(Fault, match="is not the record of a trial"):
        read(path)


def test_a_table_leaves_out_what_did_not_happen():
    lines = list(table({"your settings": Verdict(accepted=3, lost=1)}, with_results=False))
    assert lines[0].strip() == "your settings"
    assert ["lost", "1"] in [line.split() for line in lines]
    assert not any("missing" in line or "dead" in line for line in lines)
