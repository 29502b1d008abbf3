"""A student at an exercise: the lecture's files as far as they got, pointed at servers of their own."""

import os
import shutil
import socket
import socketserver
import threading
from contextlib import suppress
from urllib.parse import quote

import amqp
from conftest import ROOT, free_port

from e2e.student import RABBITMQ, Student, eventually, require
from lab.course.exercise import course
from lab.probe.address import Address

BROKER = "amqp://myuser:mypassword@localhost:5672//"  # the lecture's addresses, in the files as handed out
RESULTS = "redis://localhost:6379/0"
DASHBOARD = "localhost:15672"
FLOWER = "localhost:5555"


class Learner(Student):
    """A Student whose addresses stand in celeryconfig.py, as they do in a real folder, and not in the environment."""

    free_port = staticmethod(free_port)

    def __init__(self, path, exercise, broker, results, valkey):
        super().__init__(path, broker, results)
        self.exercise, self.valkey = exercise, valkey
        self.number_of_workers = 0
        self.patience = 30  # seconds in which a check wants to see a message of theirs
        self.where = []  # what goes before each command
        self.consuming = None
        for name in ("celeryconfig.py", "my_ml_app.py", "use_ml_app.py", "Makefile", "requirements.txt"):
            (path / name).unlink()
        (path / "node_modules").symlink_to(ROOT / ".venv/node/node_modules")

    def close(self):
        if self.consuming:
            self.consuming.collect()
        super().close()

    def run(self, *command, **options):
        return super().run(*self.where, *command, **options)

    @property
    def env(self):
        env = {name: value for name, value in super().env.items() if not name.startswith("CELERY_")}
        env["LAB_TYPING"] = str(self.patience)
        env["FLOWER_BROKER_API"] = f"{Address(self.broker).management}/api/"  # and not at port 15672
        # Exercise 00 has no celeryconfig.py yet, and its check looks where RabbitMQ is by default: here it is.
        return env | ({"CELERY_BROKER_URL": self.broker} if self.exercise.number == 0 else {})

    @property
    def port(self):
        return Address(self.broker).port

    def hand_out(self, **addresses):
        """The files that a student has who begins this exercise: earlier ones solved, later ones as stubs."""
        files = {}
        for exercise in course():
            before = exercise.number < self.exercise.number
            for file in [*exercise.stubs, *exercise.solutions] if before else exercise.stubs:
                name = file.relative_to(file.parents[len(file.parts) - len(exercise.path.parts) - 2])
                if before or exercise.number == self.exercise.number or name not in files:
                    files[name] = file
        self._place(files, **addresses)

    def solve(self, **addresses):
        """The files of a student who has solved this exercise."""
        self.hand_out(**addresses)
        folder = self.exercise.path / "solution"
        self._place({file.relative_to(folder): file for file in self.exercise.solutions}, **addresses)

    def _place(self, files, broker=None, results=None):
        self.broker, self.results = broker or self.broker, results or self.results
        for name, file in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(self.addressed(file.read_text()))

    def addressed(self, text):
        """A text of the lecture with this student's addresses: also Flower's, the dashboard's, and the virtual host
        there."""
        address = Address(self.broker)
        own = {BROKER: self.broker, RESULTS: self.results, DASHBOARD: f"localhost:{address.port + 10000}"}
        own[FLOWER] = self.flower.removeprefix("http://")
        for lecture, mine in (own | {"%2F": quote(address.virtual_host, safe="")}).items():
            text = text.replace(lecture, mine)
        return text

    def install(self):
        """The packages of Node.js are there already."""

    def edit(self, name, old, new):
        """Change one place in a file of the student's."""
        text = (self.path / name).read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        (self.path / name).write_text(text.replace(old, new))

    def celery(self, *command, app="my_ml_app", folder=".", **env):
        """A Celery command in a terminal of its own."""
        return self.open("celery", f"--workdir={folder}", "-A", app, *command, **env)

    def worker(self, *options, app="my_ml_app", folder=".", **env):
        """A worker that answers, in a terminal of its own."""
        terminal = self.celery("worker", *options, app=app, folder=folder, **env)
        self.number_of_workers += 1
        number, control = self.number_of_workers, self.app.control
        eventually(lambda: len(control.ping(timeout=0.5, limit=number)) == number, "the worker answers")
        return terminal

    def publish(self, body, **properties):
        """A message in the queue as another program writes it, with these AMQP properties and headers alone."""
        with self.app.connection() as connection:
            channel = connection.default_channel
            channel.queue_declare("celery", durable=True, auto_delete=False)
            properties = {"application_headers" if name == "headers" else name: properties[name] for name in properties}
            channel.basic_publish(amqp.Message(body, **properties), routing_key="celery")

    def consumer(self):
        """A consumer of the queue in this process, which does nothing."""
        self.consuming = self.app.connection()
        channel = self.consuming.default_channel
        channel.queue_declare("celery", durable=True, auto_delete=False)
        channel.basic_consume("celery")

    def types(self, line):
        """A producer in a terminal of its own, into which this line is typed every second."""
        terminal = self.open("python", "use_ml_app.py")
        terminal.unwatched()
        typed = threading.Event()

        def type_on():
            with suppress(OSError):  # the terminal is closed
                while terminal.isalive() and not typed.wait(1):
                    terminal.sendline(line)

        threading.Thread(target=type_on, daemon=True).start()

    def edit_later(self, name):
        """A file's time of change as if it had been edited after all that runs was started."""
        later = os.stat(self.path / name).st_mtime + 100
        os.utime(self.path / name, (later, later))

    def rabbitmq_on_another_machine(self):
        """Where a fresh RabbitMQ is that sees this student come from outside: both get a network of their own."""
        require("unshare and ip", shutil.which("unshare") and shutil.which("ip"))
        ready = "ip link set lo up && ip address add 10.9.8.7/32 dev lo && echo ready && exec sleep 600"
        network = self.open("unshare", "--map-root-user", "--net", "sh", "-c", ready)
        network.see("ready")
        self.where = ["nsenter", f"--target={network.pid}", "--user", "--preserve-credentials", "--net"]
        home = self.path / "rabbitmq"
        home.mkdir()
        (home / "enabled_plugins").write_text("[].")
        settings = {
            "HOME": home,
            "RABBITMQ_CONFIG_FILES": home / "conf.d",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": home / "enabled_plugins",
            "RABBITMQ_LOG_BASE": home,
            "RABBITMQ_MNESIA_BASE": home,
            "RABBITMQ_NODENAME": "elsewhere@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "10.9.8.7",
            "RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD": "very_short",  # as lab/run/servers.py says
        }
        node = self.open(*self.where, RABBITMQ, **{name: str(value) for name, value in settings.items()})
        node.see("completed with 0 plugins")
        return "10.9.8.7:5672"

    @staticmethod
    def forward(port, at=None):
        """A port that leads to another one, as Docker's published ports do; by default, any that is free."""

        class Forwarder(socketserver.BaseRequestHandler):
            def handle(self):
                with socket.create_connection(("127.0.0.1", port)) as there:
                    back = threading.Thread(target=pour, args=[there, self.request], daemon=True)
                    back.start()
                    pour(self.request, there)
                    back.join()

        server = socketserver.ThreadingTCPServer(("127.0.0.1", at or free_port()), Forwarder)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]


def pour(source, sink):
    """Copy what comes from one socket into another, until it ends."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one of the two has left
