"""The keeper of the lab's children, with none of the lab's servers."""

import errno

from lab.run import keeper
from lab.run.keeper import Keeper, Record


def test_what_cannot_be_started_ends_at_once_and_is_not_in_the_record(tmp_path, monkeypatch):
    """A record with a process that never was would name the lab itself, for the next one to end."""
    monkeypatch.setattr(keeper, "ENDS", ())  # close() is to leave this process its signals
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
