"""The student's commands: new, list, check, watch, hint, reset, solution."""

import io
import os
import shlex
import shutil
import sys
from pathlib import Path

import click

from lab.cli.signals import heed_interrupt
from lab.cli.terminal import columns, filled, line, show
from lab.course import check as checker
from lab.course.exercise import Exercise, course
from lab.course.handout import handed_out, is_labs, is_students
from lab.course.progress import FILE, Progress
from lab.fault import Fault, plain
from lab.paths import ROOT

AGAIN = 10  # seconds until a check is repeated whose Fault is temporary


class Number(click.ParamType):
    """An exercise, by its number."""

    name = "N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Exercise:
        for exercise in course():
            if value in (exercise.label, str(exercise.number)):
                return exercise
        self.fail(
            f"there is no exercise {value!r}: they go from {course()[0].number} to {course()[-1].number}", param, ctx
        )


NUMBER = Number()


def say(what: checker.Line) -> None:
    """Show one line of a check."""
    if "fact" in what:
        line("✓", what["fact"], fg="green")
    elif "waiting" in what:
        line("…", f"waiting for {what['waiting']}", dim=True)
    elif "wrong" in what:
        line("✗", f"{what['wrong']}.", fg="red")
        if what["next"]:
            line("→", f"{what['next']}.", bold=True)


def where(progress: Progress) -> str:
    """How many exercises have passed, and the name of the student's folder."""
    number = sum(bool(progress.passed(exercise)) for exercise in course())
    return f"{number} of {len(course())} passed · in {plain(Path.cwd().name)}"


def headline(exercise: Exercise, progress: Progress) -> None:
    click.secho(f"{exercise.label} {exercise.title} · {where(progress)}", bold=True)


def checked(
    exercise: Exercise, progress: Progress, before: checker.Outcome | None = None, edited: bool = False
) -> checker.Outcome:
    """Check an exercise, show and keep what was found, and return the Outcome.

    What has not changed is not shown again. If the student has edited something, one line says that it was checked.
    """
    lines: list[checker.Line] = []
    if not before:
        headline(exercise, progress)
    outcome = checker.run(exercise, lines.append if before else say)
    progress.note(exercise, outcome)
    is_new = before and (outcome.facts, outcome.wrong) != (before.facts, before.wrong)
    if is_new:
        headline(exercise, progress)
        for what in lines:
            say(what)
    if outcome.passed:
        line("Passed", f"in {outcome.seconds:.1f} s", fg="green")
    elif is_new or not before:
        click.echo(f"Stuck? `lab hint {exercise.number}`")
    elif edited:
        line("…", "checked again: nothing has changed", dim=True)
    return outcome


def ask_to_predict(exercise: Exercise, progress: Progress) -> None:
    """Ask, at a terminal, for the student's prediction, once, and before the exercise has passed."""
    one = progress.of(exercise)
    at_terminal = sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()
    if one["predicted"] or one["passed"] or not at_terminal:
        return
    question, choices, _ = exercise.prediction
    letters = ", ".join(choices)

    def chosen(typed: str) -> str:
        letter = typed.strip().lower().removesuffix(")")
        if letter not in choices:
            raise click.UsageError(f"it is one of {letters}")
        return letter

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text are no letter either
    click.echo(filled(f"Predict: {question}", columns()))
    for letter, text in choices.items():
        line(f"{letter})", text)
    progress.predict(exercise, click.prompt(f"Your prediction ({letters})", value_proc=chosen))


def explain(exercise: Exercise, progress: Progress) -> None:
    """The question of a passed exercise, what the student predicted, what is right, and why."""
    question, choices, answer = exercise.prediction
    letter = progress.of(exercise)["predicted"]
    click.echo()
    show(question)
    if letter != answer and letter in choices:
        line(f"{letter})", f"{choices[letter]} (you predicted this)")
    line(f"{answer})", f"{choices[answer]} ({'you were right' if letter == answer else 'this is right'})", bold=True)
    click.echo()
    show(exercise.why.removeprefix(f"**{answer})** "))


def own_progress() -> Progress:
    """The Progress of the student's folder, which is the current one. Raises Fault when it is none."""
    if is_labs(Path()):
        own = [entry for entry in ROOT.iterdir() if entry.is_dir() and not is_labs(entry) and is_students(entry)]
        latest = max(own, key=lambda entry: entry.stat().st_mtime, default=None)
        there = shlex.quote(os.path.relpath(latest or ROOT / "my_celery"))
        raise Fault(
            "This is the lab's own folder, where everything is solved. Do the exercises in a folder of your own",
            f"Go there: `cd {there}`" if latest else f"Make it, and go there: `lab new {there}; cd {there}`",
        )
    if not is_students(Path()):
        raise Fault(
            f"The folder {Path.cwd()} has none of the course's files",
            "Go to yours, or make one: `lab new DIR`",
        )
    return Progress()


def unsolved(progress: Progress) -> Exercise | None:
    """The first exercise that has not passed yet."""
    return next((exercise for exercise in course() if not progress.passed(exercise)), None)


