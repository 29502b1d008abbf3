"""The sentences of everything that can be wrong: whole, filled in, and a direction rather than the solution."""

import ast
import importlib
import inspect
import pkgutil
import string
from pathlib import Path

import pytest

import lab
from lab.course.exercise import course, load
from lab.fault import Fault, Wrong

COURSE = course()
PROGRAMS = ("__main__", "trial.app", "trial.producer")  # they begin when they are imported
NAMES = [one.name for one in pkgutil.walk_packages(lab.__path__, "lab.") if not one.name.endswith(PROGRAMS)]
MODULES = [*map(importlib.import_module, NAMES), *(load(one.path / "check.py") for one in COURSE)]
KINDS = {
    f"{module.__name__}.{kind.__name__}": kind
    for module in MODULES
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Wrong) and kind.__module__ == module.__name__ and kind is not Wrong
}


def facts(kind):
    """The names of the facts that its two sentences are about."""
    fields = (name for text in (kind.__doc__, kind.next) for _, name, _, _ in string.Formatter().parse(text))
    return {name.partition(".")[0].partition("[")[0] for name in fields if name}


class Anything(str):
    """Stands for a fact of any type."""

    def __format__(self, _):
        return str(self)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_its_sentences_are_whole(kind):
    assert "__doc__" in vars(kind) and kind.__doc__.endswith("."), "its docstring is a sentence, with its full stop"
    assert kind.next and not kind.next.endswith("."), "`next` says what to do; its full stop is added when it is shown"
    wrong = kind(**{name: Anything("it") for name in facts(kind)})
    for text in (str(wrong), wrong.remedy):
        assert text == " ".join(text.split()) and not text.endswith(".")
        assert text.count("`") % 2 == 0, text
        assert not {"{", "}"} & set(text), text
    assert wrong.remedy[0].isupper() or wrong.remedy[0] == "`", wrong.remedy


def lines(files):
    return {line.strip() for file in files for line in file.read_text().splitlines()}


def test_what_to_do_is_a_direction_and_not_the_solution():
    """No line that a student has to write stands in it."""
    solved = {line for one in COURSE for line in lines(one.solutions) - lines(one.stubs) if len(line) >= 25}
    assert solved
    for name, kind in KINDS.items():
        found = [line for line in solved if line in " ".join(kind.next.split())]
        assert not found, f"{name} hands the solution out: {found}"


def calls():
    """Every call in lab/ and in a check of a class of faults: the class, the names that it is given, and where."""
    for module in MODULES:
        tree = ast.parse(inspect.getsource(module))
        known = {node.targets[0].id: node.value for node in ast.walk(tree) if is_dictionary(node)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
                continue
            kind = vars(module).get(getattr(node.func, "id", None))
            if isinstance(kind, type) and issubclass(kind, Fault):
                given = {word.arg for word in node.keywords if word.arg}
                for word in (word.value for word in node.keywords if not word.arg):  # **facts
                    given |= {key.value for key in known[word.id].keys} if getattr(word, "id", None) in known else {...}
                yield kind, node, given, f"{Path(module.__file__).parent.name}/{module.__name__}, line {node.lineno}"


def is_dictionary(node):
    """facts = {…}"""
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and isinstance(node.targets[0], ast.Name)


def test_each_is_raised_with_the_facts_that_its_sentences_need():
    number = 0
    for kind, node, given, where in calls():
        if issubclass(kind, Wrong) and ... not in given:
            number += 1
            missing, unused = facts(kind) - given, {word.arg for word in node.keywords} - facts(kind) - {None}
            assert not missing, f"{where}: {kind.__name__} is not told {missing}"
            assert not unused, f"{where}: {kind.__name__} says nothing of {unused}"
    assert number > len(KINDS) / 2


def test_the_sentences_of_other_faults_are_whole():
    """Fault("What was found", "What to do"): the full stops are added when they are shown."""
    number = 0
    for kind, node, _, where in calls():
        for text in node.args if kind is Fault else ():
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            first, last = (getattr(part, "value", None) for part in (parts[0], parts[-1]))
            if isinstance(first, str):
                number += 1
                assert first[:1].isupper() or first[:1] in "`_.", f"{where}: {first!r} begins small"
            if isinstance(last, str):
                assert not last.endswith("."), f"{where}: {last!r} brings a full stop of its own"
    assert number > 20
