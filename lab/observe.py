"""Facts, asked of the real thing: broker, result backend, management API, workers, Flower and ports."""

import asyncio
import json
import os
import pwd
import re
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from typing import NamedTuple
from urllib.parse import quote

import amqp
import httpx
import psutil
import redis
from celery.app.backends import BACKEND_ALIASES
from kombu import Producer
from kombu.exceptions import KombuError
from kombu.pidbox import Mailbox
from kombu.transport import TRANSPORT_ALIASES
from kombu.utils import uuid
from kombu.utils.url import parse_url

from lab.fault import Fault, Wrong, printable

ANSWER = 2  # seconds that a server on this machine may take to answer
LOGIN = 4  # seconds that a login may take: several answers, and each perhaps in pieces
PAGE = 10_000_000  # bytes of an answer that are read; RabbitMQ needs some hundred for a queue

AWAY = (OSError, KombuError, amqp.AMQPError, redis.RedisError)  # what a broker that is not there raises
ODD = (AttributeError, KeyError, TypeError, ValueError, RecursionError)  # what comes of reading JSON of another shape
PEOPLE = 1000  # the first user id of a person; Linux gives its system accounts those below
# Options of a connection for what is only asked: one try, and an end to it. polling_interval is how long, in seconds,
# Redis is asked to wait for an answer; Kombu stays until that is over.
ONCE = {"confirm_publish": False, "max_retries": 0, "read_timeout": ANSWER, "socket_timeout": ANSWER}
ONCE["polling_interval"] = 0.1
LOCAL = {"localhost", "127.0.0.1", "::1"}
PORTS = {"amqp": 5672, "pyamqp": 5672, "redis": 6379}


class UnreadableAddress(Wrong):
    """The address {address} cannot be read: {reason}."""

    next = """It is `protocol://user:password@machine:port/virtual_host`, as one text without spaces. In a user or a
        password, write / as %2F, # as %23, ? as %3F, : as %3A, @ as %40. Correct it in {place}"""


class NoProtocol(Wrong):
    """The address {address} does not begin with a protocol."""

    next = "RabbitMQ's is amqp://, and Redis's is redis://. Put it before the address in {place}"


class UnknownProtocol(Wrong):
    """Celery knows no protocol {scheme}://."""

    next = """RabbitMQ's is amqp:// (http:// is its dashboard's), and Redis's is redis://. Correct the address
        in {place}"""


class NoMachine(Wrong):
    """No machine is called {host!r}."""

    next = "Correct the address in {place}: this machine is `localhost`"


class NothingListens(Wrong):
    """Nothing listens at {where}."""

    next = "`make lab` or `make servers` starts it, in the lab's own folder. Or correct the address in {place}"


class AnothersServer(Wrong):
    """What listens at {where} belongs to {owner}, and is not for you: the lab of somebody else, perhaps."""

    next = """For a server of your own, write another port into the address in {place}, {other} for example, and start
        the lab again"""


class WrongPassword(Wrong):
    """RabbitMQ at {where} refuses the user {user!r} with this password."""

    next = """Put a user and password that it knows into the address in {place} (`**` hides a password). Or stop it
        (a lab, or `sudo systemctl stop rabbitmq-server`): `make servers` then starts one that knows yours"""


class GuestFromElsewhere(Wrong):
    """RabbitMQ at {where} refuses the user 'guest': it may log in from RabbitMQ's own machine only."""

    next = """Make a user of your own there, and put it into {place}: `rabbitmqctl add_user myuser mypassword`,
        `rabbitmqctl set_permissions myuser ".*" ".*" ".*"`, `rabbitmqctl set_user_tags myuser management`"""


class WrongVirtualHost(Wrong):
    """RabbitMQ at {where} has no virtual host {virtual_host!r} for the user {user!r}."""

    next = """Correct the end of the address in {place}: `//` means the virtual host `/`. Or make this one, and
        give the user permission, on the page Admin of its dashboard. (A lab that is started again does so by itself)"""


class RedisRefuses(Wrong):
    """Redis at {where} refuses the login: {reason}."""

    next = "The password stands before the machine: `redis://:password@machine:port/0`. Correct the address in {place}"


class NoDatabase(Wrong):
    """Redis at {where} has no database {database!r}."""

    next = "The address ends in a database's number, mostly 0 to 15. Correct it in {place}"


