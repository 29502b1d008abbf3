"""celeryconfig.py, my_ml_app.py and use_ml_app.py, with the lecture's plain commands in separate terminals."""

import pytest

from e2e.student import ID

CELERY = ["celery", "-A", "my_ml_app"]
PRODUCER = ["python", "use_ml_app.py"]


def test_a_typed_line_is_predicted_printed_and_stored(served):
    worker = served.open(*CELERY, "worker")
    producer = served.open(*PRODUCER)
    producer.see("Enter a message: ")
    producer.sendline("Is it?")
    task = producer.see(f"Sent as task ({ID})")[1]
    worker.see("Received:", "{'message': 'Is it\\?'}", "Ended processing:", "{'message': 'Is it\\?'}")
    assert served.app.AsyncResult(task).get(timeout=10)["prediction"] == "question"
    printed, status = served.run(*CELERY, "result", task)
    assert "'message': 'Is it?'" in printed and "'prediction': 'question'" in printed
    assert status == 0
    producer.sendline("exit")
    assert producer.left() == 0


@pytest.mark.parametrize("payload", ["just text", None, {"message": 3}, {"text": "hi"}, ["hi"]])
def test_a_bad_payload_fails_with_a_sentence_and_harms_nothing_else(with_valkey, payload):
    worker = with_valkey.open(*CELERY, "worker")
    bad = with_valkey.app.send_task("my_ml_app.predict", [payload])
    good = with_valkey.ask("hi")
    assert good.get(timeout=20)["prediction"] == "statement"
    with pytest.raises(ValueError, match='predict needs a payload like {"message": "some text"}.'):
        bad.get(timeout=20)
    assert bad.state == "FAILURE"
    worker.sendintr()
    worker.see("Warm shutdown")
    assert "Traceback" not in worker.before


@pytest.mark.parametrize("setting, seconds", [({}, 10.0), ({"PREDICT_SECONDS": "0.5"}, 0.5)])
def test_a_prediction_takes_ten_seconds_or_what_the_environment_says(student, setting, seconds):
    program = "import my_ml_app, time; time.sleep = print; my_ml_app.predict.run({'message': 'hi'})"
    unset = [] if setting else ["env", "-u", "PREDICT_SECONDS"]
    printed, _ = student.run(*unset, "python", "-c", program, **setting)
    assert printed.splitlines() == ["Received:", "{'message': 'hi'}", str(seconds)] + [
        "Ended processing:",
        "{'message': 'hi'}",
    ]


def test_results_expire(with_valkey):
    with_valkey.open(*CELERY, "worker")
    result = with_valkey.ask("hi")
    result.get(timeout=20)
    client = result.backend.client
    assert 0 < client.ttl(f"celery-task-meta-{result.id}") <= 3600


def test_only_json_is_accepted(with_valkey):
    worker = with_valkey.open(*CELERY, "worker")
    with_valkey.app.send_task("my_ml_app.predict", [{"message": "evil"}], serializer="pickle")
    worker.see("Refusing to deserialize")
    assert with_valkey.ask("hi").get(timeout=20)


def test_the_producer_skips_blank_lines_and_leaves_at_exit(served):
    producer = served.open(*PRODUCER)
    for line in ("", "   ", "one", "exit now", "exit "):
        producer.see("Enter a message: ")
        producer.sendline(line)
    assert producer.left() == 0
    assert served.messages() == ["one", "exit now"]


@pytest.mark.parametrize("leave", ["sendeof", "sendintr"])
def test_the_producer_leaves_at_the_end_of_input_and_at_ctrl_c(with_valkey, leave):
    producer = with_valkey.open(*PRODUCER)
    producer.see("Enter a message: ")
    producer.sendline("one")
    producer.see("Sent as task", "Enter a message: ")
    getattr(producer, leave)()
    assert producer.left() == 0
    assert "Traceback" not in producer.before
    assert with_valkey.messages() == ["one"]


LINES = {
    "unicode": "naïve 東京 🐇 \u2028 one line",
    "1 MB": "m" * 1_000_000,
    "quotes": """ "double" 'single' {"message": 1} \\n """,
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_whatever_is_typed_arrives_whole(with_rabbitmq, line):
    producer = with_rabbitmq.open(*PRODUCER)
    producer.see("Enter a message: ")
    producer.maxread, producer.searchwindowsize = 100_000, 1000  # or the echo of 1 MB takes long to search
    producer.type_much(line + "\n")
    producer.see("Sent as task", "Enter a message: ")
    assert with_rabbitmq.messages() == [line]


BLOCK = [f"line {number} " + "x" * 300 for number in range(50)]


PASTES = {"plain": "\n".join(BLOCK) + "\n", "bracketed": "\x1b[200~" + "\n".join(BLOCK) + "\x1b[201~\n"}


@pytest.mark.parametrize("paste", PASTES.values(), ids=PASTES.keys())
def test_a_pasted_block_arrives_as_its_lines(with_valkey, paste):
    """Pasted by a terminal that marks pastes, and by one that does not."""
    producer = with_valkey.open(*PRODUCER)
    producer.see("Enter a message: ")
    producer.type_much(paste)
    producer.see(*["Sent as task"] * len(BLOCK), "Enter a message: ")
    assert with_valkey.messages() == BLOCK


def test_piped_bytes_that_are_not_text_do_not_stop_the_producer(with_valkey):
    command = f"printf 'a\\377b\\ngood\\n' | {' '.join(PRODUCER)}"
    printed, status = with_valkey.run("sh", "-c", command)
    assert status == 0 and "Traceback" not in printed
    assert with_valkey.messages() == ["a\ufffdb", "good"]


def test_a_refused_message_is_named_and_the_producer_goes_on(with_rabbitmq):
    good = with_rabbitmq.broker
    for broker, answer in (
        (good.replace("mypassword", "wrong"), "ACCESS_REFUSED"),
        (good + "x", "NOT_ALLOWED"),
        ("amqp://myuser:mypassword@localhost:1//", "Connection refused"),
    ):
        producer = with_rabbitmq.open(*PRODUCER, CELERY_BROKER_URL=broker)
        for line in ("one", "two"):
            producer.see("Enter a message: ")
            producer.sendline(line)
            producer.see(f"Not sent: '{line}'", "user, password", answer)
        assert "mypassword" not in producer.before
        producer.sendline("exit")
        assert producer.left() == 0
    assert with_rabbitmq.messages() == []


def test_the_producer_sends_again_when_the_broker_is_back(student):
    producer = student.open(*PRODUCER)
    producer.see("Enter a message: ")
    producer.sendline("early")
    producer.see("Not sent: 'early'", "Enter a message: ")
    for line in ("one", "two"):
        servers = student.open("python", "-m", "lab", "servers")
        servers.see("Ctrl-C ends")
        producer.sendline(line)
        producer.see("Sent as task", "Enter a message: ")
        servers.sendintr()
        servers.left()
    servers = student.open("python", "-m", "lab", "servers")
    servers.see("Ctrl-C ends")
    assert student.messages() == ["one", "two"]
