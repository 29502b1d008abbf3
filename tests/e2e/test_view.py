"""`burst`, `view` and `picture` against real workers, and against what the predictions themselves wrote down."""

import json
import re
import signal
import socket
import sys
import time
from collections import Counter
from xml.etree import ElementTree

import psutil
import pytest
from celery.events.event import get_exchange

from e2e.learner import Learner
from e2e.student import Terminal, eventually
from lab.live.history import History
from lab.live.picture import rows
from lab.messages import take_back
from lab.probe.address import Address
from lab.probe.queue import waiting
from lab.probe.rabbitmq import totals
from lab.probe.workers import workers

CONFIG = """
broker_url = "amqp://nobody@localhost:1//"
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
broker_connection_retry_on_startup = True
"""
# Each attempt writes down when it began and ended, and in which process; some fail, are tried again, or kill it.
APP = """
import json, os, pathlib, signal, time
from celery import Celery

app = Celery("my_ml_app")
app.config_from_object("celeryconfig")

@app.task(bind=True, max_retries=1)
def predict(self, payload):
    diary = {"id": self.request.id, "process": os.getpid(), "started": time.time()}
    what = payload["message"].partition(" ")[0]
    first = not pathlib.Path(self.request.id).exists()
    pathlib.Path(self.request.id).touch()
    time.sleep(payload.get("seconds", 1))
    diary["outcome"] = {"3": "failed", "5": "retried", "7": "returned"}.get(what, "succeeded")
    if diary["outcome"] in ("retried", "returned") and not first:
        diary["outcome"] = "succeeded"
    with open("diary", "a") as file:
        file.write(json.dumps(diary | {"ended": time.time()}) + "\\n")
    if diary["outcome"] == "failed":
        raise ValueError("as asked")
    if diary["outcome"] == "retried":
        raise self.retry(countdown=0)
    if diary["outcome"] == "returned":
        os.kill(os.getpid(), signal.SIGKILL)
"""
ZONES = 15 * 60  # seconds: no two time zones differ by less
RUN = r"its data +(\S+\.jsonl)"


@pytest.fixture
def lab(served):
    """A student whose predictions keep a diary; workers send no events until somebody asks."""
    (served.path / "celeryconfig.py").write_text(CONFIG)
    (served.path / "my_ml_app.py").write_text(APP)
    return served


def worker(student, name, *options):
    terminal = student.open("celery", "-A", "my_ml_app", "worker", "--without-mingle", "-n", name, *options)
    eventually(lambda: workers(student.app, [name]), "the worker answers")
    return terminal


def burst(student, *options):
    return student.open("python", "-m", "lab", "burst", *options)


def view(student, columns=80):
    terminal = Terminal(
        [sys.executable, "-m", "lab", "view"], cwd=str(student.path), env=student.env, dimensions=(24, columns)
    )
    student.terminals.append(terminal)
    return terminal


def history(student, printed):
    return History.read(student.path / re.search(RUN, printed)[1])


def test_a_burst_agrees_with_what_its_predictions_wrote_down(lab):
    student = lab
    worker(student, "one@here", "--autoscale=3,1")
    worker(student, "two@here", "-c", "2")
    printed, status = student.run("python", "-m", "lab", "burst", "12", "--seconds", "1.5")
    assert status == 0, printed
    assert "12 of 12 sent: 11 succeeded, 1 failed." in printed
    last = [line for line in printed.splitlines() if "sent 12" in line][-1]
    assert "Ready 0  Unacked 0  running 0/5  done 11  failed 1" in last
    assert re.search(r"on average, a prediction waited \d\.\d s and ran for 1\.[56] s", printed)
    assert "A prediction failed: ValueError('as asked')" in printed
    assert not [line for line in printed.splitlines() if len(line) > 80]
    diary = [json.loads(line) for line in (student.path / "diary").read_text().splitlines()]
    seen = {(one.id, one.outcome): one for one in history(student, printed).ended}
    assert Counter(outcome for _, outcome in seen) == {"succeeded": 11, "failed": 1, "retried": 1, "returned": 1}
    for entry in diary:
        attempt = seen[entry["id"], entry["outcome"]]
        assert attempt.process == entry["process"]
        assert attempt.sent - 0.3 < attempt.started == pytest.approx(entry["started"], abs=0.3)
        late = {"succeeded": 0.3, "returned": 10}.get(attempt.outcome, 2)  # when Celery notices that a process is gone
        assert -0.3 < attempt.ended - entry["ended"] < late
    assert {one.worker for one in seen.values()} == {"one@here", "two@here"}
    pictured_as_in(diary, student, printed)


