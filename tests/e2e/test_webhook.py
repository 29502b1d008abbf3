"""Exercise 21: predictions that are told to a URL, whatever is there, and whoever dies."""

import asyncio
import importlib.util
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import psutil
import pytest
from celery import signature
from conftest import ROOT, free_port
from hypothesis import given, settings
from hypothesis import strategies as some
from standardwebhooks import Webhook

from e2e.student import ID, eventually, require
from lab.probe.ports import takes_connections

SOLUTION = ROOT / "exercises/21_webhook/solution"
NUMBER = int(os.environ.get("LAB_FUZZ", "100"))  # URLs, and requests; 1,000 are many
SECRET = "whsec_bXlzZWNyZXRteXNlY3JldG15c2VjcmV0"
LOOPBACK = {"WEBHOOK_ALLOW": "127.0.0.0/8"}


@contextmanager
def listening(*statuses):
    """A receiver of the test's own: it answers with these HTTP statuses, then always with the last one. The URL, and a
    list of (headers, body) that grows; the signature of each was verified."""
    came, left = [], list(statuses)

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802 - the library's name
            body = self.rfile.read(int(self.headers["content-length"]))
            came.append((dict(self.headers), Webhook(SECRET).verify(body, dict(self.headers))))
            status = left.pop(0) if len(left) > 1 else left[0]
            if not status:
                return  # the connection is closed
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", came
        server.shutdown()


def with_callback(student):
    for name in ("callback.py", "receiver.py"):
        shutil.copy(SOLUTION / name, student.path)
    return student


def worker(student, **env):
    """A worker of one process, from callback.py."""
    options = ["--concurrency=1", "--without-gossip", "--without-mingle", "--loglevel=INFO"]
    terminal = student.open("celery", "-A", "callback", "worker", *options, **LOOPBACK | env)
    terminal.see("ready")
    return terminal


def ask(student, url, payload, **options):
    """A prediction that is told to this URL, as callback.py sends it."""
    told, failed = (signature("callback.deliver", [url], {"failed": failed}) for failed in (False, True))
    return student.app.send_task("my_ml_app.predict", [payload], link=told, link_error=failed, **options)


def test_a_result_and_a_failure_are_told_once(served):
    student, port = with_callback(served), free_port()
    receiver = student.open("python", "receiver.py", str(port))
    worker(student)
    eventually(lambda: takes_connections(port), "the receiver listens")
    url = f"http://localhost:{port}/"
    printed, status = student.run("python", "callback.py", url, "Is it told?")
    assert status == 0, printed
    receiver.see(f"prediction.done.*{re.search(ID, printed)[0]}.*'prediction': 'question'")
    failed = ask(student, url, "just text").id
    receiver.see(f"prediction.failed.*{failed}.*predict needs a payload like")
    expired = ask(student, url, {"message": "too late"}, expires=-1).id
    receiver.see(f"prediction.done.*{ask(student, url, {'message': 'the last'}).id}")
    assert expired not in receiver.seen  # as why.md says: nobody is told


def test_a_receiver_that_is_away_gets_it_in_the_end(served):
    """A closed connection, 503 and a redirect are failures; each try has the same id, and a signature of its own."""
    student = with_callback(served)
    works = worker(student)
    with listening(0, 503, 302, 204) as (url, came):
        sent = ask(student, url, {"message": "It is told."})
        works.see(r"callback.deliver\[.*succeeded")
    assert {headers["webhook-id"] for headers, _ in came} == {sent.id}
    assert len({headers["webhook-signature"] for headers, _ in came}) == 4
    times = [int(headers["webhook-timestamp"]) for headers, _ in came]
    assert 6 <= times[-1] - times[0] <= 18, times  # 1 to 2, 2 to 4 and 4 to 8 seconds, and a busy machine
    assert [event["data"]["result"]["message"] for _, event in came] == ["It is told."] * 4


def test_410_and_an_address_that_is_not_allowed_are_the_end(with_valkey):
    student = with_callback(with_valkey)
    works = worker(student, WEBHOOK_ALLOW="127.0.0.1/32")
    with listening(410) as (url, came):
        ask(student, url, {"message": "x"})
        works.see(r"deliver\[.*NotDelivered.*wants no webhooks any more: 410")
        ask(student, url.replace("127.0.0.1", "127.0.0.2"), {"message": "x"})
        works.see(r"deliver\[.*NotDelivered.*is on no public machine, so nobody was called")
    assert len(came) == 1
    assert "Traceback" not in works.seen


def test_what_a_killed_worker_did_not_tell_is_told(with_rabbitmq):
    """A worker is killed whenever three more were told, in the middle of the next; each that comes twice has its id."""
    student = with_callback(with_rabbitmq)
    with listening(204) as (url, came):
        sent = [ask(student, url, {"message": f"{number}", "seconds": 0.05}).id for number in range(9)]
        for wanted in (3, 6):
            works = worker(student)
            eventually(lambda wanted=wanted: len(came) >= wanted, "it tells")
            kill(works)
        # The next one ends after a prediction, before it is told: its message waits behind a longer one.
        sent.append(ask(student, url, {"message": "told by another worker"}).id)
        sent.append(ask(student, url, {"message": "longer", "seconds": 3}).id)
        works = worker(student)
        works.see("Received:", "longer")
        kill(works)
        worker(student)
        eventually(lambda: {headers["webhook-id"] for headers, _ in came} == set(sent), "all of them are told")


