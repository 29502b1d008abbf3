"""The folder .lab: data and logs of what the lab starts, and who runs it at the moment."""

import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.fault import Fault
from lab.paths import ROOT
from lab.probe.ports import user
from lab.probe.wait import wait_until

OWN = ROOT / ".lab"  # the folder of a lab started in its own repository
SOON = 1  # seconds that need no explanation
START = 90  # seconds that another lab may take to start
Facts = dict[str, Any]  # what a lab runs, as it says in JSON


class Folder:
    """.lab in the current folder, or, where that cannot be used, a temporary one (problem says why); or a temporary one
    from the beginning."""

    problem: str | None = None

    def __init__(self, temporary: bool = False) -> None:
        self.path = Path(".lab").absolute()
        self._temporary: list[Path] = []
        if temporary:
            self.path = self._make_temporary()
            return
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            make_private(self.path)
            tempfile.TemporaryFile(dir=self.path).close()
        except OSError as error:
            self.problem = error.strerror or str(error)
            self.path = self._make_temporary()

    def data(self, name: str) -> Path:
        """The folder in which the server called name keeps its data."""
        path = self.path / name
        try:
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Fault(f"The folder {path} cannot be made: {error.strerror}") from None
        return path

    def plain(self, path: Path) -> Path:
        """The same folder under a name that RabbitMQ can read in its configuration: a link to it, if need be."""
        if re.fullmatch(r"[\w/.+@-]+", str(path), re.ASCII):
            return path
        link = self._make_temporary() / path.name
        link.symlink_to(path)
        return link

    def log(self, name: str) -> Path:
        """The log file of the part called name."""
        return self.path / f"{name}.log"

    def remove_if_temporary(self) -> None:
        for path in self._temporary:
            shutil.rmtree(path, ignore_errors=True)

    def _make_temporary(self) -> Path:
        self._temporary.append(Path(tempfile.mkdtemp(prefix="lab-")))
        return self._temporary[-1]


def make_private(folder: Path) -> None:
    """Let nobody else read a folder of ours. Raises OSError if it is not ours, or cannot be private."""
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link")
    if folder.stat().st_uid != os.geteuid():
        raise OSError(errno.EPERM, f"it belongs to {user(folder.stat().st_uid)}")
    mode = folder.stat().st_mode
    if mode & 0o077:
        folder.chmod(0o700)
    if folder.stat().st_mode & 0o077:
        raise OSError(
            errno.EPERM, "nothing can be private on this file system. Put the lab into your home folder in Linux"
        )
    # Others may have put anything there, for example a log that is a link to a file, which would be emptied.
    if mode & 0o022:
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_symlink() or path.lstat().st_uid != os.geteuid():
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


class Claim:
    """The right to start something in a folder, held by one lab at a time.

    The file `<folder>/<name>.claim` is locked as long as that lab, or its keeper, is alive, and says in
    JSON what it runs. There is no process id in it that could go stale.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.claim"
        self._file = open(self._path, "ab")

    def take(self, tell: Callable[[str], None] = lambda sentence: None) -> Facts | None:
        """None when the claim is ours from now on; otherwise what its holder runs. Raises Fault.

        tell(sentence) is called when that takes a while.
        """
        outcome = wait_until(self._try, SOON)
        if outcome is None:
            tell("Another lab in this folder is starting or ending; waiting for it …")
            outcome = wait_until(self._try, START)
        if outcome is None:
            found = f"Another lab in this folder is still starting or ending, after {START} seconds"
            raise Fault(found, "Close that one first")
        return outcome["holder"]

    def holder(self) -> Facts | None:
        """What its holder runs, without waiting; None when there is none, or it is not ready."""
        outcome = self._try()
        self._file.close()  # if the claim was free, it is so again
        return outcome and outcome["holder"]

    @classmethod
    def held(cls, name: str, folders: Iterable[Path] = (Path(".lab"), OWN)) -> Facts:
        """What a lab of this user publishes under a name, in the current folder or else in the lab's own; {}
        without."""
        for path in folders:
            with suppress(OSError):
                ours = (path / f"{name}.claim").stat().st_uid == os.geteuid()
                if holder := ours and cls(path, name).holder():
                    return holder
        return {}

    def _try(self) -> dict[str, Facts | None] | None:
        """{"holder": its facts, or None if we hold it now}; None while the holder is starting or ending."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.withdraw()
            return {"holder": None}
        except BlockingIOError:
            with suppress(json.JSONDecodeError):
                return {"holder": json.loads(self._path.read_text())}
        except OSError as error:  # a network drive whose server has none
            self._file.close()
            found = f"Files cannot be locked in {self._path.parent}: {error.strerror}"
            raise Fault(found, "Put the lab's folder on a disk of this machine") from None
        return None

    def publish(self, **facts: Any) -> None:
        """Tell others what runs here. They wait until this is said."""
        self._file.write(json.dumps(facts).encode())
        self._file.flush()

    def is_published(self) -> bool:
        """Whether its holder, who may be somebody else, still says what it runs."""
        return self._path.stat().st_size > 0

    def withdraw(self) -> None:
        """Nobody may join from here on."""
        self._file.truncate(0)

    def fileno(self) -> int:
        return self._file.fileno()
