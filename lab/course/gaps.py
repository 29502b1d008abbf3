"""What an exercise still lacks, as sentences: for its author, and for the tests, in which nothing may be lacking."""

import re
from collections.abc import Iterator

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
        for look in (in_readme, in_prediction, in_hints, in_states):
            yield from look(exercise)


def unwritten(exercise: Exercise, name: str) -> Iterator[str]:
    """The lines that the template left to the author."""
    for number, line in enumerate(exercise.text(name).splitlines(), 1):
        if found := re.search(r"\bTODO\b:? *(.*?)[.?:\"]*$", line):
            yield f"{name}, line {number}, is still to be written: {found[1]}"


def in_readme(exercise: Exercise) -> Iterator[str]:
    text = exercise.text("README.md")
    if not re.match(rf"# {exercise.label} \S", text):
        yield f"README.md does not begin with `# {exercise.label} ` and the exercise's name"
    if (found := re.findall(r"^## (.*)$", text, re.MULTILINE)) != PARTS:
        yield f"README.md has the parts {', '.join(found) or '(none)'}, and its readers expect {', '.join(PARTS)}"
    if (number := len(text.splitlines())) > LINES:
        yield f"README.md has {number} lines: leave out what does not help to do it, until {LINES} are enough"


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


def in_states(exercise: Exercise) -> Iterator[str]:
    try:
        kinds, states = exercise.wrong_states, exercise.states
    except Exception as error:  # whatever an unfinished file may raise
        yield f"check.py or states.py cannot be used: {type(error).__name__}: {error}"
        return
    if len(kinds) < STATES:
        yield (
            f"check.py recognises {counted(len(kinds), 'wrong state')}: think of what students get wrong, "
            f"until there are {STATES}"
        )
    for name, kind in kinds.items():
        if not issubclass(kind, Wrong) or not kind.__doc__ or not kind.next:
            yield f"{name} in check.py does not say what is wrong, in its docstring, and what to do, as `next`"
    wanted = {"stub": "who has just begun", "reference": "who has done all of it"}
    wanted |= {snake(name): f"whom the check tells that it is {name}" for name in kinds}
    for name in wanted.keys() - states.keys():
        yield f"states.py has no function {name}: it makes a student {wanted[name]}"
    for name in states.keys() - wanted.keys():
        yield f"states.py has a function {name}, and no wrong state in RECOGNISES is called like that"


def snake(name: str) -> str:
    """A class's name as the function in states.py has it: NoWorker is no_worker there."""
    return re.sub("(?<!^)(?=[A-Z])", "_", name).lower()
