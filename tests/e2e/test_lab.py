"""`make lab` as a whole: what a student sees, and what is left when it ends, however it ends."""

import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import amqp
import pytest
from conftest import free_port

from e2e.student import ID, RABBITMQ, eventually, require
from lab.fault import Fault
from lab.messages import give_back
from lab.probe.queue import waiting
from lab.probe.workers import in_hand, pools, workers

START = ["python", "-m", "lab", "start"]
PROMPT = "Enter a message:"


def lab_process(student):
    """The Python process that runs `lab start`."""
    return next(p for p in student.processes() if p.cmdline()[1:] == ["-m", "lab", "start"])


def children(student):
    """What the keeper of a student's lab started."""
    return keeper(student).children()


def predicted(student, tasks):
    """Whether all tasks have their result."""
    app = student.app  # one for all of them: each connects anew
    return all(app.AsyncResult(task).ready() for task in tasks)


def paste(terminal, lines):
    """Paste lines at the prompt, and return the ids of their tasks."""
    terminal.see(PROMPT)
    terminal.send("\x1b[200~" + "\r".join(lines) + "\x1b[201~\r")
    return [terminal.see(f"Sent as task ({ID})")[1] for _ in lines]


def test_piped_messages_are_predicted_and_nothing_is_left(student):
    printed, status = student.run("make", "lab", typed="hello\n\nIs it?\nexit\nafter\n")
    assert status == 0, printed
    assert re.search(r"broker +redis://localhost:\d+/0  Valkey [\d.]+, started here", printed)
    assert re.search(r"worker +lab@\S+  2 to 10 processes", printed)
    assert re.search(rf"Flower +{student.flower}", printed)
    for message, prediction in (("hello", "statement"), ("Is it?", "question")):
        assert f"] {{'message': '{message}'}}" in printed
        assert re.search(rf'Result of {ID}: {{"message": "{re.escape(message)}", "prediction": "{prediction}"', printed)
    assert "after" not in printed and "Traceback" not in printed
    student.nothing_runs()


def test_in_a_terminal_output_does_not_garble_what_is_typed(student):
    lab = student.open("make", "lab", PREDICT_SECONDS="1")
    lab.see(PROMPT)
    lab.sendline("first")
    lab.see(f"Sent as task ({ID})", "Received:")
    lab.send("half a ")
    lab.see("Ended processing:", f"Result of {ID}: ", "half a")  # the line that is being typed is drawn again below
    lab.sendline("message?")
    lab.see("Sent as task", "'message': 'half a message\\?'", f'Result of {ID}: {{"message": "half a message\\?"')
    lab.sendline("exit")
    assert lab.left() == 0
    student.nothing_runs()


def test_ctrl_z_and_fg(student):
    shell = student.open("bash", "--norc", "-i")
    shell.sendline("PS1='shell''> '; make lab")
    shell.see(PROMPT)
    shell.send("half a ")
    shell.see("half a")
    shell.send("\x1a")
    shell.see("Stopped +make lab", "shell> ")
    assert student.app.control.ping(timeout=5, limit=1)  # the worker goes on
    shell.sendline("fg")
    shell.see("half a")
    shell.sendline("message")
    shell.see("Sent as task", f'Result of {ID}: {{"message": "half a message"')
    shell.sendline("exit")
    shell.see("Stopping what was started here", "shell> ")
    shell.sendline("exit")
    student.nothing_runs()


def test_a_signal_that_is_ignored_from_the_start_stays_so(student):
    script = student.open("sh", "-c", "python -m lab servers & wait")  # a shell's background job ignores Ctrl-C
    script.see("Ctrl-C ends what was started here")
    servers = next(p for p in student.processes() if p.cmdline()[1:] == ["-m", "lab", "servers"])
    servers.send_signal(signal.SIGINT)
    assert "Both answer already" in student.run("python", "-m", "lab", "servers")[0]
    servers.send_signal(signal.SIGTERM)
    script.left()
    student.nothing_runs()


def test_a_pasted_block_and_a_failure_at_the_prompt(student):
    lab = student.open(*START)
    lab.see(PROMPT)
    lab.send("\x1b[200~one\rtwo\x1b[201~\r")
    lab.see("Sent as task", "Sent as task", '"message": "(one|two)"', '"message": "(one|two)"')
    student.path.joinpath("use_ml_app.py").write_text(
        "from my_ml_app import predict\ninput('go')\npredict.delay('text')\n1/0\n"
    )
    lab.sendline("exit")
    assert lab.left() == 0
    lab = student.open(*START)
    lab.see("go")
    lab.sendline("")
    lab.see("use_ml_app.py ended with ZeroDivisionError: division by zero .*use_ml_app.py, line 4")
    lab.see("FAILURE, ValueError: predict needs a payload")
    lab.left()