class NotAnswering(Wrong):
    """What listens at {where} does not answer: it is frozen, or it is not {product}."""

    next = """See what it is with `python -m lab doctor`, and start it again. Or correct the port in {place}: RabbitMQ's
        is 5672 (15672 is its dashboard's), and Redis's is 6379"""


class OtherServer(Wrong):
    """What listens at {where} is not {product}: {error}."""

    next = "RabbitMQ's port is 5672 (15672 is its dashboard's), and Redis's is 6379. Correct the address in {place}"


class ManagementAway(Wrong):
    """RabbitMQ answers, but its dashboard does not: {found}."""

    next = """Switch its plugin on (`rabbitmq-plugins enable rabbitmq_management`). In Docker: take an image whose name
        ends in `-management`, and publish port 15672. If it answers 401, the user needs a tag:
        `rabbitmqctl set_user_tags {user} management`"""


class BrokerFull(Wrong):
    """RabbitMQ at {where} takes no message at the moment: its machine has too little {what} left."""

    passes = True
    next = """Make room there: the page Overview of its dashboard shows in red how much it wants. It then goes on by
        itself, and what waits in its queues is kept"""


class Address:
    """The parts of a broker's or result backend's URL that a person asks about."""

    def __init__(self, url):
        if reason := why_unreadable(url):
            raise UnreadableAddress(address=hidden(url), reason=reason, place=place(url))
        parts = parse_url(url)
        self.url = url
        self.scheme = parts["transport"].partition("+")[0]
        self.is_rabbitmq = self.scheme in ("amqp", "pyamqp")
        self.is_redis = self.scheme == "redis"
        default = "guest" if self.is_rabbitmq else ""
        self.host = parts["hostname"] or "localhost"
        self.port = parts["port"] or PORTS.get(self.scheme)
        self.user = parts["userid"] or default
        self.password = parts["password"] or default
        self.virtual_host = parts["virtual_host"] or "/"  # RabbitMQ's; Celery means / by "", "/" and "//" alike
        self.is_local = self.host in LOCAL

    @property
    def management(self):
        """Base URL of RabbitMQ's management API; by convention its port is the broker's plus 10000."""
        return f"http://{self.host}:{self.port + 10000}"

    def is_same_as(self, other):
        """Whether two addresses mean the same queues, however they are written."""
        mine, theirs = ((one.is_local or one.host, one.port, one.virtual_host) for one in (self, other))
        return mine == theirs

    def __str__(self):
        return hidden(self.url)


def hidden(url):
    """An address as it is written, with ** for its password. It need not be a readable one."""
    before, at, machine = str(url).rpartition("@")
    user, colon, _ = before.removeprefix(protocol := re.match(r"\W*(\w+:/+)?", before)[0]).partition(":")
    return f"{protocol}{user}{colon and ':**'}{at}{machine}"


def why_unreadable(url):
    """What makes an address one that Celery cannot read, in words; None when nothing does."""
    if isinstance(url, tuple):
        return "it is no text, but a tuple, which a comma after it makes of it"
    if not isinstance(url, str):
        return "it is no text"
    before, _, machine = url.rpartition("@")
    if url != url.strip() or " " in machine.partition("/")[0]:
        return "there is a space in it"
    if signs := sorted(set(before.partition("://")[2]) & set("/#?[]")):
        return f"there is a {signs[0]} in its user or password"
    try:
        password = parse_url(url)["password"]
    except ValueError:
        return "its port is no number from 1 to 65535"
    if password and not password.strip("*"):
        return f"its password is written as {password}, which the lab shows in place of the real one"
    return None


def place(url):
    """Where an address stands that is the broker's or the result backend's: in words that follow "in"."""
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        if url and os.environ.get(name) == url:
            return f"{name}, which this terminal has, and which goes before celeryconfig.py (`unset {name}`)"
    return "celeryconfig.py"


def wait_until(fact, seconds, every=0.05):
    """Ask fact() until it is true, once more when the seconds are over, and return what it said; None if it was not."""
    deadline = time.monotonic() + seconds
    while not (answer := fact()) and time.monotonic() < deadline:
        time.sleep(every)
    return answer or None


