"""The course: its exercises, each a folder in exercises/ with everything that belongs to it."""

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from lab.fault import Wrong
from lab.paths import EXERCISES

if TYPE_CHECKING:
    from lab.course.desk import Desk  # which imports Celery: `lab list` needs none of it

DEADLINE = 9  # seconds; Python begins within the tenth


class Question(NamedTuple):
    """What a student predicts: choices are {letter: text}, answer is the letter of the right one."""

    text: str
    choices: dict[str, str]
    answer: str


class Exercise:
    """One folder: README.md, why.md, hints.md, check.py, states.py, and what it hands out in stub/ and solution/."""

    def __init__(self, path: Path):
        self.path = path
        self.number = int(self.path.name[:2])
        self.label = self.path.name[:2]

    def text(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")

    @cached_property
    def title(self) -> str:
        """The first line of its README, without the number."""
        return self.text("README.md").partition("\n")[0].split(maxsplit=2)[2]

    @cached_property
    def hints(self) -> list[str]:
        """The numbered parts of hints.md, in order."""
        return [part.strip() for part in re.split(r"^\d\. ", self.text("hints.md"), flags=re.MULTILINE)[1:]]

    @property
    def why(self) -> str:
        return self.text("why.md").strip()

    @cached_property
    def prediction(self) -> Question:
        """The Question in its README; the right answer is what why.md begins with."""
        section = self.text("README.md").partition("## Predict before you run")[2].partition("\n## ")[0]
        question, _, choices = section.partition("\n- ")
        found = re.findall(r"^- (\w)\) (.*(?:\n  .*)*)", f"- {choices}", re.MULTILINE)
        words = {letter: " ".join(text.split()) for letter, text in found}
        answer = re.match(r"\*\*(\w)\)\*\*", self.why)
        return Question(" ".join(question.split()), words, answer[1] if answer else "")

    @property
    def stubs(self) -> list[Path]:
        return self._files("stub")

    @property
    def solutions(self) -> list[Path]:
        return self._files("solution")

    def _files(self, folder: str) -> list[Path]:
        """The files in a folder, without those that Python, a desktop or an editor leaves there."""
        left = re.compile(r"__pycache__|\.DS_Store|\._.*|.*~|\..*\.swp")
        root = self.path / folder
        found = sorted(file for file in root.rglob("*") if file.is_file())
        return [file for file in found if not any(map(left.fullmatch, file.relative_to(root).parts))]

    @cached_property
    def _module(self) -> ModuleType:
        return load(self.path / "check.py")

    def check(self, desk: "Desk") -> Iterator[str]:
        """Facts as sentences, one after the other, as they are found; raises Fault at the first that is wrong."""
        return self._module.check(desk)

    @property
    def has_check(self) -> bool:
        return callable(getattr(self._module, "check", None))

    @property
    def deadline(self) -> float:
        """Seconds that its check has, once it has begun: DEADLINE in check.py, where a student is waited for."""
        return getattr(self._module, "DEADLINE", DEADLINE)

    @property
    def keeps_worker_busy(self) -> bool:
        """Whether predictions that its check has sent run on in every process when it has ended."""
        return getattr(self._module, "KEEPS_WORKER_BUSY", False)

    @property
    def wrong_states(self) -> dict[str, type[Wrong]]:
        """The wrong states that this check recognises, by their names."""
        return {kind.__name__: kind for kind in self._module.RECOGNISES}

    @property
    def own_wrong_states(self) -> dict[str, type[Wrong]]:
        """The wrong states that check.py itself defines, by their names."""
        kinds = [one for one in vars(self._module).values() if isinstance(one, type) and issubclass(one, Wrong)]
        return {kind.__name__: kind for kind in kinds if kind.__module__ == self._module.__name__}

    @cached_property
    def states(self) -> dict[str, Callable[..., object]]:
        """The functions of states.py: they set up the stub, the reference, and each wrong state.

        A name that begins with _ is a helper's; two names of one function are one state.
        """
        module = load(self.path / "states.py")
        functions = {
            name: one for name, one in vars(module).items() if getattr(one, "__module__", "") == module.__name__
        }
        return {name: one for name, one in functions.items() if not name.startswith("_")}


def load(path: Path) -> ModuleType:
    """The Python file at path, as a module."""
    loader = SourceFileLoader(f"{path.parent.name}.{path.stem}", str(path))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module


def course() -> list[Exercise]:
    """All exercises, in order."""
    return [Exercise(path) for path in sorted(EXERCISES.glob("[0-9][0-9]_*"))]
