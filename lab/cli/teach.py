"""Commands for teachers, and for authors of exercises: report, grade and dev."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from lab.cli.course import NUMBER, own_progress, say
from lab.cli.terminal import columns, line
from lab.course.exercise import Exercise, course
from lab.course.progress import NOTHING, Progress, checked_once_more
from lab.course.report import as_classroom50, as_json, as_junit, as_table
from lab.fault import Fault, counted, plain
from lab.paths import EXERCISES, ROOT

TEACHING = EXERCISES / "TEACHING.md"
FORMATS = {"json": as_json, "junit": as_junit, "classroom50": as_classroom50}


@click.command()
@click.argument("folders", metavar="[DIR …]", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", *FORMATS]),
    default="table",
    show_default=True,
    help="All but the table are for programs; classroom50 is one student's.",
)
def report(folders: tuple[Path, ...], form: str) -> None:
    """Show the progress of students, one folder for each. The exit status is 0 when all have passed every exercise."""
    from rich.console import Console

    exercises = course()
    students = {plain(folder): Progress(folder).everything(exercises) for folder in folders if folder.is_dir()}
    students = students or {plain(Path.cwd().name): own_progress().everything(exercises)}
    if form == "table":
        Console(highlight=False, width=columns() + 1).print(as_table(exercises, students))
    else:
        if form == "classroom50" and len(students) > 1:
            raise click.UsageError("the format classroom50 is one student's: name one folder.")
        click.echo(FORMATS[form](exercises, students))
    sys.exit(not all(one["passed"] for records in students.values() for one in records.values()))


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--result",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path, resolve_path=True),
    help="Write the points into this file too, in Classroom 50's format.",
)
def grade(folder: Path, result: Path | None) -> None:
    """Run what a student wrote: a point for each exercise that passes.

    DIR is the student's folder, or a clone of the lab with that folder inside. Servers, worker and Flower are started
    from a copy of its files, and end again. progress.json does not count. It takes about two minutes. The exit status
    is 0 when every exercise was looked at.
    """
    from lab.course.grade import grading, students_folders

    exercises = course()
    if folders := students_folders(folder):
        click.echo(f"Graded: {plain(folders[0])}")
        for other in folders[1:]:
            click.echo(f"Not graded: {plain(other)}")
        records = {}
        with grading(folders[0], click.echo) as grader:
            for exercise in exercises:
                click.secho(f"{exercise.label} {exercise.title}", bold=True)
                records[exercise.path.name] = checked_once_more(NOTHING, grader.check(exercise, say))
    else:
        missing = f"There is no folder in {plain(folder)} in which a student has begun"
        click.echo(f"{missing}.")
        records = {exercise.path.name: NOTHING | {"facts": [missing]} for exercise in exercises}
    click.echo(f"{sum(bool(one['passed']) for one in records.values())} of {len(exercises)} passed")
    if result:
        result.write_text(as_classroom50(exercises, {str(folder): records}), encoding="utf-8")


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
    if (EXERCISES / name).exists():
        raise Fault(
            f"The folder {name} is there already", f"See what is missing in it: `lab dev check {int(name[:2])}`"
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
    from lab.course.gaps import gaps

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


COMMANDS = [report, grade, dev]