def ask(url):
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
    if address.is_local and (owner := stranger(address.port)):
        raise AnothersServer(owner=owner, other=address.port + 1, **facts)  # who must not hear the password
    try:
        socket.create_connection((address.host, address.port), ANSWER).close()
        return within(LOGIN, log_in, address, facts)
    except ConnectionRefusedError:
        raise NothingListens(**facts) from None
    except (socket.gaierror, UnicodeError):  # which is what an empty or too long part of a name raises
        raise NoMachine(host=address.host, **facts) from None
    except (TimeoutError, redis.TimeoutError):
        raise NotAnswering(product=product, **facts) from None
    except (OSError, amqp.AMQPError, redis.RedisError) as error:
        raise OtherServer(product=product, error=printable(" ".join(str(error).split())), **facts) from None
    except Fault:
        raise
    except Exception:  # anything, from a client that reads what it does not understand
        raise OtherServer(product=product, error="its answer makes no sense", **facts) from None


def answers(url):
    """What ask(url) says; None when it raises Fault."""
    try:
        return ask(url)
    except Fault:
        return None


def _rabbitmq(address, **options):
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


def _log_in_to_rabbitmq(address, facts):
    connection = _rabbitmq(address)
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


def _log_in_to_redis(address, facts):
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


def management(dashboard, broker, path="/overview"):
    """What RabbitMQ's management API says, asked with the broker's own credentials. Raises Fault."""
    try:
        said = get(dashboard, f"/api{path}", (broker.user, broker.password)).json()
        if path == "/overview":
            said["rabbitmq_version"]  # which nobody else says
        return said
    except ODD:
        raise Fault(f"What answers at {dashboard} is not RabbitMQ's management API") from None


class Totals(NamedTuple):
    """Messages of a queue: ready, those that wait there; unacked, those that were delivered and not acknowledged."""

    ready: int
    unacked: int


def totals(dashboard, broker):
    """{queue: Totals} of the broker's virtual host, as they are now. Raises Fault.

    Asked of RabbitMQ's management API like this, the queues themselves answer. What it says otherwise, and what its
    pages show, are statistics: up to ten seconds old, where they are collected every five.
    """
    path = f"/queues/{quote(broker.virtual_host, safe='')}?disable_stats=true&enable_queue_totals=true"
    said = management(dashboard, broker, path)
    try:
        numbers = {one["name"]: (one.get("messages_ready"), one.get("messages_unacknowledged")) for one in said}
    except ODD:
        raise Fault(f"What answers at {dashboard} is not RabbitMQ's management API") from None
    # A queue whose node is down has no numbers.
    return {
        name: Totals(*both) for name, both in numbers.items() if all(isinstance(one, int) and one >= 0 for one in both)
    }


def waiting(app, queue=None):
    """How many messages wait in a queue, by default the app's: none when it is not there. Raises Fault."""
    try:
        with app.connection_for_read(transport_options=ONCE) as connection:
            channel = connection.default_channel
            try:
                return channel.queue_declare(queue or app.conf.task_default_queue, passive=True).message_count
            except connection.channel_errors:
                return 0
    except AWAY as error:
        raise Fault(f"The broker does not answer: {error}") from None


def alarm(address, dashboard):
    """What RabbitMQ at an Address has too little of, "disk space" for example; None as long as it takes messages.

    Whoever sends then waits without an end. Only who sends is told of it, so a message is sent, to nobody; what is
    short the dashboard knows, and tells users with the tag monitoring. Raises OSError and AMQPError.
    """
    if not address.is_rabbitmq:
        return None
    blocked = []
    connection = _rabbitmq(address, on_blocked=blocked.append)
    try:
        connection.connect()
        channel = connection.channel()
        channel.confirm_select()
        channel.basic_publish(amqp.Message(""), routing_key="nobody")
        connection.drain_events(ANSWER)  # a confirmation, or the news that it is blocked
    finally:
        connection.collect()
    if not blocked:
        return None
    nodes = []
    with suppress(Fault):
        nodes = management(dashboard, address, "/nodes")
    short = {"disk_free_alarm": "disk space", "mem_alarm": "memory"}
    named = [what for flag, what in short.items() if any(node.get(flag) for node in nodes)]
    return " and ".join(named) or "disk space or memory"


def takes_messages(url, dashboard):
    """What ask(url) says about a broker that takes messages, too. Raises Fault, BrokerFull for one."""
    product, address = ask(url), Address(url)
    with suppress(*AWAY):
        if short := alarm(address, dashboard):
            raise BrokerFull(where=f"{address.host}:{address.port}", what=short)
    return product