def pictured_as_in(diary, student, printed):
    past = history(student, printed)
    assert past.sizes[0][0] < min(one.sent for one in past.ended)  # the pool was known before it had something to do
    assert [what for _, _, what in past.incidents] == ["a prediction went back into the queue"]
    drawn = [(work.attempt, row) for those in rows(past).values() for row in those for work in row.works]
    assert len(drawn) == len(diary)
    assert all(one.process in row.processes for one, row in drawn)
    assert sorted(map(len, rows(past).values())) == [2, 3]  # the killed process and the one after it share a row
    svg, png = ((student.path / path).read_bytes() for path in re.findall(r"picture +(\S+)", printed))
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert png.startswith(b"\x89PNG")


def test_a_view_shows_what_others_sent_from_before_they_began(lab):
    student = lab
    terminal = view(student)
    terminal.see("No worker answers")
    worker(student, "one@here", "-c", "2")
    terminal.see(r"one@here", r"□□", "2 processes, 0 busy")
    tasks = [student.app.send_task("my_ml_app.predict", [{"message": "hello", "seconds": 4}]).id for _ in range(5)]
    terminal.see(r"5 +3 +2 +2 +0 +0 ", "queue +celery .*3 Ready", "■■", "2 processes, 2 busy")
    assert waiting(student.app) == 3
    terminal.see(r"5 +0 +0 +0 +5 +0 ")
    terminal.sendintr()
    path = terminal.see(RUN)[1]
    terminal.left()
    ended = History.read(student.path / path).ended
    assert {one.id for one in ended} == set(tasks)
    assert len({one.process for one in ended}) == 2


def test_a_view_opened_in_the_middle_knows_what_runs(lab):
    student = lab
    worker(student, "one@here", "-c", "2")
    task = student.app.send_task("my_ml_app.predict", [{"message": "hello", "seconds": 8}]).id
    eventually((student.path / task).exists, "it runs")
    terminal = view(student, 200)
    terminal.see("■.*□.*2 processes, 1 busy", "□□.*2 processes, 0 busy")
    terminal.sendintr()
    ended = History.read(student.path / terminal.see(RUN)[1]).ended
    assert [(one.id, one.outcome, one.process is None) for one in ended] == [(task, "succeeded", False)]
    assert ended[0].ended - ended[0].started == pytest.approx(8, abs=0.3)


def test_why_nothing_happens_is_said(with_valkey):
    """Workers that take from another queue, that are suspended, and what somebody else had sent before."""
    student = with_valkey
    student.ask("before")
    other = worker(student, f"other@{socket.gethostname()}", "-c", "1", "-Q", "other")
    terminal = view(student, 200)
    terminal.see("Messages wait in 'celery', but workers take only from: other")
    psutil.Process(other.pid).suspend()
    terminal.see(f"other@{socket.gethostname()} is suspended: type `fg`")
    psutil.Process(other.pid).resume()
    terminal.see("Messages wait in 'celery'")
    terminal = burst(student, "2")
    terminal.see("Messages that were there before the burst, and are counted too: 1")


def test_what_rabbitmq_counts_is_true_at_once(with_rabbitmq):
    """And not seconds later, as its dashboard's pages have it."""
    student, broker = with_rabbitmq, Address(with_rabbitmq.broker)
    for _ in range(3):
        student.ask("hello")
    with student.app.connection() as connection:
        connection.default_channel.basic_get("celery")
        assert totals(broker.management, broker) == {"celery": (2, 1)}


def test_what_is_taken_back_and_what_is_not(served):
    """From behind a thousand messages of others, which keep their places, however it ends."""
    student, ours = served, {f"ours-{number}" for number in range(20)}
    before, after = [f"before {number}" for number in range(1000)], [f"after {number}" for number in range(50)]
    with student.app.producer_pool.acquire(block=True) as producer:
        for task in [*before, *sorted(ours), *after]:
            payload = {"message": task}
            student.app.send_task("my_ml_app.predict", [payload], task_id=task, producer=producer, retry=False)
        # Whoever may send messages may send these too.
        producer.publish("no task", routing_key="celery", retry=False)
    eventually(lambda: waiting(student.app) == 1071, "all of them wait")
    left = set(ours)
    take_back(student.app, "celery", left, seconds=0)
    assert left == ours

    class Interrupted(set):
        def discard(self, task):
            super().discard(task)
            raise KeyboardInterrupt

    left = Interrupted(ours)
    with pytest.raises(KeyboardInterrupt):
        take_back(student.app, "celery", left)
    assert len(left) == 19
    eventually(lambda: waiting(student.app) == 1070, "the others are back")
    left = {*left, "never sent"}
    take_back(student.app, "celery", left)
    assert left == {"never sent"}
    eventually(lambda: waiting(student.app) == 1051, "the others are back")
    with student.app.connection() as connection:
        got = [connection.default_channel.basic_get("celery") for _ in range(1050)]
    assert [message.headers["id"] for message in got] == [*before, *after]


