"""What an exercise still lacks, as sentences: for its author, and for the tests, in which nothing may be lacking."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import create_autospec

from lab.course.exercise import Exercise
from lab.fault import Wrong, counted

FILES = {
    "README.md": "it says what to do",
    "why.md": "it begins with the letter of the right answer, and says why it is right",
    "hints.md": "it has three hints, first a question, last the answer",
    "check.py": "it looks whether the student has done it",
    "states.py": "it sets up every state that the check tells apart",
}
PARTS = ["What you will see", "Predict before you run", "Do this", "Check"]
LINES = 70  # of a README: who follows it has it beside several terminals
STATES = 3  # that a check tells from the right one, at least
OURS = {"lab", "exercises", "tests", "conftest", "e2e", "unit"}
LONG = 25  # characters of a line that solves the exercise: a shorter one may be a word for what is wrong, too


def gaps(exercise: Exercise) -> Iterator[str]:
    """Each thing that is missing, or is not written yet, as a sentence without its full stop.

    Nothing is started: what the check finds in each state, `lab dev check` tries afterwards.
    """
    for name, what in FILES.items():
        if not (exercise.path / name).is_file():
            yield f"{name} is not there: {what}"
        else:
            yield from unwritten(exercise, name)
    if all((exercise.path / name).is_file() for name in FILES):
        for look in (in_readme, in_prediction, in_hints, in_imports, in_states):
            yield from look(exercise)


def unwritten(exercise: Exercise, name: str) -> Iterator[str]:
    """The lines that the template left to the author."""
    for number, line in enumerate(exercise.text(name).splitlines(), 1):
        if found := re.search(r"\bTODO\b:? *(.*?)[.?:\"]*$", line):
            yield f"{name}, line {number}, is still to be written{found[1] and ': '}{found[1]}"


def in_readme(exercise: Exercise) -> Iterator[str]:
    text = exercise.text("README.md")
    if not re.match(rf"# {exercise.label} \S", text):
        yield f"README.md does not begin with `# {exercise.label} ` and the exercise's name"
    if (found := re.findall(r"^## (.*)$", text, re.MULTILINE)) != PARTS:
        yield f"README.md has the parts {', '.join(found) or '(none)'}, and its readers expect {', '.join(PARTS)}"
    if (number := len(text.splitlines())) > LINES:
        yield f"README.md has {number} lines: leave out what does not help to do it, until {LINES} are enough"
    if f"```console\n$ lab check {exercise.number}\n" not in text:
        yield f"README.md does not show `$ lab check {exercise.number}`, and what it prints, in a block of ```console"


def in_prediction(exercise: Exercise) -> Iterator[str]:
    question, choices, answer = exercise.prediction
    if not question.endswith("?"):
        yield "What to predict is no question in README.md: it ends with a question mark, before the choices"
    if "".join(choices) not in ("ab", "abc", "abcd"):
        yield f"README.md has {counted(len(choices), 'choice')} to predict: give two to four, each a line `- a) …`"
    if answer not in choices:
        yield "why.md does not begin with the letter of one of the choices, such as `**b)**`"


def in_hints(exercise: Exercise) -> Iterator[str]:
    if len(exercise.hints) != 3:
        yield f"hints.md has {counted(len(exercise.hints), 'hint')}: give three, numbered `1. ` to `3. `"
    elif not exercise.hints[0].endswith("?"):
        yield "The first hint is no question: ask for what the student can see"


def in_imports(exercise: Exercise) -> Iterator[str]:
    """What is imported of ours, and may not be."""
    for file in sorted(exercise.path.rglob("*.py")):
        name = file.relative_to(exercise.path).as_posix()
        for module, line in imported(file):
            if name != "check.py":
                yield f"{name}, line {line}, imports {module}: only check.py imports something of ours"
            elif module != "lab.course.kit":
                yield f"check.py, line {line}, imports {module}: a check imports from lab.course.kit alone"


def imported(file: Path) -> Iterator[tuple[str, int]]:
    """Each module of ours that a file imports, and in which line. What cannot be read, in_states() says."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or "."] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            yield from ((name, node.lineno) for name in names if name.partition(".")[0] in OURS)


def in_states(exercise: Exercise) -> Iterator[str]:
    try:
        kinds, states, own = exercise.wrong_states, exercise.states, exercise.own_wrong_states
    except Exception as error:  # whatever an unfinished file may raise
        yield f"check.py or states.py cannot be used: {type(error).__name__}: {error}"
        return
    if len(kinds) < STATES:
        yield (
            f"check.py recognises {counted(len(kinds), 'wrong state')}: think of what students get wrong, "
            f"until there are {STATES}"
        )
    if not exercise.has_check:
        yield "check.py has no function check(desk), which yields facts and raises wrong states"
    for name in own.keys() - kinds.keys():
        yield f"{name} in check.py is not one of those in RECOGNISES: nobody tries whether the check finds it"
    for name, kind in kinds.items():
        if not issubclass(kind, Wrong) or not kind.__doc__ or not kind.next:
            yield f"{name} in check.py does not say what is wrong, in its docstring, and what to do, as `next`"
        else:
            yield from (f"{name} in check.py: {flaw}" for flaw in flaws(kind, solved(exercise)))
    wanted = {"stub": "who has just begun", "reference": "who has done all of it"}
    wanted |= {snake(name): f"whom the check tells that it is {name}" for name in kinds}
    for name in wanted.keys() - states.keys():
        yield f"states.py has no function {name}: it makes a student {wanted[name]}"
    for name in states.keys() - wanted.keys():
        yield f"states.py has a function {name}, and no wrong state in RECOGNISES is called like that"
    if "reference" in states:
        yield from in_reference(exercise)


def flaws(kind: type[Wrong], solution: set[str]) -> Iterator[str]:
    """What is wrong with the two sentences of a wrong state. solution holds the lines that a student has to write."""
    says, todo = (" ".join(text.split()) for text in (kind.__doc__ or "", kind.next))
    if not says.endswith("."):
        yield "its docstring is a sentence, and ends with a full stop"
    if todo.endswith("."):
        yield "the full stop of its `next` is added when it is shown: leave it out"
    if says.count("`") % 2 or todo.count("`") % 2:
        yield "it has a ` without a second one"
    if not re.match("[A-Z`{]", todo):
        yield "its `next` does not begin with a capital letter"
    for line in sorted(line for line in solution if line in todo):
        yield f"its `next` hands the solution out, `{line}`: say where to look, and leave that to the last hint"


def solved(exercise: Exercise) -> set[str]:
    """The lines that a student has to write."""
    after, before = (
        {line.strip() for file in files for line in file.read_text(encoding="utf-8").splitlines()}
        for files in (exercise.solutions, exercise.stubs)
    )
    return {line for line in after - before if len(line) >= LONG}


def in_reference(exercise: Exercise) -> Iterator[str]:
    """What `lab grade` cannot do: there, the student's own files and programs stand for the tests' student."""
    from lab.course.grade import Student  # it needs Celery

    student = create_autospec(Student, instance=True)
    try:
        exercise.states["reference"](student)
    except Exception as error:  # for example an environment, or a fact about a server
        yield f"reference in states.py is no use to `lab grade`, which has the Student of lab/course/grade.py: {error}"
        return
    if student.solve.call_args_list != [()]:
        yield "reference in states.py has to call student.solve() once, without arguments: `lab grade` has the files"


def snake(name: str) -> str:
    """A class's name as the function in states.py has it: NoWorker is no_worker there."""
    return re.sub("(?<!^)(?=[A-Z])", "_", name).lower()
