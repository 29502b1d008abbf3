"""The worker of exercise 19, in Node.js, as Python, Flower and a Celery worker see it; and hostile messages.

LAB_FUZZ messages are sent to it; 40 without that, 1,000 are many.
"""

import json
import os
import shutil
import signal
import uuid
from collections import Counter

import amqp
import httpx
import pytest
import redis
from celery.exceptions import TaskRevokedError
from conftest import ROOT
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some
from kombu import Connection

from e2e.student import eventually, require
from e2e.test_guard_fuzz import PREDICT, made, messages

NUMBER = int(os.environ.get("LAB_FUZZ", "40"))
EXERCISE = ROOT / "exercises/19_node_worker"
TASK, QUEUE, REJECTED = "js_ml_app.predict", "js_ml_app", "rejected"
GOOD = {"message": "Größe: “日本” 🎉?"}
SETTINGS = {"max_examples": NUMBER // 4, "derandomize": "LAB_FUZZ" not in os.environ, "deadline": None}
SETTINGS |= {"database": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.generate]}


class Bench:
    """A student who has solved exercise 19, whose broker and result backend run."""

    def __init__(self, student):
        self.student, self.app = student, student.app
        (student.path / "node_modules").symlink_to(ROOT / ".venv/node/node_modules")
        for file in (EXERCISE / "solution/worker.mjs", EXERCISE / "stub/use_js_app.py"):
            shutil.copy(file, student.path)
        self.connection = Connection(student.broker)

    def start(self, *arguments, **env):
        """A worker in a terminal of its own, once it takes messages."""
        terminal = self.student.open("node", "worker.mjs", *arguments, **{"PREDICT_SECONDS": "0"} | env)
        terminal.see("Waiting for messages")
        return terminal

    def ask(self, payload=GOOD, queue=QUEUE, **options):
        return self.app.send_task(TASK, [payload], queue=queue, **options)

    def publish(self, body, headers, queue=QUEUE, **properties):
        """Send a message as it is. Whether RabbitMQ takes it."""
        try:
            message = amqp.Message(body, application_headers=headers, **properties)
            self.connection.default_channel.basic_publish_confirm(message, routing_key=queue)
        except amqp.AMQPError:
            self.connection.close()
            return False
        return True

    def length(self, queue=QUEUE):
        return self.connection.default_channel.queue_declare(queue, passive=True).message_count

    def close(self):
        self.connection.release()


@pytest.fixture
def bench(with_rabbitmq):
    require("Node.js", shutil.which("node"))
    bench = Bench(with_rabbitmq)
    yield bench
    bench.close()


def test_python_reads_what_became_of_a_task(bench):
    bench.start()
    done = bench.ask()
    result = done.get(timeout=10)
    assert result == {"message": GOOD["message"], "prediction": "question", "process": result["process"]}
    assert done.state == "SUCCESS" and done.date_done and done.children == []
    assert bench.app.send_task(TASK, kwargs={"payload": GOOD}, queue=QUEUE, expires=60).get(timeout=10) == result
    failed = bench.ask("no payload")
    with pytest.raises(ValueError, match="predict needs"):
        failed.get(timeout=10)
    assert failed.state == "FAILURE" and "at predict (file:" in failed.traceback
    expired = str(uuid.uuid4())  # not with Celery, which lets RabbitMQ throw it away
    headers = {"task": TASK, "id": expired, "expires": "2026-01-01T00:00:00.123456+00:00"}
    assert bench.publish(json.dumps([[GOOD], {}, {}]), headers, content_type="application/json")
    with pytest.raises(TaskRevokedError, match="expired"):
        bench.app.AsyncResult(expired).get(timeout=10)
    printed, status = bench.student.run("python", "use_js_app.py", "yes")
    assert status == 0 and "'prediction': 'statement'" in printed


def test_flower_shows_it_and_its_tasks(bench):
    student = bench.student
    student.open("celery", "-A", "my_ml_app", "flower", FLOWER_UNAUTHENTICATED_API="true").unwatched()
    with httpx.Client(base_url=student.flower) as flower:

        def ask(path):
            try:
                return flower.get(path).raise_for_status().json()
            except httpx.HTTPError:
                return {}

        terminal = bench.start()

        def row():
            """What Flower shows of it. A sign of life comes every 2 seconds."""
            return next((one for one in ask("/workers?json=1").get("data", []) if one["pid"] == terminal.pid), {})

        name = eventually(lambda: row().get("status") and row()["hostname"], "Flower shows the worker")
        states = {bench.ask().id: "SUCCESS", bench.ask("no payload").id: "FAILURE"}

        def shown():
            tasks = ask("/api/tasks")
            return {task: tasks[task]["state"] for task in states if task in tasks} == states and tasks

        for task, facts in eventually(shown, "Flower shows its tasks").items():
            assert facts["name"] == TASK and facts["worker"] == name and facts["received"] and facts["started"]
            assert ("ValueError" in (facts["exception"] or "")) == (states[task] == "FAILURE")
        eventually(lambda: row()["processed"] == 2, "Flower shows that it has done two")
        terminal.kill(signal.SIGTERM)
        eventually(lambda: row()["status"] is False, "Flower shows that it has left")
        assert terminal.left() == 0