def test_a_view_passes_over_events_that_it_cannot_read(lab):
    """They are counted; those after them are seen, also when what came was no event at all."""
    student = lab
    worker(student, "one@here", "-c", "1")
    terminal = view(student, 200)
    terminal.see("1 process, 0 busy")
    with student.app.connection() as connection:
        producer = connection.Producer(exchange=get_exchange(connection), serializer="json")
        right = {
            "type": "task-rejected",
            "uuid": "1",
            "hostname": "one@here",
            "timestamp": time.time(),
            "requeue": True,
        }
        for event in ("text", right | {"requeue": None}, right | {"uuid": {}}, right | {"timestamp": float("nan")}):
            producer.publish(event, routing_key="task.rejected")
        options = {"content_type": "application/x-no-such", "content_encoding": "binary", "compression": None}
        producer.publish(b"\xff", routing_key="task.rejected", **options)
        terminal.see("5 events could not be read")
        if Address(student.broker).is_redis:
            client = connection.default_channel.client
            channel = client.pubsub_channels("*celeryev*")
            for garbage in (b"\xff", b"[]", b"7", b"{}", b'{"properties": 7, "body": 1}'):
                for name in channel or ["/1.celeryev/task.x"]:
                    client.publish(name, garbage)
    student.app.send_task("my_ml_app.predict", [{"message": "hello", "seconds": 1}], task_id="\x1b[31m[red]")
    terminal.see("1 process, 1 busy", "1 process, 0 busy")
    terminal.sendintr()
    terminal.see("picture")
    terminal.left()
    assert "Traceback" not in terminal.seen and "Exception" not in terminal.seen


def test_a_burst_with_one_connection_no_dashboard_and_a_predict_that_takes_its_time(with_rabbitmq):
    """And that asks to be tried again later: until then its worker has it, though nobody tells Unacked."""
    student = with_rabbitmq
    text = (student.path / "celeryconfig.py").read_text()
    (student.path / "celeryconfig.py").write_text(f"{text}\nbroker_pool_limit = 1\n")
    (student.path / "my_ml_app.py").write_text(
        "import time\n"
        "from celery import Celery\n"
        'app = Celery("my_ml_app")\n'
        'app.config_from_object("celeryconfig")\n'
        "@app.task(bind=True)\n"
        "def predict(self, payload):\n"
        "    time.sleep(2)\n"
        '    if payload["message"].startswith("1 ") and not self.request.retries:\n'
        "        raise self.retry(countdown=7)\n"
    )
    worker(student, "one@here", "-c", "2")
    port = Address(student.broker).port
    student.broker = student.broker.replace(f":{port}/", f":{Learner.forward(port)}/")
    printed, status = student.run("python", "-m", "lab", "burst", "2", "--seconds", "0.1")
    assert status == 0, printed
    lines = printed.splitlines()
    early, first = ([line for line in lines if part in line] for part in ("changes nothing", "done 1"))
    assert lines.index(early[0]) < lines.index(first[0])
    assert "your predict does not read payload" in early[0]
    assert "Unacked is unknown: RabbitMQ's dashboard does not answer." in lines
    said = r"2 of 2 sent: 2 succeeded\. A prediction took 2\.\d s, not 0\.1: your predict does not sleep"
    assert re.search(said, printed), lines[-5:]  # a busy machine takes a little longer


def test_a_view_of_nothing_draws_nothing(student):
    terminal = view(student)
    terminal.see(r"Waiting … Nothing listens at localhost:\d+\.")
    terminal.sendintr()
    terminal.see("No prediction was seen, so there is nothing to draw.")
    terminal.left()
    assert not list((student.path / ".lab" / "runs").iterdir())


def test_a_broker_that_goes_away_and_comes_back(with_valkey):
    student = with_valkey
    terminal = view(student)
    terminal.see("No worker answers")
    broker = student.given.pop()
    broker.send_signal(signal.SIGTERM)
    broker.wait()
    terminal.see("Waiting … Nothing listens at ")
    student.open(*map(str, broker.args), "--appendonly", "no")
    terminal.see("the broker was away", "No worker answers")
    student.ask("hello")
    terminal.see("1 Ready")
    terminal.sendintr()
    terminal.see("No prediction was seen")
    terminal.left()


