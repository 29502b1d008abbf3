"""`lab xray` against real brokers: it sees a whole life, and leaves every message as it was."""

import io
import os
import re
import signal
import time
import uuid
from contextlib import redirect_stdout

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from e2e.guarded import Guarded
from e2e.student import eventually
from e2e.test_guard_fuzz import garbage, made, messages
from lab.cli.xray import show_message, steps
from lab.live.firehose import NoTracing, traced
from lab.live.xray import XRay
from lab.probe.address import Address
from lab.probe.queue import waiting
from lab.probe.workers import workers

NUMBER = int(os.environ.get("LAB_FUZZ", "30"))


def xray(student, *task):
    terminal = student.open("python", "-m", "lab", "xray", *task)
    terminal.see("Ctrl-C ends this")
    return terminal


def worker(student, *options):
    terminal = student.open("celery", "-A", "my_ml_app", "worker", "-c", "1", "--without-mingle", *options)
    eventually(lambda: workers(student.app), "the worker answers")
    return terminal


def is_traced(student, api):
    """Whether the student's virtual host is traced, what else is known of it, and which queues are there for copies."""
    name = student.broker.rpartition("/")[2]
    host = api.get(f"/vhosts/{name}").json()
    queues = [queue["name"] for queue in api.get(f"/queues/{name}?disable_stats=true").json()]
    copies = [queue for queue in queues if queue.startswith("lab-xray")]
    return host["tracing"], host["description"], host["tags"], copies


def test_a_life_from_the_sender_to_who_reads_its_result(served):
    student = served
    worker(student)
    terminal = xray(student)
    terminal.see("Send a message now")
    result = student.app.send_task("my_ml_app.predict", [{"message": "is it? \x1b[2J"}])
    terminal.see("Its life is over")
    assert terminal.left() == 0
    for line in (
        "message +my_ml_app.predict,\\s+" + result.id,
        "sender +origin .*@.*, lang py",
        "address +exchange '', routing key 'celery'",
        'content_type +"application/json"',
        'task +"my_ml_app.predict"',
        "body +[0-9]+ bytes: ",
        "nothing is missing",
        r"0\.000 s +sent +by .*127\.0\.0\.1:\d+",
        "in the broker +in 'celery'",
        r"taken +by 127\.0\.0\.1:.*, for the first\s+time",
        "received +by celery@",
        "started +by celery@",
        r"finished +SUCCESS, after 0\.2\d\d s",
        "stored +SUCCESS",
        r"read +by 127\.0\.0\.1:\d+, which waits for it",
        "acknowledged +by " if Address(student.broker).is_redis else "confirmed +by|nobody",
    ):
        assert re.search(line, terminal.seen), line
    printed, status = student.run("python", "-m", "lab", "xray", result.id)
    assert (status, "finished" in printed, "Its life is over" in printed) == (0, True, True)
    assert "\x1b[2J" not in terminal.seen + printed
    assert not [line for line in printed.splitlines() if len(line) > 80]


def test_no_message_is_taken_moved_or_marked(served):
    """And the next one that is sent is shown, whatever waits before it."""
    student = served
    for number in range(3):
        student.app.send_task("my_ml_app.predict", [{"message": "x"}], task_id=f"before-{number}")
    terminal = xray(student)
    terminal.see("Send a message now")
    for number in range(3):
        student.app.send_task("my_ml_app.predict", [{"message": "x"}], task_id=f"after-{number}")
    terminal.see("message +my_ml_app.predict, after-0", "in the broker +in 'celery'", "No worker answers")
    terminal.sendintr()
    terminal.see("What was seen is kept: .*xray")
    assert terminal.left() == 130
    printed = student.open("python", "-m", "lab", "xray", "before-2")
    if Address(student.broker).is_redis:
        printed.see("message +my_ml_app.predict, before-2", "in 'celery', behind 2 others")
    else:
        printed.see("Nobody knows before-2 yet", "RabbitMQ gives no copy of what waits")
    printed.sendintr()
    printed.left()
    assert waiting(student.app) == 6
    with student.app.connection() as connection:
        got = [connection.default_channel.basic_get("celery") for _ in range(6)]
    assert [one.headers["id"] for one in got] == [f"{when}-{n}" for when in ("before", "after") for n in range(3)]
    assert not [one for one in got if one.delivery_info.get("redelivered") or one.headers.get("redelivered")]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_rabbitmq_is_as_before_however_it_ends_even_for_the_impatient(with_rabbitmq, rabbitmq, how):
    student, (api, _) = with_rabbitmq, rabbitmq
    known = {"description": "for a course", "tags": "a,b"}
    api.put(f"/vhosts/{student.broker.rpartition('/')[2]}", json=known).raise_for_status()
    before = is_traced(student, api)
    terminal = xray(student)
    terminal.see("Send a message now")
    assert is_traced(student, api)[:3] == (True, *before[1:3])
    for _ in range(4):
        terminal.kill(how)
        time.sleep(0.05)  # as fingers do
    terminal.left()
    assert is_traced(student, api) == before == (False, "for a course", ["a", "b"], [])


