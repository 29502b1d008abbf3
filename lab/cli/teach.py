"""Commands for teachers, and for whoever adds an exercise: report and dev."""

import subprocess
import sys
from pathlib import Path

import click
from rich.console import Console

from lab.cli.course import NUMBER, own_progress
from lab.cli.terminal import columns
from lab.course.exercise import course
from lab.course.progress import Progress
from lab.course.report import as_json, as_junit, as_table
from lab.fault import plain
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
def report(folders, form):
    """Show who got where, one student per folder. The exit status is 0 when every exercise of all has passed."""
    exercises = course()
    students = {folder: Progress(folder).everything(exercises) for folder in folders if folder.is_dir()}
    students = students or {Path.cwd().name: own_progress().everything(exercises)}
    students = {plain(who): records for who, records in students.items()}
    if form == "table":
        Console(highlight=False, width=columns() + 1).print(as_table(exercises, students))
    else:
        click.echo({"json": as_json, "junit": as_junit}[form](exercises, students))
    sys.exit(not all(one["passed"] for records in students.values() for one in records.values()))


@click.group()
def dev():
    """For whoever adds an exercise."""


@dev.command("check")
@click.argument("exercise", metavar="[N]", required=False, type=NUMBER)
def dev_check(exercise):
    """Prove that every stub fails, every reference passes, and every wrong state is recognised."""
    selected = ["-k", exercise.path.name] if exercise else []
    sys.exit(subprocess.call([sys.executable, "-m", "pytest", "tests/test_exercises.py", *selected], cwd=ROOT))


@dev.command("table")
def dev_table():
    """Write the table of wrong states into exercises/TEACHING.md."""
    before, begin, rest = TEACHING.read_text(encoding="utf-8").partition("<!-- wrong states -->\n")
    _, end, after = rest.partition("<!-- end -->")
    TEACHING.write_text(before + begin + table_of_wrong_states() + end + after, encoding="utf-8")


def table_of_wrong_states():
    """Every wrong state that the checks recognise, and the sentence that each says, as Markdown."""
    rows = ["| | The check says | and what to do |", "| --- | --- | --- |"]
    for exercise in course():
        for kind in exercise.wrong_states.values():
            sentence, todo = (" ".join(text.split()).replace("|", "\\|") for text in (kind.__doc__, kind.next))
            rows.append(f"| {exercise.label} | {sentence} | {todo} |")
    return "\n".join(rows) + "\n"


COMMANDS = [report, dev]