def test_a_virtual_host_that_goes_away_and_comes_back(with_rabbitmq, rabbitmq):
    student, (api, _) = with_rabbitmq, rabbitmq
    name = student.broker.rpartition("/")[2]
    terminal = view(student, 200)
    terminal.see("No worker answers")
    api.delete(f"/vhosts/{name}").raise_for_status()
    terminal.see("Waiting … .*has no virtual host")
    api.put(f"/vhosts/{name}").raise_for_status()
    api.put(f"/permissions/{name}/myuser", json={"configure": ".*", "write": ".*", "read": ".*"}).raise_for_status()
    terminal.see("the broker was away", "No worker answers")
    student.ask("hello")
    terminal.see("1 Ready")


def test_a_worker_that_is_ended_finishes_what_it_runs(lab):
    """Ctrl-C at the worker: what runs is not called lost, and what it gives back is not counted twice."""
    student = lab
    name = f"one@{socket.gethostname()}"
    ended = worker(student, name, "-c", "2")
    terminal = burst(student, "3", "--seconds", "4")
    terminal.see("2 processes, 2 busy")
    ended.sendintr()
    terminal.see(f"{name} ended")
    worker(student, "two@here", "-c", "2", "--task-events")  # on a busy machine it may have ended before anybody asks
    terminal.see("3 of 3 sent: 2 succeeded, 1 failed.")  # the third one fails always
    past = History.read(student.path / terminal.see(RUN)[1])
    assert sorted(one.outcome for one in past.ended) == ["failed", "succeeded", "succeeded"]
    assert past.total == 3


def test_times_do_not_depend_on_time_zones(with_valkey):
    student = with_valkey
    student.open("celery", "-A", "my_ml_app", "worker", "-c", "2", TZ="UTC")
    eventually(lambda: workers(student.app), "the worker answers")
    printed, _ = student.run("python", "-m", "lab", "burst", "2", "--seconds", "1", TZ="Asia/Tokyo")
    past = history(student, printed)
    assert past.now - past.begin < ZONES
    assert all(0 <= one.started - one.sent < ZONES for one in past.ended)


def test_a_follower_leaves_no_connection_behind(with_valkey):
    student = with_valkey
    terminal = view(student)
    terminal.see("No worker answers")
    with student.app.connection() as connection:
        client = connection.default_channel.client
        before = client.info("clients")["connected_clients"]
        terminal.see("12 s")
        assert client.info("clients")["connected_clients"] <= before + 2


@pytest.mark.parametrize("answer, kept", [("y", False), ("n", True)])
def test_ctrl_c_stops_a_burst_and_asks_what_to_do_with_what_waits(with_rabbitmq, answer, kept):
    student = with_rabbitmq
    terminal = burst(student, "40", "--over", "40")
    terminal.see(r"4 +4 +0 +0 +0 +0 ", "No worker answers")
    terminal.sendintr()
    number = int(terminal.see(r"(\d+) of \d+ predictions have not begun")[1])
    terminal.see(r"Take them back out of the queue\?")
    terminal.sendline(answer)
    assert terminal.left() == 130
    assert len(student.messages()) == number * kept


def test_what_ends_while_a_burst_asks_is_counted(lab):
    (lab.path / "diary").touch()
    one = worker(lab, "one@here", "-c", "1")
    terminal = burst(lab, "2", "--seconds", "1")
    terminal.see("1 process, 1 busy")
    terminal.sendintr()
    terminal.see(r"Take them back out of the queue\?")
    eventually(lambda: (lab.path / "diary").read_text().count("succeeded") == 2, "both have ended")
    one.sendintr()
    one.left()  # and with it all that it had to tell
    terminal.sendline("y")
    terminal.see(r"2 of 2 sent: 2 succeeded\.")


def test_predictions_that_nobody_has_are_called_lost(with_rabbitmq):
    """A worker that acknowledges early is killed: its predictions are in no queue, and in no worker."""
    student = with_rabbitmq
    (student.path / "celeryconfig.py").write_text('broker_url = "amqp://nobody@localhost:1//"\n')
    killed = worker(student, "one@here", "-c", "2")
    terminal = burst(student, "2", "--seconds", "30")
    terminal.see("2 processes, 2 busy")
    for process in [*psutil.Process(killed.pid).children(recursive=True), psutil.Process(killed.pid)]:
        process.kill()
    terminal.see(r"was lost", r"2 of 2 sent: 2 lost \(neither a queue nor a worker has them\)")
    past = History.read(student.path / terminal.see(RUN)[1])
    assert [one.outcome for one in past.ended] == ["lost", "lost"]