@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
@pytest.mark.parametrize("starting", ["valkey-server", "worker"])
def test_ended_while_it_starts(student, starting, end):
    lab = student.open(*START)

    def has_begun():
        return any(starting in " ".join(process.cmdline()) for process in student.processes())

    eventually(has_begun, f"{starting} has begun")
    lab_process(student).send_signal(signal.Signals[end])
    student.nothing_runs()
    lab.left()
    assert PROMPT not in lab.before and "Traceback" not in lab.before


@pytest.mark.parametrize("end", ["close the terminal", "SIGTERM", "SIGKILL"])
def test_ended_in_mid_prediction_loses_nothing(student, end):
    lab = student.open("make", "lab", PREDICT_SECONDS="1.5")
    tasks = paste(lab, [f"message {number}" for number in range(30)])  # more than the pool takes at once
    lab.see("Received:")
    if end == "close the terminal":
        lab.close()
    else:
        lab_process(student).send_signal(signal.Signals[end])
    student.nothing_runs()
    again = student.open("make", "lab", PREDICT_SECONDS="0")
    again.see(r"\d+ messages are waiting from before", "Received:")
    eventually(lambda: predicted(student, tasks), "all results are there")


def test_what_still_waits_is_counted_kept_and_worked_off_next_time(student):
    lab = student.open(*START, PREDICT_SECONDS="3")
    tasks = paste(lab, [f"message {number}" for number in range(40)])
    lab.see("Received:")
    lab.sendline("exit")
    lab.see(r"\d+ predictions are running", r"(\d+) messages are waiting in the queue, and kept for `make lab`")
    waiting = int(lab.match[1])
    assert lab.left() == 0
    assert 20 <= waiting <= 38  # the pool has 10 processes at most, and 2 at least
    again = student.open(*START, PREDICT_SECONDS="0")
    again.see(*["Received:"] * waiting)
    eventually(lambda: predicted(student, tasks), "all results are there")


def test_a_second_ctrl_c_leaves_at_once_and_loses_nothing(student):
    lab = student.open(*START, PREDICT_SECONDS="60")
    lab.see(PROMPT)
    lab.sendline("slow")
    task = lab.see(f"Sent as task ({ID})")[1]
    lab.see("Received:")
    lab.sendintr()
    lab.see("1 prediction is running")
    lab_process(student).send_signal(signal.SIGINT)
    lab.see("Leaving at once")
    lab.left()
    student.nothing_runs()
    student.open(*START, PREDICT_SECONDS="0").see("Received:", f"Result of {task}|Ended processing")
    eventually(lambda: predicted(student, [task]), "the prediction is made")


def test_a_second_lab_joins_the_first(student):
    labs = [student.open("make", "lab"), student.open("make", "lab")]  # at the same moment: either may be first
    for lab in labs:
        lab.see("worker +lab@", PROMPT)
    first, second = sorted(labs, key=lambda lab: "started in another terminal" in lab.seen)
    assert len(student.app.control.ping(timeout=1)) == 1
    second.sendline("from the second")
    second.see(f"Result of {ID}")
    first.see("'message': 'from the second'")
    first.sendline("exit")
    assert first.left() == 0
    second.see("The lab that you joined has ended. Leave with `exit`, and type `make lab` again.")
    second.sendline("exit")
    assert second.left() == 0
    student.nothing_runs()


def keeper(student):
    return next(p for p in student.processes() if p.cmdline()[1].endswith("keeper.py"))


def test_a_killed_keeper_leaves_nothing_and_is_named(student):
    lab = student.open(*START)
    lab.see(PROMPT)
    keeper(student).kill()
    lab.see("The keeper of this lab was killed, so its parts have ended. Leave, and start the lab again.")
    waits = student.open(*START)
    waits.see("Another lab in this folder is starting or ending; waiting for it")
    lab.sendline("exit")
    assert lab.left() == 0
    waits.see(PROMPT)  # with parts of its own
    keeper(student).send_signal(signal.SIGINT)
    waits.see("The keeper of this lab was killed")
    waits.sendline("exit")
    waits.left()
    assert "Traceback" not in waits.seen + waits.before
    student.nothing_runs()


