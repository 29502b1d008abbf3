"""Commands for teachers, and for whoever adds an exercise: report and dev."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console

from lab.cli.course import NUMBER, own_progress
from lab.cli.terminal import columns, line
from lab.course.exercise import Exercise, course
from lab.course.gaps import gaps
from lab.course.progress import Progress
from lab.course.report import as_json, as_junit, as_table
from lab.fault import Fault, counted, plain
from lab.paths import EXERCISES, ROOT

TEACHING = EXERCISES / "TEACHING.md"


@click.command()
@click.argument("folders", metavar="[DIR …]", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "junit"]),
    default="table",
    show_default=True,
    help="JSON and JUnit's XML are for programs.",
)
def report(folders: tuple[Path, ...], form: str) -> None:
    """Show the progress of students, one folder for each. The exit status is 0 when all have passed every exercise."""
    exercises = course()
    students = {plain(folder): Progress(folder).everything(exercises) for folder in folders if folder.is_dir()}
    students = students or {plain(Path.cwd().name): own_progress().everything(exercises)}
    if form == "table":
        Console(highlight=False, width=columns() + 1).print(as_table(exercises, students))
    else:
        click.echo({"json": as_json, "junit": as_junit}[form](exercises, students))
    sys.exit(not all(one["passed"] for records in students.values() for one in records.values()))


@click.group()
def dev() -> None:
    """For authors of exercises."""


@dev.command("new")
@click.argument("name", metavar="NN_name")
def dev_new(name: str) -> None:
    """Make the folder of the next exercise, with what is still to be written in it."""
    number = course()[-1].number + 1
    if not re.fullmatch(r"[0-9]{2}_[a-z][a-z0-9_]*", name):
        raise Fault(
            f"An exercise is called by two digits, _ and a word in small letters, and not {name!r}",
            f"Choose a word that fits: `lab dev new {number:02}_limits`",
        )
    if int(name[:2]) != number:
        raise Fault(f"The next exercise is number {number}", f"Type `lab dev new {number:02}{name[2:]}`")
    folder = EXERCISES / name
    folder.mkdir()
    for file in sorted((EXERCISES / "_template").glob("*.*")):
        text = file.read_text(encoding="utf-8")
        (folder / file.name).write_text(re.sub(r"\bNN\b", name[:2], text), encoding="utf-8")
        click.echo(f"new   {os.path.relpath(folder / file.name)}")
    click.echo(f"What is still to be written says TODO. `lab dev check {number}` finds it.")


@dev.command("check")
@click.argument("exercise", metavar="[N]", required=False, type=NUMBER)
def dev_check(exercise: Exercise | None) -> None:
    """Say what is missing in exercise N; then try its check on every state, with real servers.

    The stub has to fail, the reference has to pass, and each wrong state has to get its own sentence.
    """
    found = {one: list(gaps(one)) for one in ([exercise] if exercise else course())}
    for one, missing in found.items():
        if missing:
            click.secho(f"{one.path.name} lacks {counted(len(missing), 'thing')}:", bold=True)
        for sentence in missing:
            line("✗", f"{sentence}.", fg="red")
    if any(found.values()):
        sys.exit(1)
    if not find_spec("pytest"):
        raise Fault("The packages of the tests are not installed", f"Type `make unit` once: {ROOT} is the place")
    tests = ["-n", "6", "--dist", "loadgroup", "tests/e2e/test_exercises.py"]  # most of them wait
    tests += ["-k", exercise.path.name] if exercise else []
    sys.exit(subprocess.call([sys.executable, "-m", "pytest", *tests], cwd=ROOT))


@dev.command("table")
def dev_table() -> None:
    """Write the table of wrong states into exercises/TEACHING.md."""
    before, begin, rest = TEACHING.read_text(encoding="utf-8").partition("<!-- wrong states -->\n")
    _, end, after = rest.partition("<!-- end -->")
    TEACHING.write_text(before + begin + table_of_wrong_states() + end + after, encoding="utf-8")


def table_of_wrong_states() -> str:
    """Every wrong state that the checks recognise, and the sentence that each says, as Markdown."""
    rows = ["| | The check says | and what to do |", "| --- | --- | --- |"]
    for exercise in course():
        for kind in exercise.wrong_states.values():
            sentence, todo = (" ".join(text.split()).replace("|", "\\|") for text in (kind.__doc__ or "", kind.next))
            rows.append(f"| {exercise.label} | {sentence} | {todo} |")
    return "\n".join(rows) + "\n"


COMMANDS = [report, dev]
