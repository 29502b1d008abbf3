"""How the lab connects to what it asks: one try, with a time limit."""

from typing import Any

import amqp
import redis
from kombu.exceptions import KombuError

from lab.probe.address import Address

ANSWER = 2  # seconds that a server on this machine may take to answer
AWAY = (OSError, KombuError, amqp.AMQPError, redis.RedisError)  # what a broker that is not there raises
# Options of a connection for what is only asked: one try, and an end to it. polling_interval is how long, in seconds,
# Redis is asked to wait for an answer; Kombu stays until that is over.
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
