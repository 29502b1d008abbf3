"""`lab dead`: what is in the queue dead is shown, sent again, and removed, and never lost."""

import re
import time
from unittest import mock

import amqp
import pytest
import redis
from kombu import Exchange, Queue

from lab.messages import drop_dead, send_dead
from lab.probe.dead import dead

BACK = " What is still poison comes back here.\n"


def put(student, queue, body="[[5], {}, {}]", arguments=None, **headers):
    """Send a message to a queue."""
    with student.app.connection() as connection, connection.channel() as channel:
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        message = channel.prepare_message(body, 0, "application/json", "utf-8", headers, {"delivery_mode": 2})
        channel.basic_publish(message, exchange="", routing_key=queue)
        if not student.broker.startswith("redis"):
            channel.queue_declare(queue, passive=True)  # after that the broker has it


def put_dead(student, minutes=2, **headers):
    why = {"dead_reason": "It has ended 3 processes.", "dead_queue": "celery", "dead_time": time.time() - 60 * minutes}
    put(student, "dead", **why | headers)


def taken(student, queue):
    """Take all messages of a queue: their headers and their bodies."""
    with student.app.connection() as connection, connection.channel() as channel:
        found = iter(lambda: channel.basic_get(queue, no_ack=True), None)
        return [(message.headers, message.body) for message in map(channel.message_to_python, found)]


def test_the_dead_are_shown_with_reason_age_and_origin(served):
    assert served.run("lab", "dead") == ("No message is dead.\n", 0)
    put_dead(served, id="abc", task="my_ml_app.predict")
    put(served, "dead", body="hello \x1b")
    for _ in range(2):  # nothing is taken
        printed, status = served.run("lab", "dead")
        assert status == 0
        assert re.search(
            r"abc  my_ml_app.predict, from celery, 2:\d\d min ago\n +It has ended 3 processes.\n +'\[\[5\], {}, {}\]'\n"
            r"[0-9a-f]{8}  no task, from an unknown queue, nobody says when\n +Nobody says why.\n +'hello \\x1b'\n"
            r"\n`lab dead --again ID`",
            printed,
        )


def test_one_is_sent_again_and_one_removed(served):
    put(served, "celery", id="alive")
    put_dead(served, id="abc", task="my_ml_app.predict", lost_processes=3)
    put_dead(served, id="def")
    put_dead(served)
    unnamed = re.search(r"^([0-9a-f]{8})  no task", served.run("lab", "dead")[0], re.MULTILINE)[1]
    assert served.run("lab", "dead", "--again", "abc") == (f"1 message sent again.{BACK}", 0)
    assert served.run("lab", "dead", "--drop", unnamed) == ("1 message removed.\n", 0)
    for option in ("--again", "--drop"):
        printed, status = served.run("lab", "dead", option, "abc")
        assert printed == "No message in the queue dead is called abc. See what they are called: `lab dead`.\n"
        assert status == 1
    assert [headers["id"] for headers, _ in taken(served, "dead")] == ["def"]
    sent = taken(served, "celery")[-1]
    assert {"id": "abc", "task": "my_ml_app.predict"}.items() <= sent[0].items()
    assert not [name for name in sent[0] if name.startswith(("dead", "lost"))]  # it begins anew
    assert sent[1] in ("[[5], {}, {}]", b"[[5], {}, {}]")


def test_all_are_sent_again_or_removed(served):
    put(served, "celery")
    put(served, "dead")
    assert served.run("lab", "dead", "--drop", "all") == ("1 message removed.\n", 0)
    for number in range(3):
        put_dead(served, id=str(number))
    assert served.run("lab", "dead", "--again", "all") == (f"3 messages sent again.{BACK}", 0)
    assert served.run("lab", "dead", "--drop", "all") == ("No message is dead.\n", 0)
    assert [headers.get("id") for headers, _ in taken(served, "celery")] == [None, "0", "1", "2"]


def test_interrupted_in_the_middle_a_message_is_in_both_queues(served):
    put(served, "celery")
    put_dead(served, id="abc")
    for what in (mock.patch.object(amqp.Channel, "basic_ack"), mock.patch.object(redis.Redis, "lrem")):
        what.start().side_effect = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        send_dead(served.app, "all")
    mock.patch.stopall()
    assert len(taken(served, "celery")) == 2
    assert len(taken(served, "dead")) == 1


def test_what_cannot_be_sent_again_stays(served):
    put(served, "dead", id="lost")
    sentence = "Nobody says which queue lost came from. If you do not need it, remove it: `lab dead --drop lost`.\n"
    assert served.run("lab", "dead", "--again", "lost") == (sentence, 1)
    put_dead(served, id="abc")
    put(served, "celery")
    assert served.run("lab", "dead", "--again", "all") == (f"1 message sent again.{BACK}{sentence}", 1)
    put(served, "dead")
    printed, status = served.run("lab", "dead", "--again", "all")
    assert printed == f"2 messages stay. Of the first:\n{sentence}"
    assert drop_dead(served.app, "lost") == 1


def test_a_queue_that_is_gone(with_rabbitmq):
    """It keeps no other message from its own."""
    put(with_rabbitmq, "celery")
    put_dead(with_rabbitmq, id="abc", dead_queue="gone")
    put_dead(with_rabbitmq, id="def", dead_queue="celery")
    put_dead(with_rabbitmq, id="ghi", dead_queue="gone")
    printed, status = with_rabbitmq.run("lab", "dead", "--again", "all")
    assert printed.startswith(
        f"1 message sent again.{BACK}2 messages stay. Of the first:\nThe queue gone, where abc came"
    )
    assert status == 1
    assert [headers["id"] for headers, _ in taken(with_rabbitmq, "dead")] == ["abc", "ghi"]
    assert [headers.get("id") for headers, _ in taken(with_rabbitmq, "celery")] == [None, "def"]


def test_what_rabbitmq_itself_moves_there(with_rabbitmq):
    """A queue with a dead-letter exchange, as its owner may have set it."""
    with with_rabbitmq.app.connection() as connection:
        Queue("dead", Exchange("dead", "fanout"), channel=connection.default_channel).declare()
        put(with_rabbitmq, "celery", id="abc", arguments={"x-dead-letter-exchange": "dead"})
        message = connection.default_channel.basic_get("celery")
        connection.default_channel.basic_reject(message.delivery_tag, requeue=False)
    with dead(with_rabbitmq.app) as (_, [found]):
        assert (found.name, found.queue, found.reason) == ("abc", "celery", "RabbitMQ says: rejected.")
        assert abs(time.time() - found.since) < 60
    assert send_dead(with_rabbitmq.app, "abc") == (1, [])
    assert not [name for name in taken(with_rabbitmq, "celery")[0][0] if "death" in name]


def test_no_broker(student):
    printed, status = student.run("lab", "dead")
    assert printed.startswith("Nothing listens at ") and "make servers" in printed and status == 1
    printed, status = student.run("lab", "dead", "--again", "a", "--drop", "b")
    assert "give one of --again and --drop." in printed and status == 2
