"""`lab trial`, judged by what its predictions wrote down themselves."""

import json
import re

import pytest

from e2e.student import eventually
from lab.trial.plan import plan
from lab.trial.story import story
from lab.trial.verdict import fates

LAB = ["python", "-m", "lab"]
WORKER = ["worker", "process", "worker-cold", "results"]
BROKER = ["broker-frozen", "broker", "network"]
DEFAULTS = "with Celery's defaults"


def trial(student, *options, seconds=110):
    """What a trial prints, and its exit status."""
    printed, status = student.run(*LAB, "trial", *options, seconds=seconds)
    assert "Traceback" not in printed
    student.nothing_runs()
    return printed, status


def kinds(*those):
    return [option for kind in those for option in ("--break", kind)]


def records(student):
    """The facts of each trial, the oldest first."""
    files = sorted((student.path / ".lab/runs").glob("*_trial.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def ids(facts, kind):
    return [fact["id"] for fact in facts if fact["fact"] == kind]


def row(printed, words):
    """The numbers of a row of the table."""
    return [int(number) for number in re.search(rf"^{words} +([\d ]+)$", printed, re.MULTILINE)[1].split()]


@pytest.mark.parametrize("those", [WORKER, BROKER], ids=["worker", "broker"])
@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_nothing_is_lost_with_the_settings_of_the_lab(student, scheme, those):
    """With Redis as broker, a worker that is killed can lose the message that it is taking in that moment."""
    student.broker = f"{scheme}://localhost:1"
    printed, status = trial(student, *kinds(*those), "--number", "60", "--seconds", "12")
    (facts,) = records(student)
    injected = {fact["kind"] for fact in facts if fact["fact"] == "fault"} - {"worker-ended"}
    assert injected == set(those)  # a worker that holds messages of Valkey's may end when that is killed: kombu's flaw
    accepted, made = ids(facts, "accepted"), ids(facts, "made")
    lost = set(accepted) - set(made)
    assert row(printed, "lost") == [len(lost)]
    assert status == bool(lost)
    if lost:
        assert scheme == "redis", printed
        assert not lost & set(ids(facts, "begun"))
        assert len(lost) <= sum(fact["fact"] == "fault" and fact["kind"].startswith("worker") for fact in facts)
        assert "before it had noted that" in printed
    assert row(printed, "results missing") == [0]
    assert row(printed, "accepted by delay\\(\\)") == [len(accepted)]
    assert row(printed, "refused with an error") == [len(ids(facts, "refused"))]
    begun = ids(facts, "begun")
    assert row(printed, "begun more than once") == [sum(begun.count(task) > 1 for task in set(begun))]
    if those == WORKER:
        assert row(printed, "begun more than once") > [0], "the faults met nothing"
    if those == BROKER and scheme == "amqp":  # which is away for seconds
        refused = fates(facts)[ids(facts, "refused")[0]]
        zero = min(fact["time"] for fact in facts if fact["fact"] == "called")
        faults = [fact for fact in facts if fact["fact"] == "fault"]
        hops = [(at and at - zero, hop) for at, hop in story(refused, faults, facts[0]["settings"], True)]
        agree(facts, refused.id, [hop for hop in hops if hop[0]])
        assert ("had the message" in str(hops)) == (refused.id in made)
        assert ("did not take the message" in str(hops)) == (refused.id not in made)


def told(printed, heading):
    """The id of a story, what happened to it, and its hops, as (seconds, sentence)."""
    task, what = re.search(rf"The story of (\S+), which (.*), {heading}:\n", printed).groups()
    text = printed.partition(f", {heading}:\n")[2].partition("\n\n")[0]
    return task, what, [(float(at), hop) for at, hop in re.findall(r"^ *([\d.]+) s  (.*)$", text, re.MULTILINE)], text


def agree(facts, task, hops):
    """Assert that the hops of a story are what the prediction and the producer wrote down."""
    zero = min(fact["time"] for fact in facts if fact["fact"] == "called")
    words = {"called": "called", "accepted": "returned", "refused": "raised", "begun": "began", "made": "finished"}
    truth = [(fact["time"] - zero, fact) for fact in facts if fact.get("id") == task and fact["fact"] in words]
    seen = [hop for hop in hops if re.search("delay|began|finished", hop[1])]
    assert len(seen) == len(truth)
    for (at, hop), (time, fact) in zip(seen, sorted(truth, key=lambda one: one[0]), strict=True):
        assert at == pytest.approx(time, abs=0.006)
        assert words[fact["fact"]] in hop
        assert str(fact.get("process", "")) in hop


def test_the_table_shows_what_the_settings_buy_and_the_stories_are_the_truth(student):
    student.broker = "amqp://localhost:1"
    with (student.path / "celeryconfig.py").open("a") as settings:
        settings.write('\ntask_routes = {"*": "a queue of its own"}\n')  # Celery's own settings have another one
    printed, status = trial(student, "--defaults", "--number", "60", "--seconds", "10", "--seed", "3")
    assert status == 0, printed
    yours, defaults = records(student)
    assert [facts[0]["defaults"] for facts in (yours, defaults)] == [False, True]
    planned = [fault.at for fault in plan(["worker"], 3, 10)]
    for facts in yours, defaults:
        assert [fact["planned"] for fact in facts if fact["fact"] == "fault"] == planned, "a seed gives other faults"
    assert yours[0]["settings"]["task_acks_late"] is True
    lost = set(ids(defaults, "accepted")) - set(ids(defaults, "made"))
    assert row(printed, "lost") == [0, len(lost)]
    assert lost
    task, what, hops, text = told(printed, "with your settings")
    assert re.fullmatch("was (begun|made) more than once", what)
    assert ids(yours, "begun").count(task) > 1
    agree(yours, task, hops)
    assert "Its message was not acknowledged, so RabbitMQ gave it to the next worker" in text
    task, what, hops, text = told(printed, DEFAULTS)
    assert what == "was lost"
    assert task in lost
    agree(defaults, task, hops)
    assert "task_acks_late is off" in text
    fault = next(fact for fact in defaults if fact["fact"] == "fault" and task in fact["running"])
    assert f"process {fault['process']}" in text
    picture = next((student.path / ".lab/runs").glob("*.svg")).read_text()
    assert task in picture or told(printed, "with your settings")[0] in picture
    assert "kill -9 of the worker" in picture
    again, _ = student.run(*LAB, "picture")
    assert "_trial.svg" in again


def test_a_trial_touches_nothing_of_a_lab_that_runs(with_valkey):
    lab = with_valkey.open(*LAB, "start")
    lab.see("Enter a message:")
    before = {process.pid for process in with_valkey.processes()}
    claims = {path.name: path.read_text() for path in (with_valkey.path / ".lab").glob("*.claim")}
    printed, status = with_valkey.run(*LAB, "trial", *kinds("process"), "--number", "8", "--seconds", "1", seconds=90)
    assert status == 0, printed
    assert eventually(lambda: {process.pid for process in with_valkey.processes()} == before, "only the lab is left")
    assert {path.name: path.read_text() for path in (with_valkey.path / ".lab").glob("*.claim")} == claims
    assert "trial-" not in (with_valkey.path / ".lab/worker.log").read_text()
    lab.sendline("Is it still there?")
    lab.see("Sent as task", "question")


@pytest.mark.timeout(200)
def test_a_soak_accounts_for_everything(student):
    student.broker = "amqp://localhost:1"
    printed, status = student.run(*LAB, "soak", "0.5", "--seed", "1", seconds=170)
    assert status == 0, printed
    student.nothing_runs()
    (facts,) = records(student)
    dead = {fact["id"]: fact["reason"] for fact in facts if fact["fact"] == "dead"}
    made = set(ids(facts, "made"))
    assert set(ids(facts, "accepted")) <= made | dead.keys()
    assert {"trial-40", "malformed-20"} <= dead.keys() | set(ids(facts, "refused"))
    assert all(reason.endswith(".") for reason in dead.values())
    assert row(printed, "in the dead-letter queue") == [len(dead)]
    assert sum(fact["fact"] == "fault" for fact in facts) > 3


@pytest.mark.parametrize("moment", ["Starting a worker", "Sending", "kill -9", "Waiting for the end"])
def test_ctrl_c_leaves_nothing_running_and_no_file_half_written(student, moment):
    terminal = student.open(*LAB, "trial", "--number", "20", "--seconds", "2")
    terminal.see(moment)
    terminal.sendintr()
    terminal.see("Interrupted. All that was started here has ended")
    assert terminal.left() == 130, terminal.seen + terminal.before
    assert "Traceback" not in terminal.seen + terminal.before
    student.nothing_runs()
    assert not list((student.path / ".lab/runs").iterdir())


@pytest.mark.parametrize(
    "options, line, sentence",
    [
        (["--break", "everything"], "", "'everything' is not one of"),
        (["--break", "results"], "result_backend = None", "has no result_backend that could be broken"),
        ([], 'broker_read_url = "amqp://localhost"', "broker_read_url in celeryconfig.py is set, so a trial"),
    ],
)
def test_what_cannot_be_tried_is_said_so(student, options, line, sentence):
    with (student.path / "celeryconfig.py").open("a") as configuration:
        configuration.write(f"{line}\n")
    printed, status = student.run(*LAB, "trial", *options, CELERY_RESULT_BACKEND="")
    assert status != 0
    assert sentence in " ".join(printed.split())
    assert not (student.path / ".lab/runs").exists()


def test_an_address_in_the_environment_that_a_trial_cannot_replace_is_refused(student):
    printed, status = student.run(*LAB, "trial", CELERY_BROKER_WRITE_URL="redis://localhost:1/0")
    assert status == 1
    assert "CELERY_BROKER_WRITE_URL in the environment is set, so a trial could meet your own" in printed
