"""What delay() promises: 1,000 messages go to the RabbitMQ of terminal 7, which is killed. How many are there then?"""

import os
import time
from pathlib import Path

import psutil
from kombu.exceptions import OperationalError

from my_ml_app import app, predict  # with your settings

os.environ["CELERY_BROKER_URL"] = "amqp://myuser:mypassword@localhost:5699//"  # no other RabbitMQ is meant


def send(number):
    """Do what delay() does, to a queue of our own, until it raises an error; return how many messages it accepted."""
    for accepted in range(number):
        begin = time.monotonic()
        try:
            predict.apply_async([{"message": "Are you there?"}], queue="promise", ignore_result=True)
        except OperationalError as error:
            print(f"delay() raised OperationalError after {time.monotonic() - begin:.1f} s: {error}")
            return accepted
    return number


def rabbitmq():
    return psutil.Process(int(Path(".lab/rabbitmq/pid").read_text()))


def in_queue():
    """How many messages are in the queue, once RabbitMQ answers again. They are taken out."""
    while True:
        try:
            with app.connection() as connection:
                return connection.default_channel.queue_purge("promise")
        except (OSError, OperationalError):
            time.sleep(0.5)


for freezes in (False, True):
    if (accepted := send(900)) < 900:
        break  # nothing runs that could be killed
    if freezes:
        rabbitmq().suspend()
        while rabbitmq().status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
    try:
        accepted += send(100)
    finally:
        rabbitmq().kill()
    print(f"{'Frozen, then killed' if freezes else 'Killed'}: {accepted} accepted, {in_queue()} there.")
