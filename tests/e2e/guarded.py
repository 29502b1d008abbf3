"""A worker with guard.py, for many tests: what sends raw messages to it, and says what became of them."""

import json
import re
import subprocess
import time
import uuid
from base64 import b64encode
from contextlib import suppress

import amqp
import psutil
import redis
from conftest import AWKWARD
from kombu import Connection

from e2e.student import SECONDS, Student, eventually, heed_signals, with_results

TASKS = """

def end(name, how):
    @app.task(name=f"my_ml_app.{name}", bind=True)
    def task(self, status):
        with open("begun", "a") as begun:
            print(self.request.id, file=begun)
        how(status)


def leave(status):
    raise SystemExit(status)


def use_up_memory(status):
    raise MemoryError("all of it")


def refuse(status):
    raise Reject("not mine")


end("end_process", os._exit)
end("leave", leave)
end("crash", lambda status: os.kill(os.getpid(), 11))
end("use_up_memory", use_up_memory)
end("refuse", refuse)
"""


def a_guarded_worker(request, folders):
    """For a fixture whose parameter is classic, quorum or valkey: a worker that takes from such a queue."""
    student = Student(folders.mktemp(f"{AWKWARD} {request.param}"))
    if request.param == "valkey":
        student.broker = re.sub("/0$", "/1", student.results)
    else:
        api, url = request.getfixturevalue("rabbitmq")
        name = uuid.uuid4().hex
        request.addfinalizer(lambda: api.delete(f"/vhosts/{name}", timeout=SECONDS))
        api.put(f"/vhosts/{name}").raise_for_status()
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        api.put(f"/permissions/{name}/myuser", json=everything).raise_for_status()
        student.broker = f"{url[:-1]}{name}"
    request.addfinalizer(student.close)
    guarded = Guarded(with_results(student), quorum=request.param == "quorum")
    request.addfinalizer(guarded.close)
    return guarded


class Guarded:
    """A worker of a student whose broker and result backend run, and its queue."""

    def __init__(self, student, quorum=False):
        self.student = student
        with open(student.path / "celeryconfig.py", "a") as configuration:
            configuration.write("task_default_queue_type = 'quorum'\n" if quorum else "")
        with open(student.path / "my_ml_app.py", "a") as app:
            app.write(f"\nfrom celery.exceptions import Reject  # noqa: E402\n{TASKS}")
        self.connection = Connection(student.broker)
        self.channel = self.connection.default_channel
        self.results = redis.Redis.from_url(student.results)
        self.start()

    def start(self):
        """Start the worker; wait until it has made a prediction."""
        with open(self.student.path / "worker.log", "wb") as log:
            self.worker = subprocess.Popen(
                ["celery", "-A", "my_ml_app", "worker", "-c", "2", "--without-mingle"],
                cwd=self.student.path,
                env=self.student.env | {"PREDICT_SECONDS": "0"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=heed_signals,
            )
        self.student.given.append(self.worker)
        eventually(self.listens, "the worker takes messages")
        self.done(self.valid())

    def listens(self):
        """Whether the worker has declared its queue; with Redis, a message waits in any queue."""
        with suppress(self.connection.channel_errors), self.connection.channel() as channel:
            return self.redis or channel.queue_declare("celery", passive=True).consumer_count

    @property
    def log(self):
        return (self.student.path / "worker.log").read_text(errors="replace")

    def valid(self):
        """Send a prediction; its id."""
        return self.ask("predict", {"message": "hello"})

    def ask(self, name, *arguments):
        """Send a message for a task of my_ml_app.py; its id."""
        task = str(uuid.uuid4())
        self.send({"id": task, "task": f"my_ml_app.{name}"}, [arguments, {}, {}])
        return task

    def send(self, headers, body, **properties):
        """Send a message as it is. Without other properties, it says that it is JSON."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        properties = {"content_type": "application/json", "content_encoding": "utf-8"} | properties
        if self.redis:
            kind = {name.replace("_", "-"): properties.pop(name) for name in ("content_type", "content_encoding")}
            properties = {
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
                "delivery_info": {"exchange": "", "routing_key": "celery"},
            } | properties
            text = b64encode(body).decode()
            self.raw(json.dumps({"body": text, "headers": headers, "properties": properties} | kind))
        else:
            message = amqp.Message(body, application_headers=headers, **properties)
            self.channel.basic_publish_confirm(message, exchange="", routing_key="celery")

    def send_or_not(self, headers, body, **properties):
        """Send a message as it is, unless RabbitMQ closes the channel because of it. Whether it was sent."""
        try:
            self.send(headers, body, **properties)
        except amqp.AMQPError:
            self.connection.close()
            self.channel = self.connection.default_channel
            return False
        return True

    @property
    def redis(self):
        return self.connection.transport.driver_type == "redis"

    def raw(self, text):
        """Put a text into Redis's list."""
        self.channel.client.lpush("celery", text)

    def begun(self, task):
        """How many times a task of TASKS has begun."""
        return (self.student.path / "begun").read_text().split().count(task)

    def result(self, task):
        found = self.results.get(f"celery-task-meta-{task}")
        return found and json.loads(found)

    def ended(self, task):
        """The result of a prediction, once it is there."""
        begin = time.monotonic()
        while time.monotonic() < begin + SECONDS:
            if (found := self.result(task)) and found["status"] != "RETRY":
                return found
            self.has_one_worker()
            time.sleep(0.002)
        raise AssertionError(f"no result of {task} within {SECONDS} s")

    def done(self, task):
        """How many seconds it takes from now until a prediction has succeeded."""
        begin = time.monotonic()
        assert self.ended(task)["status"] == "SUCCESS"
        return time.monotonic() - begin

    def dead(self):
        """Take the message that waits longest in the queue dead; None if there is none."""
        with suppress(amqp.NotFound):
            message = self.channel.basic_get("dead", no_ack=True)
            return message and self.channel.message_to_python(message)

    def drain(self):
        """Remove what is dead; how many they were."""
        with suppress(amqp.NotFound):
            return self.channel.queue_purge("dead")
        return 0

    def next_dead(self):
        return eventually(self.dead, "a message is dead")

    def body(self, message):
        """A dead message's body, as bytes."""
        return message.body.encode() if isinstance(message.body, str) else message.body or b""

    def event(self, body):
        """Send an event as it is; with Redis, to who listens to `celery control` too."""
        if self.redis:
            properties = {"delivery_tag": "x", "delivery_info": {"exchange": "celeryev", "routing_key": ""}}
            message = {
                "body": body.decode(errors="replace"),
                "properties": properties,
                "content-type": "application/json",
            }
            self.channel.client.publish("/1.celeryev/worker.heartbeat", json.dumps(message))
            for channel in ("/1.celeryev/worker.heartbeat", "/1.celery.pidbox"):
                self.channel.client.publish(channel, body)
        else:
            self.channel.exchange_declare("celeryev", "topic", durable=True, auto_delete=False)
            message = amqp.Message(body, content_type="application/json")
            self.channel.basic_publish_confirm(message, exchange="celeryev", routing_key="worker.heartbeat")

    def processor_time(self):
        """Seconds that the worker's main process has worked."""
        times = psutil.Process(self.worker.pid).cpu_times()
        return times.user + times.system

    def has_one_worker(self):
        """The worker that started first still runs, and its main process is the same."""
        assert self.worker.poll() is None, self.log[-3000:]

    def close(self):
        self.connection.release()
        self.results.close()
