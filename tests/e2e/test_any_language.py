"""The producers in other languages: what is typed arrives as it was typed, or a sentence says that it was not sent.

LAB_FUZZ lines are typed into each; 20 without it, 1,000 are many.
"""

import json
import os
import re
import shutil
import socket
import subprocess
from contextlib import contextmanager

import psutil
import pytest
from conftest import free_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from e2e.learner import Learner
from e2e.student import SECONDS, eventually, require
from lab.course.exercise import course
from lab.probe.address import Address
from lab.probe.protocol import findings

EXERCISE = next(exercise for exercise in course() if exercise.number == 18)
NODE, PHP, CURL = ("node", "use_ml_app.mjs"), ("php", "use_ml_app.php"), ("bash", "use_ml_app.sh")
LONG = 10_000  # characters; a terminal cuts a line at 4,095 bytes when a program does not read each key itself
AWKWARD = [
    "hello",
    '{"message": "is JSON itself"}',
    "quotes \" ' ` and backslashes \\ \\n \\u0041 \\",
    "tab\there, bell \x07, escape \x1b[31m, delete \x7f",
    "Grüße, 日本, 🎉, e\u0301, \u202eright to left",
    "$(date) `date` %s %d ${HOME} !! * ?",
    "  spaces around  ",
    "0",
    "x" * LONG,
    "é" * LONG,
]
NUMBER, AT_ONCE = int(os.environ.get("LAB_FUZZ", "20")), 20
SPACE_IN_JS = "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
lines = some.lists(
    (some.text(max_size=60).map(str.encode) | some.binary(max_size=30)).map(
        lambda line: b"a" + line.replace(b"\n", b"")
    ),
    min_size=AT_ONCE,
    max_size=AT_ONCE,
)


@pytest.fixture(params=[NODE, PHP, CURL], ids=["node", "php", "curl"])
def producer(request, with_rabbitmq, tmp_path):
    """A student who has solved the exercise, with the command of one program, and with an empty queue."""
    require(request.param[0], shutil.which(request.param[0]))
    folder = tmp_path / "any"
    folder.mkdir()
    student = Learner(folder, EXERCISE, with_rabbitmq.broker, with_rabbitmq.results, None)
    student.solve()
    student.command = request.param
    with queue(student) as channel:
        channel.queue_declare("celery", durable=True, auto_delete=False)
    yield student
    student.close()


@contextmanager
def queue(student):
    with student.app.connection() as connection, connection.channel() as channel:
        channel.auto_decode = False
        yield channel