def test_what_a_killed_lab_and_a_killed_keeper_left_is_ended_by_the_next(student):
    lab = student.open(*START)
    lab.see(PROMPT)
    left = {process.pid for process in children(student)}
    for process in (lab_process(student), keeper(student)):
        process.suspend()  # neither may notice the end of the other
    for process in (lab_process(student), keeper(student)):
        process.kill()
    with open(next(student.path.glob(".lab/*.children")), "a") as record:
        record.write('{"pid": 1, "begin": 0, "start": "another", "last_signal": 15}\n{"not whole')
    printed, status = student.run(*START, typed="hi\n")
    assert status == 0 and "Result of " in printed
    named = re.search(r"A lab was killed here, and its keeper too. What they left running was ended: (.+).\n", printed)[
        1
    ]
    assert {int(pid) for pid in re.findall(r"\(process (\d+)\)", named)} == left
    assert printed.count(", started here") == 2
    student.nothing_runs()
    assert not list(student.path.glob(".lab/*.children"))


def test_a_server_of_another_lab_that_does_not_answer_is_named(student):
    lab = student.open(*START)
    lab.see(PROMPT)
    frozen = next(p for p in children(student) if "valkey-server" in p.name())
    frozen.suspend()
    printed, status = student.run(*START)
    assert status == 1
    assert re.search(r"Valkey \S+ of another lab in this folder does not answer at redis://localhost", printed)
    frozen.resume()


def test_a_worker_started_by_hand_is_named(with_valkey):
    with_valkey.open("celery", "-A", "my_ml_app", "worker").see("celery@")
    eventually(lambda: with_valkey.app.control.ping(timeout=1), "the worker is online")
    printed, status = with_valkey.run(*START, typed="hi\n")
    assert status == 0 and "Result of " in printed and ", started here" not in printed
    assert re.search(r"celery@\S+  takes messages too", printed)


def test_a_frozen_result_backend_is_named_and_hides_nothing(student):
    lab = student.open(*START)
    lab.see(PROMPT)
    lab.sendline("one")
    lab.see("Result of")
    address = student.results.partition("//")[2].partition("/")[0].replace("localhost", "127.0.0.1")
    next(p for p in children(student) if address in " ".join(p.cmdline())).suspend()
    lab.sendline("two")
    lab.see("Sent as task", "Received:", "'message': 'two'")
    lab.sendline("exit")
    lab.see(
        "The result backend does not answer, so no prediction can end.", "1 message is waiting in the queue, and kept"
    )
    assert lab.left() == 0
    student.nothing_runs()


def test_a_frozen_broker_is_not_asked_for_ever(with_valkey):
    app = with_valkey.app
    with_valkey.given[0].send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    assert not workers(app) and not pools(app) and in_hand(app, "lab@here") is None
    give_back(app)
    with pytest.raises(Fault, match="The broker does not answer"):
        waiting(app)
    assert time.monotonic() - begin < 20
    with_valkey.given[0].send_signal(signal.SIGCONT)


def test_rabbitmq_that_takes_no_message_is_named_and_can_be_left(student):
    require("RabbitMQ", RABBITMQ)
    student.broker = f"amqp://myuser:mypassword@localhost:{free_port()}//"
    lab = student.open(*START)
    lab.see(PROMPT)
    node = next(p for p in student.processes() if "RABBITMQ_NODENAME" in p.environ())
    tool = Path(RABBITMQ).with_name("rabbitmqctl")
    limit = [tool, "-n", "lab@localhost", "set_vm_memory_high_watermark", "absolute", "20MB"]
    subprocess.run(limit, env=node.environ(), check=True, stdout=subprocess.DEVNULL)
    lab.sendline("hello")
    full = "RabbitMQ at localhost:[0-9]+ takes no message now: its machine has too little memory left"
    lab.see(full)
    second = student.open(*START)
    second.see(full)
    assert second.left() == 1
    lab_process(student).send_signal(signal.SIGTERM)
    lab.see("The worker does not answer")
    lab.left()
    student.nothing_runs()


@pytest.mark.parametrize("name", ["worker", "valkey-server"])
def test_what_dies_is_started_again_and_loses_nothing(student, name):
    lab = student.open(*START, PREDICT_SECONDS="2")
    lab.see(PROMPT)
    lab.sendline("hi")
    lab.see(f"Sent as task ({ID})", "Received:")
    next(p for p in children(student) if name in " ".join(p.cmdline())).kill()
    lab.see("was ended by signal 9. Starting it again", f"Result of {ID}")
    lab.sendline("again")
    lab.see(f'Result of {ID}: {{"message": "again"')
    lab.sendline("exit")
    lab.left()
    student.nothing_runs()


