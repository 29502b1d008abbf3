"""What is said of an address, and of what answers there."""

import time

import pytest
from conftest import said

from lab.fault import Fault
from lab.probe import login, web
from lab.probe.address import Address
from lab.probe.login import NotAnswering, OtherServer, ask
from lab.probe.rabbitmq import totals
from lab.run import servers

BROKER = Address("amqp://myuser:mypassword@localhost//")


@pytest.mark.parametrize(
    "url, says",
    [
        ("localhost:5672", "The address localhost:5672 does not begin with a protocol"),
        ("myuser:secret@localhost:5672//", "The address myuser:**@localhost:5672// does not begin with a protocol"),
        ("amqp//myuser:secret@localhost:5672//", "does not begin with a protocol"),
        ("redis", "The address redis does not begin with a protocol"),
        ("", "does not begin with a protocol"),
        ("ampq://myuser:secret@localhost:5672//", "Celery does not know the protocol ampq://"),
        (
            "http://localhost:15672",
            "Celery does not know the protocol http://. RabbitMQ's is amqp:// (http:// is its dashboard's)",
        ),
        (
            "amqp://myuser:sec/ret@localhost:5672//",
            "myuser:**@localhost:5672// cannot be read: there is a / in its user",
        ),
        ("amqp://myuser:sec#ret@localhost:5672//", "there is a # in its user or password"),
        ("amqp://myuser:sec?ret@localhost:5672//", "there is a ? in its user or password"),
        ("amqp://my[user:secret@localhost:5672//", "there is a [ in its user or password"),
        ("amqp://myuser:secret@localhost:port//", "its port is not a number"),
        ("amqp://myuser:secret@localhost:99999//", "its port is not a number"),
        ("amqp://myuser:secret@localhost:5672// ", "there is a space in it"),
        (
            " amqp://myuser:secret@localhost:5672//",
            " amqp://myuser:**@localhost:5672// cannot be read: there is a space",
        ),
        ("amqp://myuser:secret@localhost 5672//", "there is a space in it"),
        ("amqp://myuser:secret@loclahost.invalid:5672//", "There is no machine called 'loclahost.invalid'"),
        ("amqp://myuser:secret@.:5672//", "There is no machine called '.'"),
        (["amqp://myuser:secret@localhost//"], "amqp://myuser:**@localhost//'] cannot be read: it is not a text"),
        (("amqp://myuser:secret@localhost//",), "it is not a text but a tuple: there is a comma after it"),
        (
            "amqp://myuser:**@localhost:5672//",
            "its password is **, which the lab shows in place of the real",
        ),
    ],
)
def test_a_mistyped_address_has_a_sentence_of_its_own_and_keeps_the_password(url, says):
    sentence = said(ask, url)
    assert says in sentence and "celeryconfig.py" in sentence and "sec" not in sentence


@pytest.mark.parametrize("password", ["my@secret", "my:secret", "my%secret", "my secret"])
def test_what_celery_reads_in_a_password_is_read(password):
    address = Address(f"amqp://myuser:{password}@localhost:5672//")
    assert (address.password, address.host, str(address)) == (
        password,
        "localhost",
        "amqp://myuser:**@localhost:5672//",
    )


def test_an_address_from_the_environment_is_corrected_there(monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", "localhost:5672")
    assert "`unset CELERY_BROKER_URL`" in said(ask, "localhost:5672")


SAYS = {
    "nothing it knows": b"\xff\xfe\r\n" * 9,
    "a number": b":5\r\n" * 9,
    "lists in lists": b"*1\r\n" * 2000,
    "what a terminal obeys": b"-ERR \x1b]0;x\x07\r\n" * 9,
    "half a frame": b"\x01\0\0\0\0\0\x04\0\n\0\n\xce",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("protocol", ["redis", "amqp"])
@pytest.mark.parametrize("says", SAYS.values(), ids=SAYS.keys())
def test_a_server_that_answers_oddly(answering, protocol, says):
    with pytest.raises(Fault, match="is not RabbitMQ: .+|is not Redis: .+|refuses the login: .+") as raised:
        ask(f"{protocol}://myuser:mypassword@localhost:{answering(says)}/0")
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("protocol, says", [("redis", b"+"), ("amqp", b"\1\0\0\0\0\xff\xff")])
def test_a_server_that_answers_letter_by_letter(answering, protocol, says, monkeypatch):
    monkeypatch.setattr(login, "LOGIN", 0.1)
    with pytest.raises((NotAnswering, OtherServer)):  # once, amqp gave up before: EINVAL
        ask(f"{protocol}://myuser:mypassword@localhost:{answering(says + bytes(99), pause=0.02)}/0")


def test_a_port_at_which_somebody_else_takes_connections_is_not_free(monkeypatch):
    """macOS binds to 127.0.0.1 next to somebody who listens at all addresses."""
    port = servers.free_port()
    assert servers.free_port(port) == port
    monkeypatch.setattr(servers, "takes_connections", lambda _: True)
    assert servers.free_port(port) != port


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


ODD = {
    "list of numbers": HEAD + b"[1, 2]",
    "object": HEAD + b'{"error": "x"}',
    "no name": HEAD + b'[{"messages_ready": 1}]',
    "name": HEAD + b'[{"name": ["q"]}]',
    "null": HEAD + b"null",
    "binary": HEAD + b"\xff\xfe",
    "deep": HEAD + b"[" * 100_000,
    "huge": HEAD + b'[{"name": "q", "messages_ready": 1%s, "messages_unacknowledged": 1}]' % (b"0" * 5000),
    "compressed": HEAD.replace(b"Type: application/json", b"Encoding: gzip") + b"x",
    "no HTTP": b"hello",
}


@pytest.mark.parametrize("says", ODD.values(), ids=ODD)
def test_whatever_answers_for_rabbitmqs_dashboard(answering, says):
    with pytest.raises(Fault, match="is not RabbitMQ's management API|does not answer"):
        totals(f"http://127.0.0.1:{answering(says)}", BROKER)


def test_a_dashboard_that_answers_letter_by_letter(answering, monkeypatch):
    """Is told within the time that a whole answer may take."""
    monkeypatch.setattr(web, "ANSWER", 0.1)
    begin = time.monotonic()
    with pytest.raises(Fault, match="does not answer"):
        totals(f"http://127.0.0.1:{answering(HEAD + b'[' * 1000, pause=0.02)}", BROKER)
    assert time.monotonic() - begin < 2