def test_at_one_queue_each_worker_throws_away_what_the_other_could_do(bench):
    student = bench.student
    node = bench.start("celery")
    stock = ["worker", "--concurrency=2", "--", "worker_consumer=celery.worker.consumer:Consumer"]  # without guard.py
    celery = student.open("celery", "-A", "my_ml_app", *stock, PREDICT_SECONDS="0")
    eventually(lambda: consumers(bench, "celery") == 2, "both take messages")
    asked = [student.ask(f"message {number}") for number in range(6)]
    eventually(lambda: bench.length("celery") == 0, "all messages are taken")
    node.sendintr()
    assert node.left() == 0
    refused = node.before.count("Refused: this worker has no task my_ml_app.predict")
    assert 0 < refused < len(asked), "each gets some of them"
    eventually(lambda: sum(one.state == "SUCCESS" for one in asked) == len(asked) - refused, "the others are predicted")
    celery.unwatched()
    printed, _ = student.run("python", "use_js_app.py", "Is it true?", "celery")
    assert printed == "NotRegistered: 'js_ml_app.predict'\n"


def consumers(bench, queue):
    return bench.connection.default_channel.queue_declare(queue, passive=True).consumer_count


def test_a_worker_that_is_killed_loses_nothing(bench):
    first = bench.start(PREDICT_SECONDS="0.5")
    asked = [bench.ask() for _ in range(3)]
    first.see("Received:")
    first.kill(signal.SIGKILL)
    bench.start()
    for one in asked:
        assert one.get(timeout=10)["process"] != first.pid


def test_it_connects_again(bench, rabbitmq):
    api, _ = rabbitmq
    worker = bench.start(PREDICT_SECONDS="1")
    asked = bench.ask()
    worker.see("Received:")

    def break_connection():
        for one in api.get(f"/vhosts/{bench.connection.virtual_host}/connections").json():
            if one.get("client_properties", {}).get("product") == "amqplib":
                return api.delete(f"/connections/{one['name']}").is_success

    eventually(break_connection, "its connection is broken")
    worker.see("CONNECTION_FORCED", "Waiting for messages")
    assert asked.get(timeout=10)["process"] == worker.pid
    bench.connection.default_channel.queue_delete(QUEUE)
    worker.see("The queue was deleted", "Waiting for messages")
    assert bench.ask().get(timeout=10)["process"] == worker.pid


@pytest.mark.timeout(3600)
def test_whatever_comes_it_goes_on(bench, rabbitmq, record_property):
    """Each message is rejected, or its outcome is stored; and a valid one after each four is predicted."""
    api, _ = rabbitmq
    aside = {"dead-letter-exchange": "", "dead-letter-routing-key": REJECTED}
    policy = {"pattern": f"^{QUEUE}$", "definition": aside}
    api.put(f"/policies/{bench.connection.virtual_host}/aside", json=policy).raise_for_status()
    bench.connection.default_channel.queue_declare(REJECTED, durable=True, auto_delete=False)
    worker, told = bench.start(), Counter()
    worker.unwatched()
    with redis.Redis.from_url(bench.student.results) as results, results.pubsub() as heard:
        heard.psubscribe("celery-task-meta-*")

        @settings(**SETTINGS)
        @given(some.lists(messages, min_size=4, max_size=4))
        def fuzz(four):
            for _, headers, body, properties in four:
                told["sent"] += send(bench, headers, made(body), properties)
            assert bench.ask().get(timeout=10)["process"] == worker.pid
            told["sent"] += 1

            def settled():
                told["rejected"] += bench.connection.default_channel.queue_purge(REJECTED)
                while message := heard.get_message():
                    told["stored"] += message["type"] == "pmessage"
                return told["rejected"] + told["stored"] == told["sent"]

            eventually(settled, "all messages are settled")

        fuzz()
    record_property("messages", dict(told))
    print(dict(told))
    assert bench.length() == 0 and told["rejected"] and told["stored"] >= NUMBER // 4


def send(bench, headers, body, properties):
    """Send what hypothesis thought of, which was for the other task; whether RabbitMQ took it."""
    other = {"a new one": str(uuid.uuid4()), PREDICT: TASK}
    headers = {name: other.get(value, value) if isinstance(value, str) else value for name, value in headers.items()}
    headers.pop("x-death", None)  # of another's making: it ends RabbitMQ's queue, which would add to it
    return bench.publish(body, legible(headers), **properties)


def legible(value):
    """With no integer that amqplib cannot read."""
    match value:
        case dict():
            return {name: legible(one) for name, one in value.items()}
        case list():
            return [legible(one) for one in value]
        case int() if abs(value) >= 2**31:
            return float(value)
    return value


def test_what_amqplib_cannot_read_does_not_end_it(bench):
    """An integer of more than 32 bits in a header, as Python writes it, breaks the connection each time. RabbitMQ 4
    writes it in another way, and amqplib reads that."""
    worker = bench.start()
    assert bench.publish("", {"sent": 2**40}, content_type="application/json")
    if worker.see('Unexpected type tag "L"|Refused: ')[0] != "Refused: ":
        worker.see('Unexpected type tag "L"')
        eventually(lambda: bench.connection.default_channel.queue_purge(QUEUE), "the message is back in the queue")
    assert bench.ask().get(timeout=10)["process"] == worker.pid