def take_back(app, queue, tasks, seconds=5):
    """Take those messages out of a queue whose task ids are in the set tasks, and out of that the ids of these.

    What is left in tasks was not there, or not found in so many seconds: 100,000 messages may stand before it. All
    others keep their places, however this ends.
    """
    deadline = time.monotonic() + seconds
    with app.connection_for_write() as connection:
        look = _take_back_from_redis if Address(app.conf.broker_url).is_redis else _take_back
        look(connection, queue, tasks, deadline)


def _take_back(connection, queue, tasks, deadline):
    channel, seen = connection.default_channel, []

    def look(message):
        seen.append(message.delivery_tag)
        if (task := (message.headers or {}).get("id")) in tasks:
            channel.basic_ack(message.delivery_tag)
            tasks.discard(task)

    with suppress(*connection.channel_errors):  # there is no such queue
        left = channel.queue_declare(queue, passive=True).message_count
        channel.basic_consume(queue, callback=look)  # eight times as fast as basic_get
        with suppress(TimeoutError):  # others take messages too
            while tasks and len(seen) < left and (most := deadline - time.monotonic()) > 0:
                connection.drain_events(timeout=min(most, 0.5))
        channel.close()  # the others go back to where they were


def _take_back_from_redis(connection, queue, tasks, deadline):
    redis_, at = connection.default_channel.client, 0
    while tasks and time.monotonic() < deadline and (page := redis_.lrange(queue, at, at + 999)):
        at += len(page)  # from the newest on: what others send meanwhile moves this page further, and hides none
        for message in page:
            if (task := _task_of(message)) in tasks and redis_.lrem(queue, 1, message):
                tasks.discard(task)
                at -= 1


def _task_of(message):
    """The task id in a message as Kombu writes it into Redis; None when it is none."""
    try:
        task = json.loads(message)["headers"]["id"]
        return task if isinstance(task, str) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def ask_workers(app, command, names=None, timeout=1, connection=None, **arguments):
    """What workers answer to a command of `celery inspect` or `celery control`: {name: answer}, or {} when none does.

    Asked are those in names, or all that answer within timeout seconds.
    """
    return dict(each_answer(app, command, names, timeout, connection, **arguments))


def each_answer(app, command, names=None, timeout=1, connection=None, **arguments):
    """As ask_workers, but [(name, answer)]: two workers may have one name.

    It takes a few seconds longer, and no more, when the broker is away, frozen, or takes no messages: Celery's own way
    to ask tries for ever, and needs two connections of a pool that may have one. Over a connection of the caller's,
    what is wrong with it is raised.
    """
    own = connection or app.connection_for_write(transport_options=ONCE)
    try:
        mailbox = _Mailbox(
            app.conf.control_exchange,
            "fanout",
            own,
            app.clock,
            app.conf.accept_content,
            app.conf.task_serializer,
        )
        answers = mailbox.call(names, command, arguments, timeout)
        return [item for answer in answers for item in answer.items()]
    except AWAY:
        if connection:
            raise
        return []
    finally:
        if not connection:
            own.collect()  # to close it properly means to wait for an answer


class _Mailbox(Mailbox):
    """What is asked once, and over the connection on which the answers come."""

    oid = cached_property(lambda self: uuid())  # names the queue of answers; that of another question may be locked

    @contextmanager
    def producer_or_acquire(self, producer=None, channel=None):
        yield _Once(channel, auto_declare=False)


class _Once(Producer):
    def publish(self, *arguments, **options):
        return super().publish(*arguments, **options | {"retry": False})


def workers(app, names=None, timeout=1):
    """Names of the workers that answer within timeout seconds; only those in names, if given, and then at once."""
    return sorted(ask_workers(app, "ping", names, timeout))


def held(app, worker):
    """How many messages a worker works on, or has taken from the queue; None when it says nothing for 5 seconds."""
    number = 0
    for command in ("active", "reserved"):
        answer = ask_workers(app, command, [worker], timeout=5).get(worker)
        if answer is None:
            return None
        number += len(answer)
    return number


def pools(app):
    """The workers that answer within a second, each with the number of its pool processes now."""
    stats = ask_workers(app, "stats")
    return {name: len(facts["pool"].get("processes", [1])) for name, facts in sorted(stats.items())}


