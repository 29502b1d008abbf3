"""Log in to a broker or a result backend, and say what is wrong when that fails."""

import re
import socket

import amqp
import redis
from celery.app.backends import BACKEND_ALIASES
from kombu.transport import TRANSPORT_ALIASES

from lab.fault import Fault, Wrong, printable
from lab.probe.address import Address, place
from lab.probe.connection import ANSWER, rabbitmq
from lab.probe.ports import stranger
from lab.probe.wait import within

LOGIN = 4  # seconds that a login may take: it needs several answers, and each may come in pieces


class NoProtocol(Wrong):
    """The address {address} does not begin with a protocol."""

    next = "RabbitMQ's is amqp://, and Redis's is redis://. Put it before the address in {place}"


class UnknownProtocol(Wrong):
    """Celery does not know the protocol {scheme}://."""

    next = """RabbitMQ's is amqp:// (http:// is its dashboard's), and Redis's is redis://. Correct the address
        in {place}"""


class NoMachine(Wrong):
    """There is no machine called {host!r}."""

    next = "Correct the address in {place}: this machine is `localhost`"


class NothingListens(Wrong):
    """Nothing listens at {where}."""

    next = "`make lab` or `make servers` starts it, in the lab's own folder. Or correct the address in {place}"


class AnothersServer(Wrong):
    """The server at {where} belongs to {owner}, and is not for you: perhaps it is somebody else's lab."""

    next = """For a server of your own, write another port into the address in {place}, for example {other}, and start
        the lab again"""


class WrongPassword(Wrong):
    """RabbitMQ at {where} refuses the user {user!r} with this password."""

    next = """Write a user and password that it knows into the address in {place} (`**` hides a password). Or stop it (a
        lab, or `sudo systemctl stop rabbitmq-server`): `make servers` then starts one that knows yours"""


class GuestFromElsewhere(Wrong):
    """RabbitMQ at {where} refuses the user 'guest', who may log in only on RabbitMQ's own machine."""

    next = """Make a user of your own there, and put it into {place}: `rabbitmqctl add_user myuser mypassword`,
        `rabbitmqctl set_permissions myuser ".*" ".*" ".*"`, `rabbitmqctl set_user_tags myuser management`"""


class WrongVirtualHost(Wrong):
    """RabbitMQ at {where} has no virtual host {virtual_host!r} for the user {user!r}."""

    next = """Correct the end of the address in {place}: `//` means the virtual host `/`. Or make this virtual host, and
        give the user permission, on the page Admin of its dashboard. (A lab does that itself when it starts again)"""


class RedisRefuses(Wrong):
    """Redis at {where} refuses the login: {reason}."""

    next = "The password comes before the machine: `redis://:password@machine:port/0`. Correct the address in {place}"


class NoDatabase(Wrong):
    """Redis at {where} has no database {database!r}."""

    next = "The address ends with the number of a database, usually 0 to 15. Correct it in {place}"


class NotAnswering(Wrong):
    """The server at {where} does not answer: it is frozen, or it is not {product}."""

    next = """See what it is with `lab doctor`, and start it again. Or correct the port in {place}: RabbitMQ's is 5672
        (15672 is its dashboard's), and Redis's is 6379"""


class OtherServer(Wrong):
    """The server at {where} is not {product}: {error}."""

    next = "RabbitMQ's port is 5672 (15672 is its dashboard's), and Redis's is 6379. Correct the address in {place}"


def ask(url: str) -> str:
    """Log in where url points, and return the server's name and version. Raises Fault."""
    address = Address(url)
    if not re.match(r"[\w+]+://", url):
        raise NoProtocol(address=address, place=place(url))
    if address.scheme not in {*TRANSPORT_ALIASES, *BACKEND_ALIASES}:
        raise UnknownProtocol(scheme=address.scheme, place=place(url))
    if not (address.is_rabbitmq or address.is_redis):
        return address.scheme  # the lab knows nothing more about it
    product, log_in = ("RabbitMQ", _log_in_to_rabbitmq) if address.is_rabbitmq else ("Redis", _log_in_to_redis)
    facts = {"where": f"{address.host}:{address.port}", "place": place(url)}
    try:
        socket.create_connection((address.host, address.port), ANSWER).close()
        if address.is_local and (owner := stranger(address.port)):
            raise AnothersServer(owner=owner, other=address.port + 1, **facts)  # it must not see the password
        return within(LOGIN, log_in, address, facts)
    except ConnectionRefusedError:
        raise NothingListens(**facts) from None
    except (socket.gaierror, UnicodeError):  # raised for a name with an empty or too long part
        raise NoMachine(host=address.host, **facts) from None
    except (TimeoutError, redis.TimeoutError):
        raise NotAnswering(product=product, **facts) from None
    except (OSError, amqp.AMQPError, redis.RedisError) as error:
        raise OtherServer(product=product, error=printable(" ".join(str(error).split())), **facts) from None
    except Fault:
        raise
    except Exception:  # a client that reads nonsense may raise anything
        raise OtherServer(product=product, error="its answer makes no sense", **facts) from None


def answers(url: str) -> str | None:
    """What ask(url) says; None when it raises Fault."""
    try:
        return ask(url)
    except Fault:
        return None


def _log_in_to_rabbitmq(address: Address, facts: dict[str, str]) -> str:
    connection = rabbitmq(address)
    try:
        connection.connect()
        return printable("{product} {version}".format_map(connection.server_properties))
    except amqp.AccessRefused:
        is_guest = address.user == "guest" and not address.is_local
        raise (GuestFromElsewhere if is_guest else WrongPassword)(user=address.user, **facts) from None
    except amqp.NotAllowed:
        raise WrongVirtualHost(user=address.user, virtual_host=address.virtual_host, **facts) from None
    finally:
        connection.collect()


def _log_in_to_redis(address: Address, facts: dict[str, str]) -> str:
    database = address.virtual_host.strip("/") or "0"
    if not database.isdecimal():
        raise NoDatabase(database=database, **facts)
    client = redis.Redis.from_url(address.url, socket_timeout=ANSWER, socket_connect_timeout=ANSWER)
    try:
        server = client.info("server")
    except (redis.AuthenticationError, redis.ResponseError) as error:
        if "DB index" in str(error):
            raise NoDatabase(database=database, **facts) from None
        wanted = "it does not know this user with this password" if address.password else "it wants a password"
        reason = wanted if isinstance(error, redis.AuthenticationError) else printable(error)
        raise RedisRefuses(reason=reason, **facts) from None
    finally:
        client.close()
    name = "Valkey" if server.get("server_name") == "valkey" else "Redis"
    return printable(f"{name} {server.get('valkey_version') or server.get('redis_version')}")