def kill(terminal):
    """kill -9 a worker and its pool processes."""
    process = psutil.Process(terminal.pid)
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def callback():
    """The module, which is allowed to call nothing but public addresses."""
    return loaded("callback")


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"solution_{name}", SOLUTION / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NOT_PUBLIC = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1"),
    *("192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *(
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
    ),
    *("64:ff9b:1::7f00:1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "fc00::1", "fd00:ec2::254", "fe80::1"),
    *("fe80::1%lo", "fec0::1", "ff02::1"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_address_is_called_that_is_not_public(callback, address):
    assert not callback.may_call(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_addresses_are_called(callback, address):
    assert callback.may_call(address)


def ways(number):
    """How an IPv4 address can be written in a URL; 32 bits."""
    a, b, c, d = number.to_bytes(4)
    v4 = ipaddress.ip_address(number)
    return [
        *(str(v4), str(number), hex(number), f"0{number:o}", f"{a}.{number % 2**24}", f"{a}.{b}.{number % 2**16}"),
        *(f"0{a:o}.{b:#x}.{c}.0{d:o}", f"{a:#x}.{number % 2**24:#x}", f"{v4}.", f"[::ffff:{v4}]", f"[::{v4}]"),
        *(f"[64:ff9b::{v4}]", f"[2002:{number >> 16:x}:{number % 2**16:x}::]", f"[::ffff:0:{v4}]", f"%31{str(v4)[1:]}"),
    ]


private = some.sampled_from(
    ["127.0.0.0/8", "10.0.0.0/8", "0.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "224.0.0.0/3"]
)
v4 = some.just(0x7F000001) | private.flatmap(
    lambda text: some.integers(*(int(ipaddress.ip_network(text)[end]) for end in (0, -1)))
)
v6 = some.ip_addresses(v=6).map(lambda address: f"[{address}]")
hosts = v4.flatmap(lambda number: some.sampled_from(ways(number))) | v6 | some.text(max_size=80)
hosts |= some.sampled_from(
    ["localhost", "LOCALHOST", "localhost.", "[::1]", "[::]", "[fe80::1%25lo]", "[::1%lo]", "ⓛocalhost"]
)
schemes = some.sampled_from(
    ["http", "http", "HTTP", "https", "ftp", "file", "gopher", "unix", "http+unix", "javascript", ""]
)
users = some.sampled_from(["", "me@", "me:x@", "8.8.8.8@", "8.8.8.8#@", "8.8.8.8\\@", "8.8.8.8%00@", "//"])
tails = (
    some.sampled_from(["", "/", "/x?y#z", "#@8.8.8.8/", "\\@8.8.8.8/", "?@8.8.8.8", " /", "\r\nHost: x"]) | some.text()
)


@pytest.fixture
def loopback(monkeypatch):
    """A listener on loopback that counts, and the attempts to connect to anything else, none of which leaves here."""
    server = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) if has_v6() else None
    server = server or socket.create_server(("127.0.0.1", 0))
    counted, tried, connect, look_up = [], [], socket.create_connection, socket.getaddrinfo

    def accept():
        with suppress(OSError):
            while True:
                with server.accept()[0] as connection:
                    counted.append(connection.getpeername())

    def create_connection(address, *more, **options):
        tried.append(address[0])
        if ipaddress.ip_address(address[0]).is_global:
            raise ConnectionRefusedError
        return connect(address, *more, **options)

    def getaddrinfo(host, *more, **options):  # no name server is asked
        known = os.fsencode(host).lower().startswith(b"localhost")
        return look_up(host, *more, **options | {"flags": 0 if known else socket.AI_NUMERICHOST})

    monkeypatch.setattr(socket, "create_connection", create_connection)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    threading.Thread(target=accept, daemon=True).start()
    with closing(server):
        yield server.getsockname()[1], counted, tried


def has_v6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_whatever_the_url_nothing_here_is_called(callback, loopback):
    port, counted, tried = loopback
    said = Counter()

    @settings(max_examples=NUMBER, derandomize="LAB_FUZZ" not in os.environ, deadline=None, database=None)
    @given(schemes, users, hosts, some.sampled_from([f":{port}"] * 4 + ["", ":0", ":-1", ":99999", ":x", ":"]), tails)
    def fuzz(scheme, user, host, at, tail):
        del tried[:]
        try:
            answer = callback.post(f"{scheme}://{user}{host}{at}{tail}", {}, "", 0)
        except (callback.NotDelivered, httpx.TransportError, OSError) as error:  # what deliver() makes a sentence of
            answer = type(error).__name__
        said[answer] += 1
        assert not counted
        assert all(callback.may_call(address) for address in tried), tried

    fuzz()
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        eventually(lambda: counted, "the listener counts")
    assert said["NotDelivered"] > NUMBER // 2
    print(dict(said))


def test_a_name_that_changes_after_the_check_leads_nowhere_else(tmp_path):
    """DNS rebinding, with a real name server; who checks first and connects then is led to loopback."""
    require("unshare and ip", shutil.which("unshare") and shutil.which("ip"))
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    for name in ("celeryconfig.py", "my_ml_app.py"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copy(SOLUTION / "callback.py", tmp_path)
    lines = [
        "ip link set lo up",
        "ip address add 93.184.215.14/32 dev lo",
        'mount --bind "$1/resolv.conf" /etc/resolv.conf',
        'exec "$2" "$3" "$1"',
    ]
    script = ROOT / "tests/e2e/rebinding.py"
    command = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-ec", "\n".join(lines), "sh"]
    done = subprocess.run([*command, tmp_path, sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["checked first"] == {"93.184.215.14": 0, "127.0.0.1": 1}
    assert found["in the end"]["127.0.0.1"] == 1, "callback.py was led to loopback"
    assert found["in the end"]["93.184.215.14"] + found["refused"] == 20
    assert found["refused"] >= 9


def test_tls_wants_the_name_and_not_the_address(callback, monkeypatch):
    monkeypatch.setattr(callback, "ALLOWED", [ipaddress.ip_network("127.0.0.0/8")])
    hellos = []

    def accept():
        with server.accept()[0] as connection:
            hellos.append(connection.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        with pytest.raises(httpx.TransportError):
            callback.post(f"https://localhost:{server.getsockname()[1]}/", {}, "", 0)
        thread.join()
    assert b"localhost" in hellos[0]


def test_no_proxy_is_asked_and_an_endless_answer_is_not_read(callback, monkeypatch):
    monkeypatch.setattr(callback, "ALLOWED", [ipaddress.ip_network("127.0.0.0/8")])
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")  # where nobody is

    def answer():
        with server.accept()[0] as connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                connection.sendall(b"1000\r\n" + bytes(0x1000) + b"\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        assert callback.post(f"http://127.0.0.1:{server.getsockname()[1]}/", {}, "", 0) == 200
        thread.join()  # its connection was closed


@pytest.mark.parametrize("place", ["mailto:me", "https:here", "http://[", "http://xn--/", "http://localhost/"])
def test_a_redirect_to_anything_is_a_failure_that_is_tried_again(callback, monkeypatch, place):
    """httpx reads where it leads, and has an error of its own for each of these."""
    monkeypatch.setattr(callback, "ALLOWED", [ipaddress.ip_network("127.0.0.0/8")])

    def answer():
        with server.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        callback.deliver.push_request(parent_id="one")
        with pytest.raises(callback.NotDelivered, match="was tried 1 times"):  # what retry() raises without a worker
            callback.deliver.run("x", f"http://127.0.0.1:{server.getsockname()[1]}/")
        callback.deliver.pop_request()
        thread.join()


signatures = some.sampled_from(["v1,", "v1", "v1,AAAA", "v1a,AAAA v1,x,y", ",", "v2,é", ""]) | some.text(max_size=60)
times = some.integers().map(str) | some.sampled_from(["nan", "inf", "1e400", "", "-1", "1_0"]) | some.text(max_size=20)
values = signatures | times | some.text(max_size=60)


def posted(receiver, headers, body):
    """The status of the answer of a receiver that is no process of its own; headers are pairs."""

    async def post():
        transport = httpx.ASGITransport(receiver.app)  # which raises what the app does not catch
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
            return (await client.post("/", content=body, headers=headers)).status_code

    return asyncio.run(post())


def test_a_copy_with_a_second_id_is_not_printed_again(capsys):
    """The library verifies the last one of two headers with one name, and Starlette gives the first one."""
    receiver, now, body = loaded("receiver"), datetime.now(UTC), '{"type": "prediction.done"}'
    headers = [
        ("webhook-id", "one"),
        ("webhook-timestamp", str(int(now.timestamp()))),
        ("webhook-signature", Webhook(SECRET).sign("one", now, body)),
    ]
    assert posted(receiver, headers, body) == 204
    assert posted(receiver, [("webhook-id", "two"), *headers], body) == 401
    assert posted(receiver, [*headers, ("webhook-id", "two")], body) == 204
    assert capsys.readouterr().out.count("prediction.done") == 1


def test_whatever_comes_the_receiver_believes_nothing_that_is_not_signed():
    receiver, said = loaded("receiver"), Counter()
    now = some.builds(lambda: str(int(time.time())))
    fields = {
        "webhook-id": values,
        "webhook-timestamp": now | times,
        "webhook-signature": signatures,
        "content-type": values,
    }

    @settings(max_examples=NUMBER, derandomize="LAB_FUZZ" not in os.environ, deadline=None, database=None)
    @given(some.fixed_dictionaries({}, optional=fields), some.binary(max_size=99))
    def fuzz(headers, body):
        headers = [(name.encode(), value.encode(errors="replace")) for name, value in headers.items()]
        said[posted(receiver, headers, body)] += 1

    fuzz()
    assert set(said) == {401}
    assert not receiver.seen