def test_what_dies_again_and_again_is_left_alone(served):
    """Without guard.py, a message without a content type ends each worker that meets it."""
    student = served
    configuration = student.path / "celeryconfig.py"
    configuration.write_text(
        re.sub("^(imports|worker_consumer) = .*$", "", configuration.read_text(), flags=re.MULTILINE)
    )
    lab = student.open(*START)
    lab.see(PROMPT)
    headers = {"id": "unreadable", "task": "my_ml_app.predict"}
    with student.app.connection() as connection:
        channel = connection.default_channel
        if "amqp" in student.broker:
            channel.basic_publish(amqp.Message(b"[[], {}, {}]", application_headers=headers), routing_key="celery")
        else:
            properties = {"delivery_info": {"exchange": "", "routing_key": "celery"}, "delivery_tag": "1"}
            message = {"body": "[[], {}, {}]", "headers": headers, "properties": properties}
            channel.client.lpush("celery", json.dumps(message))
    lab.see(
        "The worker ended with exit status 1. Starting it again",
        "The worker ended with exit status 1 again. The lab stops trying",
        "1 message is waiting, and one may be the reason.",
        "`celery -A my_ml_app purge`, in another terminal, removes all that wait",
    )
    assert "Purged 1 message" in student.run("celery", "-A", "my_ml_app", "purge", "-f")[0]
    lab.sendline("exit")
    assert lab.left() == 0
    student.nothing_runs()


def test_a_prediction_that_ends_its_process_each_time_is_a_failure(with_rabbitmq):
    with open(with_rabbitmq.path / "my_ml_app.py", "a") as app:
        app.write("\n\npredict.run = lambda payload: os._exit(1)\n")
    lab = with_rabbitmq.open(*START)
    lab.see(PROMPT)
    lab.sendline("hello")
    lab.see(f"Result of {ID}: FAILURE, RuntimeError: It has ended 3 processes")
    lab.sendline("exit")
    assert lab.left() == 0


def test_a_taken_flower_port_is_named_and_another_one_used(student):
    with socket.create_server(("127.0.0.1", int(student.flower.rpartition(":")[2]))):
        printed, status = student.run(*START, typed="hi\n")
    assert status == 0
    assert re.search(r"Port \d+ is taken by \S+ \(process \d+\), so Flower gets port \d+", printed)
    assert "Result of" in printed


def test_stale_files_of_a_killed_lab_do_not_matter(student):
    (student.path / ".lab").mkdir()
    for name in ("servers.claim", "stack.claim"):
        (student.path / ".lab" / name).write_text(
            '{"broker": {"url": "redis://localhost:1/0", "product": "old"}, "worker": "x"}'
        )
    printed, status = student.run(*START, typed="hi\n")
    assert status == 0 and "Result of" in printed


def test_a_lab_folder_that_cannot_be_written(student):
    (student.path / ".lab").write_text("a file is in the way")
    printed, status = student.run(*START, typed="hi\n")
    assert status == 0
    assert "The folder .lab cannot be used (File exists): nothing is kept when you leave." in printed
    assert "Result of" in printed
    student.nothing_runs()


BROKEN = {
    "a name that is not there": (
        "import nothing_like_this\n",
        "my_ml_app.py cannot be used: ModuleNotFoundError: No module named 'nothing_like_this' (my_ml_app.py, line 1).",
    ),
    "a syntax error": (
        "x = 1\ndef f(:\n",
        "my_ml_app.py cannot be used: SyntaxError: invalid syntax (my_ml_app.py, line 2).",
    ),
    "no app": ("x = 1\n", "my_ml_app.py has no Celery app called `app`."),
}


@pytest.mark.parametrize("source, sentence", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_app_is_named_with_its_line(student, source, sentence):
    (student.path / "my_ml_app.py").write_text(source)
    printed, status = student.run(*START)
    assert status == 1
    assert sentence in printed and "Traceback" not in printed


def test_a_closed_pipe_ends_the_lab_quietly(student):
    printed, _ = student.run("sh", "-c", "printf 'hi\\n' | python -m lab start | head -1")
    assert "Traceback" not in printed
    printed, status = student.run("sh", "-c", "printf 'hi\\n' | python -m lab start >&-")
    assert (printed, status) == ("", 0)
    student.nothing_runs()
