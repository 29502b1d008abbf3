"""The addresses of brokers and result backends."""

import os
import re

from kombu.utils.url import parse_url

from lab.fault import Wrong

LOCAL = {"localhost", "127.0.0.1", "::1"}
PORTS = {"amqp": 5672, "pyamqp": 5672, "redis": 6379}


class UnreadableAddress(Wrong):
    """The address {address} cannot be read: {reason}."""

    next = """Write it as `protocol://user:password@machine:port/virtual_host`, as one text without spaces. In a user or
        password, write / as %2F, # as %23, ? as %3F, : as %3A, @ as %40. Correct it in {place}"""


class Address:
    """The parts of a broker's or result backend's URL."""

    def __init__(self, url: str) -> None:
        if reason := why_unreadable(url):
            raise UnreadableAddress(address=hidden(url), reason=reason, place=place(url))
        parts = parse_url(url)
        self.url = url
        self.scheme = parts["transport"].partition("+")[0]
        self.is_rabbitmq = self.scheme in ("amqp", "pyamqp")
        self.is_redis = self.scheme == "redis"
        default = "guest" if self.is_rabbitmq else ""
        self.host = parts["hostname"] or "localhost"
        self.port: int = parts["port"] or PORTS.get(self.scheme, 0)  # 0 where nobody knows
        self.user = parts["userid"] or default
        self.password = parts["password"] or default
        self.virtual_host = parts["virtual_host"] or "/"  # RabbitMQ's; Celery means / by "", "/" and "//" alike
        self.is_local = self.host in LOCAL

    @property
    def management(self) -> str:
        """Base URL of RabbitMQ's management API; by convention its port is the broker's plus 10000."""
        return f"http://{self.host}:{self.port + 10000}"

    def is_same_as(self, other: "Address") -> bool:
        """Whether two addresses mean the same queues, however they are written."""
        mine, theirs = ((one.is_local or one.host, one.port, one.virtual_host) for one in (self, other))
        return mine == theirs

    def __str__(self) -> str:
        return hidden(self.url)


def hidden(url: object) -> str:
    """An address as it is written, with ** for its password, even if it cannot be read."""
    return re.sub(r"^((?>\W*(?:\w+:/+)?)[^:]*):.*@", r"\1:**@", str(url), flags=re.DOTALL)


def why_unreadable(url: object) -> str | None:
    """Why Celery cannot read an address, in words; None if it can."""
    if isinstance(url, tuple):
        return "it is not a text but a tuple: there is a comma after it"
    if not isinstance(url, str):
        return "it is not a text"
    before, _, machine = url.rpartition("@")
    if url != url.strip() or " " in machine.partition("/")[0]:
        return "there is a space in it"
    if signs := sorted(set(before.partition("://")[2]) & set("/#?[]")):
        return f"there is a {signs[0]} in its user or password"
    try:
        password = parse_url(url)["password"]
    except ValueError:
        return "its port is not a number from 1 to 65535"
    if password and not password.strip("*"):
        return f"its password is {password}, which the lab shows in place of the real one"
    return None


def place(url: object) -> str:
    """Where the broker's or result backend's address is set, in words that can follow "in"."""
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        if url and os.environ.get(name) == url:
            return f"{name}, which this terminal uses instead of celeryconfig.py (`unset {name}` removes it)"
    return "celeryconfig.py"
