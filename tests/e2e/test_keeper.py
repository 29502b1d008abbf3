"""The keeper of the lab's children, in this process."""

import errno
import socket

import pytest
from conftest import free_port

from lab.run import keeper, servers
from lab.run.folder import Folder
from lab.run.keeper import Keeper, Record
from lab.run.servers import Servers


@pytest.fixture(autouse=True)
def own_signals(monkeypatch):
    """close() is to leave this process its signals."""
    monkeypatch.setattr(keeper, "ENDS", ())


def test_what_cannot_be_started_ends_at_once_and_is_not_in_the_record(tmp_path):
    """A record with a process that never was would name the lab itself, for the next one to end."""
    record = tmp_path / "servers.children"
    own = Keeper(record=Record(record))
    try:
        child = own.start("nothing", [tmp_path / "not there"], tmp_path / "log")
        assert child.ended.wait(5) and child.code == errno.ENOENT
        assert not record.exists()
        own.start("something", ["sleep", "60"], tmp_path / "log")
        assert '"something"' in record.read_text()
    finally:
        own.close()
    assert not record.exists()


def test_the_stand_in_gets_another_port_when_somebody_takes_its_own_in_the_same_moment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Keeper()
    try:
        with socket.create_server(("127.0.0.1", 0)) as other:
            ports = [free_port(), other.getsockname()[1]]
            monkeypatch.setattr(servers, "free_port", lambda wanted: ports.pop())
            broker = Servers(own, Folder(), lambda name: None).broker("ampq://localhost//")
        assert broker.product.startswith("Valkey") and not ports
    finally:
        own.close()
