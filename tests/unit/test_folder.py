"""The folder .lab, and the claims in it."""

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from lab.fault import Fault
from lab.run.folder import Claim, Folder

ADA = 12345  # a person; the system's accounts have lower numbers


def test_the_folder_is_ours_and_private(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".lab"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (folder / "worker.log").symlink_to(precious)  # by somebody who hopes that the lab empties it
    (folder / "runs").mkdir()
    (folder / "runs" / "mine.jsonl").write_text("kept")
    assert Folder().problem is None and folder.stat().st_mode & 0o777 == 0o700
    Folder().log("worker").write_bytes(b"")
    assert precious.read_text() == (folder / "runs" / "mine.jsonl").read_text() == "kept"
    shutil.rmtree(folder / "runs")
    (folder / "worker.log").unlink()
    with monkeypatch.context() as patch:
        folder.chmod(0o777)
        patch.setattr(Path, "chmod", lambda *_: None)  # a Windows drive forgets it
        assert "nothing can be private on this file system" in Folder().problem
    folder.rmdir()
    folder.symlink_to("/tmp")
    assert Folder().problem == "it is a symbolic link"
    folder.unlink()
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, ADA, -1)
        assert Folder().problem == "it belongs to the user 12345"
        (folder / "servers.claim").write_text("{}")
        os.chown(folder / "servers.claim", ADA, -1)
        assert Claim.held("servers", [folder]) == {}


def test_a_drive_without_locks(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(Fault, match="Files cannot be locked in .*: No locks available"):
        Claim(Folder().path, "servers").take()