def typed(student, *lines, **env):
    """The lines that the program prints when these, in bytes, are its whole input."""
    whole = b"".join(line + b"\n" for line in lines)
    done = subprocess.run(
        student.command, cwd=student.path, env=student.env | env, input=whole, capture_output=True, timeout=300
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    printed = done.stdout.decode(errors="replace").replace("Enter a message: ", "")
    return [line for line in printed.split("\n") if line.strip()]


def taken(student):
    """The messages in the queue, each with its id and its text. Nothing is wrong with them."""
    found = []
    with queue(student) as channel:
        while message := channel.basic_get("celery", no_ack=True):
            properties, body = dict(message.properties), bytes(message.body)
            headers = properties.pop("application_headers")
            assert {one.part for one in findings(properties, headers, body)} <= {"origin"}
            found.append((headers["id"], json.loads(body)[0][0]["message"]))
    return found


def said(messages):
    return [f"Sent as task {task}" for task, _ in messages]


def elsewhere(student, broker, dashboard, password="mypassword"):
    """What tells a program that RabbitMQ and its API are at these places."""
    host = Address(student.broker).virtual_host
    return {
        "CELERY_BROKER_URL": f"amqp://myuser:{password}@{broker}/{host}",
        "RABBITMQ_API": f"http://myuser:{password}@{dashboard}/api",
    }


def test_awkward_texts_arrive_and_their_results_come_back(producer):
    awkward = [text.encode() for text in AWKWARD]
    printed = typed(producer, *awkward)
    messages = taken(producer)
    assert [text for _, text in messages] == AWKWARD and said(messages) == printed
    tasks = [line.split()[-1] for line in typed(producer, *awkward)]
    producer.worker(PREDICT_SECONDS="0").unwatched()
    failed = producer.app.send_task("my_ml_app.predict", ["no payload"]).id
    look = [*producer.command, failed]
    eventually(lambda: "Nothing" not in producer.run(*look)[0], "the last one has ended")
    for task, text in list(zip(tasks, AWKWARD, strict=True))[2:5]:
        printed, status = producer.run(*producer.command, task)
        assert status == 0 and printed.startswith("SUCCESS: {")
        assert json.loads(printed.removeprefix("SUCCESS: "))["message"] == text
    printed, status = producer.run(*look)
    assert status == 0 and printed.startswith('FAILURE: {"exc_type":') and "predict needs a payload" in printed


@settings(
    max_examples=-(-NUMBER // AT_ONCE),
    deadline=None,
    database=None,
    derandomize="LAB_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(lines=lines)
def test_whatever_is_typed_arrives_or_is_refused(producer, lines):
    printed = typed(producer, *lines)
    messages = taken(producer)
    expected = [text for line in lines for text in in_words(producer.command, line)]
    assert [text for _, text in messages] == [text for text in expected if text is not None]
    assert [line for line in printed if line.startswith("Sent as task ")] == said(messages)
    assert "\n".join(printed).count("Not sent: '") == expected.count(None)


def in_words(command, line):
    """The texts that a line in bytes becomes in a program; None for one that is refused."""
    if command == NODE:  # which takes more for the end of a line than others do
        texts = re.split("\r\n|[\r\n\u2028\u2029]", line.decode(errors="replace"))
        return [text for text in texts if text.strip(SPACE_IN_JS)]
    try:
        return [line.replace(b"\0", b"" if command == CURL else b"\0").decode()]  # a shell cannot hold a zero byte
    except UnicodeDecodeError:
        return [None]


@pytest.mark.parametrize("typed", ["exit\n", "  exit  \nhello\n", "\n \n", ""])
def test_it_ends_without_a_fuss(producer, typed):
    printed, status = producer.run(*producer.command, typed=typed)
    assert status == 0 and not printed.replace("Enter a message: ", "").strip()
    assert taken(producer) == []


def test_the_last_line_may_have_no_end(producer):
    printed, status = producer.run(*producer.command, typed="hello")
    messages = taken(producer)
    assert status == 0 and messages[0][1] == "hello" and said(messages)[0] in printed


def test_in_a_terminal_a_long_line_arrives_and_ctrl_c_ends_it(producer):
    terminal = producer.open(*producer.command)
    terminal.see("Enter a message: ")
    terminal.type_much("y" * LONG + "\n")
    task = terminal.see(r"Sent as task (\S+)")[1]
    assert taken(producer) == [(task, "y" * LONG)]
    terminal.see("Enter a message: ")
    terminal.sendintr()
    terminal.left()
    assert "rror" not in terminal.before


def test_it_says_that_a_message_was_not_sent(producer):
    """Nobody listens, somebody takes connections and says nothing, and the password is wrong."""
    address = Address(producer.broker)
    here, dashboard = f"localhost:{address.port}", f"localhost:{address.port + 10000}"
    nobody = f"localhost:{free_port()}"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        quiet = f"127.0.0.1:{silent.getsockname()[1]}"
        places = [(nobody, nobody, "mypassword"), (quiet, quiet, "mypassword"), (here, dashboard, "wrong")]
        for place in places:
            printed = typed(producer, b"hello", b"again", **elsewhere(producer, *place))
            assert [line.partition("'. ")[0] for line in printed] == ["Not sent: 'hello", "Not sent: 'again"], printed
            assert all(len(line.partition("'. ")[2]) > 20 for line in printed), printed
    assert taken(producer) == []


def test_it_sends_again_when_the_broker_is_back(producer):
    address, port = Address(producer.broker), free_port()
    terminal = producer.open(*producer.command, **elsewhere(producer, *2 * [f"127.0.0.1:{port}"]))
    terminal.see("Enter a message: ")
    terminal.sendline("not sent")
    terminal.see("Not sent: 'not sent'", "Enter a message: ")
    producer.forward(address.port + (10000 if producer.command == CURL else 0), port)
    terminal.sendline("sent")
    task = terminal.see(r"Sent as task (\S+)")[1]
    assert taken(producer) == [(task, "sent")]
    terminal.see("Enter a message: ")
    terminal.sendline("exit")
    assert terminal.left() == 0


def test_it_needs_a_queue_that_takes_messages_of_whatever_kind_it_is(producer):
    with queue(producer) as channel:
        channel.queue_delete("celery")
        assert typed(producer, b"hello")[0].startswith("Not sent: 'hello'. ")
        channel.queue_declare("celery", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        printed = typed(producer, b"hello")
        eventually(lambda: channel.queue_declare("celery", passive=True).message_count, "it is in the queue")
        assert said(taken(producer)) == printed
        channel.queue_delete("celery")
        full = {"x-max-length": 0, "x-overflow": "reject-publish"}
        channel.queue_declare("celery", durable=True, auto_delete=False, arguments=full)
        assert typed(producer, b"hello")[0].startswith("Not sent: 'hello'. ")


def test_nothing_is_stored_and_the_result_backend_is_away(producer):
    printed, status = producer.run(*producer.command, "no-such-id")
    assert (printed.strip(), status) == ("Nothing is stored yet.", 0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (free_port(), silent.getsockname()[1]):
            printed, _ = producer.run(*producer.command, "id", CELERY_RESULT_BACKEND=f"redis://127.0.0.1:{port}/0")
            assert printed.startswith("Ask again later. ") and len(printed.splitlines()) == 1


def test_the_password_is_in_no_command(producer):
    """While it waits for somebody who says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(SECONDS)
        quiet = f"127.0.0.1:{silent.getsockname()[1]}"
        terminal = producer.open(*producer.command, **elsewhere(producer, quiet, quiet))
        terminal.see("Enter a message: ")
        terminal.sendline("hello")
        with silent.accept()[0]:
            process = psutil.Process(terminal.pid)
            commands = [one.cmdline() for one in (process, *process.children(recursive=True))]
    assert producer.command != CURL or ["curl"] in [command[:1] for command in commands]
    assert "mypassword" not in str(commands)


def test_each_program_is_shorter_than_forty_lines():
    for program in EXERCISE.solutions:
        assert len(program.read_text().splitlines()) < 40, program