def give_back(app):
    """Put messages that dead workers held back into the queue; for when there is no living one.

    RabbitMQ does so by itself. With Redis as broker, Kombu does it after visibility_timeout.
    """
    if Address(app.conf.broker_url).is_redis:
        at_once = ONCE | {"visibility_timeout": 0}
        with suppress(*AWAY), app.connection_for_write(transport_options=at_once) as connection:
            connection.default_channel.qos.restore_visible(num=None, interval=1)


def flower_port():
    """The port at which Flower is to listen. Raises Fault."""
    wanted = os.environ.get("FLOWER_PORT") or "5555"
    if not (re.fullmatch("[0-9]{1,5}", wanted) and 0 < int(wanted) < 65536):
        raise Fault(f"FLOWER_PORT is {wanted!r}, and no number from 1 to 65535", "Type `export FLOWER_PORT=5555`")
    return int(wanted)


def flower_answers(url):
    """Whether Flower is ready at url."""
    try:
        return get(url, "/healthcheck").text == "OK"
    except Fault:
        return False


def get(base, path, auth=None):
    """The answer to a GET request of this path. Raises Fault, whose cause is what httpx said."""
    page = f"{base}{path.partition('?')[0]}"
    try:
        return asyncio.run(_get(base + path, auth))
    except httpx.ConnectError as error:
        raise Fault(f"Nothing listens at {base}") from error
    except httpx.HTTPStatusError as error:
        raise Fault(f"{page} answers {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Fault(f"{page} does not answer: {printable(error) or type(error).__name__}") from error


async def _get(url, auth):
    page = b""
    try:
        # httpx waits for each piece: this is also how long all of them may take.
        async with (
            asyncio.timeout(ANSWER),
            httpx.AsyncClient(trust_env=False, timeout=ANSWER, verify=_certificates()) as client,
            client.stream("GET", url, auth=auth) as answer,
        ):
            answer.raise_for_status()
            async for piece in answer.aiter_bytes():
                page += piece
                if len(page) > PAGE:
                    raise httpx.ReadError(f"more than {PAGE:,} bytes")
    except TimeoutError:
        raise httpx.ReadTimeout(f"not all of it within {ANSWER} s") from None
    return httpx.Response(
        answer.status_code, headers={"content-type": answer.headers.get("content-type", "")}, content=page
    )


@cache
def _certificates():
    """Kept: to read them takes longer than to ask."""
    return httpx.create_ssl_context(trust_env=False)


def within(seconds, question, *arguments):
    """The answer to question(*arguments), or what it raises; TimeoutError after so many seconds, whatever it is at."""
    answer = Future()

    def ask():
        try:
            answer.set_result(question(*arguments))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer.result(seconds)


def listeners(port):
    """The user ids that listen at a port of this machine; none where that cannot be seen, as on macOS."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError), open(table) as lines:
            for line in lines:
                _, local, _, state, _, _, _, uid, *_ = line.split()
                if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                    found.add(int(uid))
    return found


def stranger(port):
    """Who, of the people on this machine, listens at this port, if not the one who asks: "the user 'ada'", or None.

    System accounts (RabbitMQ's, Redis's, and root, for Docker) serve everybody. A lab of root's does not.
    """
    for uid in listeners(port) - {os.geteuid()}:
        if uid >= PEOPLE or (uid == 0 and root_runs_a_lab()):
            return user(uid)
    return None


def root_runs_a_lab():
    """Whether the keeper of a lab runs as root."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().effective == 0 and any(part.endswith("/lab/keeper.py") for part in process.cmdline()):
                return True
    return False


def user(uid):
    """A user as a person calls it."""
    try:
        return f"the user {pwd.getpwuid(uid).pw_name!r}"
    except KeyError:
        return f"the user {uid}"


def port_holder(port):
    """Who listens on a port of this machine: "name (process 42)" if that can be seen, or None for nobody."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:  # macOS shows them to root only
        connections = []
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            with suppress(psutil.NoSuchProcess):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    for uid in listeners(port):
        return f"a process of {user(uid)}"
    return "another process" if takes_connections(port) else None


def takes_connections(port):
    """Whether somebody listens at this port of localhost, whatever address that is here."""
    try:
        socket.create_connection(("localhost", port), ANSWER).close()
    except OSError:
        return False
    return True
