"""The folder .lab: data and logs of what the lab starts, and who runs it at the moment."""

import fcntl
import json
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from lab.fault import Fault
from lab.observe import wait_until

OWN = Path(__file__).resolve().parent.parent / ".lab"  # the folder of a lab started in its own repository
START = 90  # seconds that another lab may take to start


class Folder:
    """.lab in the current folder, or, where that cannot be written, a temporary one (problem says why)."""

    def __init__(self):
        self.path = Path(".lab").absolute()
        self.problem = None
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()
        except OSError as error:
            self.path = Path(tempfile.mkdtemp(prefix="lab-"))
            self.problem = error.strerror

    def data(self, name):
        """The folder in which the server called name keeps its data."""
        path = self.path / name
        try:
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Fault(f"The folder {path} cannot be made: {error.strerror}") from None
        return path

    def log(self, name):
        """The log file of what is called name."""
        return self.path / f"{name}.log"

    def remove_if_temporary(self):
        if self.problem:
            shutil.rmtree(self.path, ignore_errors=True)


class Claim:
    """The right to start something in a folder, held by one lab at a time.

    The file `<folder>/<name>.claim` is locked as long as that lab, or its keeper, is alive, and says in
    JSON what it runs. There is no process id in it that could go stale.
    """

    def __init__(self, folder, name):
        self._path = folder.path / f"{name}.claim"
        self._file = open(self._path, "ab")

    def take(self):
        """None when the claim is ours from now on; otherwise what its holder runs. Raises Fault."""
        outcome = wait_until(self._try, START)
        if outcome is None:
            raise Fault(f"Another lab in this folder is still starting, after {START} seconds", "Close that one first")
        return outcome["holder"]

    def holder(self):
        """What its holder runs, without waiting; None when there is none, or it is not ready."""
        outcome = self._try()
        self._file.close()  # if the claim was free, it is so again
        return outcome and outcome["holder"]

    @classmethod
    def held(cls, name):
        """What the lab that runs in the current folder, or else in its own, publishes under a name; or {}."""
        for path in (Path(".lab"), OWN):
            if (path / f"{name}.claim").exists():
                with suppress(OSError):
                    if holder := cls(SimpleNamespace(path=path), name).holder():
                        return holder
        return {}

    def _try(self):
        """{"holder": its facts, or None if we hold it now}; None while the holder is starting or ending."""
        with suppress(BlockingIOError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.withdraw()
            return {"holder": None}
        with suppress(json.JSONDecodeError):
            return {"holder": json.loads(self._path.read_text())}

    def publish(self, **facts):
        """Tell others what runs here. They wait until this is said."""
        self._file.write(json.dumps(facts).encode())
        self._file.flush()

    def is_published(self):
        """Whether its holder, who may be somebody else, still says what it runs."""
        return self._path.stat().st_size > 0

    def withdraw(self):
        """Nobody may join from here on."""
        self._file.truncate(0)

    def fileno(self):
        return self._file.fileno()