def test_two_x_rays_do_not_blind_each_other(with_rabbitmq, rabbitmq):
    student, (api, _) = with_rabbitmq, rabbitmq
    first, second = xray(student), xray(student)
    first.see("Send a message now")
    second.see("Send a message now")
    first.sendintr()
    first.left()
    student.app.send_task("my_ml_app.predict", [{"message": "x"}], task_id="seen")
    second.see("message +my_ml_app.predict, seen")
    second.sendintr()
    second.left()
    assert is_traced(student, api)[::3] == (False, [])


def test_tracing_that_somebody_else_switched_on_stays_on(with_rabbitmq, rabbitmq):
    student, (api, _) = with_rabbitmq, rabbitmq
    api.put(f"/vhosts/{student.broker.rpartition('/')[2]}", json={"tracing": True}).raise_for_status()
    with traced(Address(student.broker), None):
        pass
    assert is_traced(student, api)[0] is True


def test_a_user_who_may_not_trace(with_rabbitmq, rabbitmq):
    student, (api, _) = with_rabbitmq, rabbitmq
    host, name = student.broker.rpartition("/")[2], f"plain-{uuid.uuid4().hex[:8]}"
    api.put(f"/users/{name}", json={"password": "x", "tags": "management"}).raise_for_status()
    try:
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        api.put(f"/permissions/{host}/{name}", json=everything).raise_for_status()
        address = Address(student.broker.replace("myuser:mypassword", f"{name}:x"))
        with pytest.raises(NoTracing) as refused, traced(address, None):
            pass
        assert f"`rabbitmqctl set_user_tags {name} administrator`" in refused.value.sentences()
    finally:
        api.delete(f"/users/{name}").raise_for_status()


def test_what_goes_to_no_queue_is_lost_and_what_lacks_parts_is_said(with_rabbitmq, rabbitmq):
    """Sent with the management API, as curl would."""
    student, (api, _) = with_rabbitmq, rabbitmq
    host = student.broker.rpartition("/")[2]
    terminal = xray(student)
    terminal.see("Send a message now")
    headers = {"task": "my_ml_app.predict"}
    what = {"properties": {"headers": headers}, "routing_key": "celry", "payload": "5", "payload_encoding": "string"}
    api.post(f"/exchanges/{host}/amq.default/publish", json=what).raise_for_status()
    terminal.see("sender +origin unknown", "It has no content type", "It has no header id", "ends every worker")
    terminal.see("sent +by RabbitMQ's management API", "in no queue", "It is lost: no queue is called 'celry'")
    assert terminal.left() == 0


def test_a_broker_that_is_away(student):
    printed, status = student.run("python", "-m", "lab", "xray")
    assert status == 1 and "Nothing listens" in printed


@pytest.fixture
def seeing(served):
    """An XRay of a student's broker, and what sends raw messages there."""
    sender = object.__new__(Guarded)
    sender.student, sender.connection = served, served.app.connection()
    sender.channel = sender.connection.default_channel
    sender.channel.queue_declare("celery", durable=True, auto_delete=False)
    with XRay(served.app, "celery", lambda: None, served.path) as seen:
        yield seen, sender
    sender.connection.release()


def test_what_is_given_back_and_what_is_acknowledged(seeing):
    seen, sender = seeing
    task = sender.valid()
    first = eventually(lambda: sender.channel.basic_get("celery"), "it waits")
    sender.channel.basic_reject(first.delivery_tag, requeue=True)
    again = eventually(lambda: sender.channel.basic_get("celery"), "it is back")
    sender.channel.basic_ack(again.delivery_tag)
    wanted = [("message", False), ("taken", False), ("message", True), ("taken", True), ("acknowledged", False)]
    if not sender.redis:  # RabbitMQ tells nobody of it
        wanted = [one for one in wanted if one not in (("message", True), ("acknowledged", False))]

    def known():
        seen.take()
        facts = seen.lives[task].facts if task in seen.lives else []
        return [(fact["fact"], bool(fact.get("redelivered") or fact.get("given_back"))) for fact in facts]

    eventually(lambda: known() == wanted, "all of it is seen")


@pytest.mark.timeout(3600)
def test_whatever_is_sent_is_shown_safely(seeing):
    seen, sender = seeing
    raw = some.tuples(some.just("garbage"), garbage)

    @settings(max_examples=NUMBER, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(messages | raw if sender.redis else messages)
    def fuzz(what):
        kind, *parts = what
        if kind == "garbage":
            sender.raw(made(*parts))
        else:
            headers, body, properties = parts
            if not sender.send_or_not(headers, made(body), **properties):
                return
        task = sender.valid()

        def arrived():
            seen.take()
            return task in seen.lives

        eventually(arrived, "what was sent after it is seen")
        screen = io.StringIO()
        with redirect_stdout(screen):
            for life in list(seen.lives.values()):
                for fact in life.since(0):
                    if fact is life.copy:
                        show_message(fact)
                    steps(fact, [])
        assert "\x1b" not in screen.getvalue() and screen.getvalue().count("message  ") >= 2
        seen.lives.clear()

    fuzz()
    assert not seen.fault