def show_next(progress: Progress) -> None:
    """Where to go on."""
    if exercise := unsolved(progress):
        readme = os.path.relpath(exercise.path / "README.md", progress.path.parent)
        click.echo(f"Next: {exercise.label} {exercise.title}. Read {readme}")
    else:
        click.echo("You have passed every exercise.")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def new(folder: Path) -> None:
    """Make a folder of your own, with the lecture's files to fill in. Nothing in it is overwritten."""
    if is_labs(folder):
        raise Fault(
            f"{folder} is a folder of the lab itself, or inside one",
            "Give yours another name: `lab new my_celery`",
        )
    if Path.cwd() in folder.resolve().parents and Path(FILE).exists() and not is_labs(Path()):
        raise Fault(
            f"You have started in this folder already: {Path.cwd()}",
            f"Go on here: `lab list`. Make another one beside it, not in it: `cd {shlex.quote(str(ROOT))}`",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, stub in sorted(handed_out().items()):
        if os.path.lexists(folder / name):
            click.echo(f"kept  {name}, which was there")
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stub, folder / name)
            click.echo(f"new   {name}")
    ignored = folder / ".gitignore"
    if not ignored.exists():
        ignored.write_text(".env\n.lab/\n__pycache__/\nnode_modules/\nvendor/\n")
    if folder.resolve() != Path.cwd():
        click.echo(f"Go there in each terminal: cd {shlex.quote(plain(folder))}")
    show_next(Progress(folder))


@click.command("list")
def list_() -> None:
    """Show the exercises, and which you have passed."""
    progress = own_progress()
    upcoming = unsolved(progress)
    for exercise in course():
        mark = "✓" if progress.passed(exercise) else "→" if upcoming and exercise.number == upcoming.number else " "
        click.echo(f"{mark} {exercise.label} {exercise.title}")
    click.echo(where(progress))
    show_next(progress)


@click.command()
@click.argument("exercises", metavar="[N …]", nargs=-1, type=NUMBER)
@click.option("--all", "every", is_flag=True, help="Check every exercise.")
def check(exercises: tuple[Exercise, ...], every: bool) -> None:
    """Check whether exercise N works, and say what to do if not.

    N is an exercise's number. Without it, the first one that you have not passed. In a terminal, it first asks for your
    prediction. Of several exercises, those that keep the worker busy come last.
    """
    progress = own_progress()
    upcoming = unsolved(progress)
    wanted = course() if every else list(exercises) or ([upcoming] if upcoming else [])
    if len(wanted) > 1:
        wanted.sort(key=lambda exercise: exercise.keeps_worker_busy)
    if len(wanted) == 1:
        ask_to_predict(wanted[0], progress)
    passed = [exercise for exercise in wanted if checked(exercise, progress).passed]
    if len(passed) == len(wanted) == 1:
        explain(passed[0], progress)
    if passed != wanted:
        sys.exit(1)
    show_next(progress)


@click.command()
@click.argument("exercise", metavar="[N]", required=False, type=NUMBER)
def watch(exercise: Exercise | None) -> None:
    """Check again whenever you change or start something.

    Starts with exercise N, or with the first one that you have not passed. When it passes, goes on with the next.
    """
    from lab.course.watch import fingerprint, wait_for_change

    progress = own_progress()
    exercise = exercise or unsolved(progress)
    click.echo("Watching your files and servers. Ctrl-C ends this.")
    before = None
    while exercise:
        ask_to_predict(exercise, progress)
        if before:  # if the student has done nothing for it, nothing was learned
            number = exercise.number
            click.echo(f"It is checked when you change or start something. `lab check {number}` checks at once.")
            wait_for_change(before, heed_interrupt)
        before, outcome = fingerprint(), checked(exercise, progress)
        while not outcome.passed:
            wait_for_change(before, heed_interrupt, AGAIN if outcome.temporary else float("inf"))
            now = fingerprint()
            before, outcome = now, checked(exercise, progress, outcome, edited=now.files != before.files)
        explain(exercise, progress)
        show_next(progress)
        exercise = unsolved(progress)


@click.command()
@click.argument("exercise", metavar="[N]", required=False, type=NUMBER)
def hint(exercise: Exercise | None) -> None:
    """Show the next of three hints for exercise N.

    The first is a question, the last is the answer. Without N, for the first exercise that you have not passed.
    """
    progress = own_progress()
    exercise = exercise or unsolved(progress) or course()[-1]
    number = progress.next_hint(exercise)
    show(f"Hint {number + 1} of {len(exercise.hints)}: {exercise.hints[number]}")


@click.command()
@click.argument("exercise", metavar="N", type=NUMBER)
def reset(exercise: Exercise) -> None:
    """Put the files of exercise N back as you first got them. Yours are kept under another name."""
    progress = own_progress()
    for stub in exercise.stubs:
        name = stub.relative_to(exercise.path / "stub")
        if os.path.lexists(name):
            kept = next(beside for number in range(1, 1000) if not os.path.lexists(beside := Path(f"{name}.{number}")))
            name.rename(kept)
            click.echo(f"Your {name} is now {kept}.")
        shutil.copyfile(stub, name)
        click.echo(f"{name} is as you first got it.")
    progress.forget(exercise)
    if not exercise.stubs:
        click.echo(f"Exercise {exercise.label} has no files of its own. It counts as not passed now.")


@click.command()
@click.argument("exercise", metavar="N", type=NUMBER)
def solution(exercise: Exercise) -> None:
    """Show our solution of exercise N, once you have passed it."""
    if not own_progress().passed(exercise):
        raise Fault(
            f"You have not passed exercise {exercise.label} yet, and its solution would spoil it",
            f"`lab hint {exercise.number}` helps",
        )
    for file in exercise.solutions:
        click.secho(f"# {file.relative_to(exercise.path / 'solution')}", bold=True)
        click.echo(file.read_text(encoding="utf-8"))
    if not exercise.solutions:
        show(exercise.hints[-1])


COMMANDS = [new, list_, check, watch, hint, reset, solution]
