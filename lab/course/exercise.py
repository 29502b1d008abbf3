"""The course: its exercises, each a folder in exercises/ with everything that belongs to it."""

import importlib.util
import re
from functools import cached_property
from pathlib import Path

from lab.paths import EXERCISES

DEADLINE = 9  # seconds; Python begins within the tenth


class Exercise:
    """One folder: README.md, why.md, hints.md, check.py, states.py, and what it hands out in stub/ and solution/."""

    def __init__(self, path):
        self.path = Path(path)
        self.number = int(self.path.name[:2])
        self.label = self.path.name[:2]

    def text(self, name):
        return (self.path / name).read_text(encoding="utf-8")

    @cached_property
    def title(self):
        """The first line of its README, without the number."""
        return self.text("README.md").partition("\n")[0].split(maxsplit=2)[2]

    @cached_property
    def hints(self):
        """The numbered parts of hints.md, in order."""
        return [part.strip() for part in re.split(r"^\d\. ", self.text("hints.md"), flags=re.MULTILINE)[1:]]

    @property
    def why(self):
        return self.text("why.md").strip()

    @cached_property
    def prediction(self):
        """What is to be predicted: the question, the choices as {letter: text}, and the letter of the right one."""
        section = self.text("README.md").partition("## Predict before you run")[2].partition("\n## ")[0]
        question, _, choices = section.partition("\n- ")
        choices = re.findall(r"^- (\w)\) (.*(?:\n  .*)*)", f"- {choices}", re.MULTILINE)
        words = {letter: " ".join(text.split()) for letter, text in choices}
        answer = re.match(r"\*\*(\w)\)\*\*", self.why)
        return " ".join(question.split()), words, answer and answer[1]

    @property
    def stubs(self):
        return self._files("stub")

    @property
    def solutions(self):
        return self._files("solution")

    def _files(self, folder):
        """What is in a folder, but for what Python, a desktop or an editor leaves there."""
        left = re.compile(r"__pycache__|\.DS_Store|\._.*|.*~|\..*\.swp")
        root = self.path / folder
        found = sorted(file for file in root.rglob("*") if file.is_file())
        return [file for file in found if not any(map(left.fullmatch, file.relative_to(root).parts))]

    @cached_property
    def _module(self):
        return load(self.path / "check.py")

    def check(self, desk):
        """Facts as sentences, one after the other, as they are found; raises Fault at the first that is wrong."""
        return self._module.check(desk)

    @property
    def deadline(self):
        """Seconds that its check has, once it has begun: DEADLINE in check.py, where a student is waited for."""
        return getattr(self._module, "DEADLINE", DEADLINE)

    @property
    def keeps_worker_busy(self):
        """Whether predictions that its check has sent run on in every process when it has ended."""
        return getattr(self._module, "KEEPS_WORKER_BUSY", False)

    @property
    def wrong_states(self):
        """The wrong states that this check recognises, as {name: class}."""
        return {kind.__name__: kind for kind in self._module.RECOGNISES}

    @property
    def states(self):
        """The functions of states.py: how to bring about the stub, the reference, and each wrong state.

        A name that begins with _ is a helper's; two names of one function are one state.
        """
        module = load(self.path / "states.py")
        functions = {
            name: one for name, one in vars(module).items() if getattr(one, "__module__", "") == module.__name__
        }
        return {name: one for name, one in functions.items() if not name.startswith("_")}


def load(path):
    """The Python file at path as a module, wherever it lies."""
    specification = importlib.util.spec_from_file_location(f"{path.parent.name}.{path.stem}", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def course():
    """All exercises, in order."""
    return [Exercise(path) for path in sorted(EXERCISES.glob("[0-9][0-9]_*"))]
