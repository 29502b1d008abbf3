"""How the lab connects to what it asks: one try, with a time limit."""

import logging
from typing import Any

import amqp
import redis
from kombu.exceptions import KombuError

from lab.probe.address import Address

ANSWER = 2  # seconds that a server on this machine may take to answer
logging.getLogger("amqp").addHandler(logging.NullHandler())  # what it says of channels that close is not for students
AWAY = (OSError, KombuError, amqp.AMQPError, redis.RedisError)  # what a broker that is not there raises
# Options of a connection that only asks: one try, with a time limit. polling_interval is how many seconds Redis waits
# for an answer; Kombu cannot stop that wait.
ONCE: dict[str, Any] = {"confirm_publish": False, "max_retries": 0, "read_timeout": ANSWER, "socket_timeout": ANSWER}
ONCE["polling_interval"] = 0.1


def rabbitmq(address: Address, **options: Any) -> amqp.Connection:
    """A connection to RabbitMQ that is not open yet."""
    return amqp.Connection(
        f"{address.host}:{address.port}",
        userid=address.user,
        password=address.password,
        virtual_host=address.virtual_host,
        connect_timeout=ANSWER,
        read_timeout=ANSWER,
        **options,
    )
