"""The course's commands: new, list, check, hint, watch, reset, solution, and, for teachers, report and dev."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import click
import psutil
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from lab import check as checker
from lab.course import FOLDER, course
from lab.fault import Fault
from lab.progress import FILE, Progress, as_json, as_junit

AGAIN = 10  # seconds until a check is tried again that failed for what goes away by itself
LOOK = 0.5  # seconds between two looks at what could have changed
SERVERS = re.compile(r"celery|flower|rabbitmq|beam|valkey|redis|docker|python", re.IGNORECASE)
TEACHING = FOLDER / "TEACHING.md"


class Number(click.ParamType):
    """An exercise, by its number."""

    name = "N"

    def convert(self, value, param, ctx):
        for exercise in course():
            if str(value).isdecimal() and int(value) == exercise.number:
                return exercise
        self.fail(
            f"there is no exercise {value!r}: they go from {course()[0].number} to {course()[-1].number}", param, ctx
        )


NUMBER = Number()


def line(mark, text, **style):
    """One line after a mark; in a terminal it is broken between words."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        text = textwrap.fill(text, width - 4, break_long_words=False, break_on_hyphens=False)
    click.echo(f"  {click.style(mark, **style)} " + text.replace("\n", "\n    "))


def say(what):
    """Show one line of a check."""
    if "fact" in what:
        line("✓", what["fact"], fg="green")
    elif "waiting" in what:
        line("…", f"waiting for {what['waiting']}", dim=True)
    elif "wrong" in what:
        line("✗", f"{what['wrong']}.", fg="red")
        if what["next"]:
            line("→", f"{what['next']}.", bold=True)


def checked(exercise, progress, before=None):
    """Check an exercise, show and keep what was found, and return the Outcome. What is as before is not shown again."""
    lines = []
    if not before:
        click.secho(f"{exercise.label} {exercise.title}", bold=True)
    outcome = checker.run(exercise, lines.append if before else say)
    progress.note(exercise, outcome)
    if before and (outcome.facts, outcome.wrong) != (before.facts, before.wrong):
        click.secho(f"{exercise.label} {exercise.title}", bold=True)
        for what in lines:
            say(what)
    if outcome.passed:
        line("Passed", f"in {outcome.seconds:.1f} s", fg="green")
    return outcome


def handed_out():
    """What a new folder gets: {path in it: stub}, each file as the first exercise with it hands it out."""
    return {
        stub.relative_to(exercise.path / "stub"): stub for exercise in reversed(course()) for stub in exercise.stubs
    }


def progress_in(folder):
    """The Progress of a student's folder. Raises Fault when it is none."""
    if not any((folder / name).exists() for name in (FILE, *handed_out())):
        raise Fault(
            f"The folder {folder.resolve()} has none of the course's files",
            "Go to yours, or make one: `python -m lab new DIR`",
        )
    return Progress(folder)


def own_progress():
    """The Progress of the student's folder, which is the current one."""
    return progress_in(Path())


def unsolved(progress):
    """The first exercise that has not passed yet, or None."""
    return next((exercise for exercise in course() if not progress.passed(exercise)), None)


def show(text):
    """Show Markdown."""
    Console(highlight=False).print(Markdown(text), "")


def show_next(progress):
    """Where to go on."""
    if exercise := unsolved(progress):
        readme = os.path.relpath(exercise.path / "README.md", progress.path.parent)
        click.echo(f"Next: {exercise.label} {exercise.title}. Read {readme}")
    else:
        click.echo("You have passed every exercise.")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def new(folder):
    """Make a folder of your own, with the lecture's files to fill in. Nothing in it is overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, stub in sorted(handed_out().items()):
        if (folder / name).exists():
            click.echo(f"kept  {name}, which was there")
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(stub, folder / name)
            click.echo(f"new   {name}")
    ignored = folder / ".gitignore"
    if not ignored.exists():
        ignored.write_text(".lab/\n__pycache__/\n")
    click.echo(f"Go there in each terminal: cd {shlex.quote(str(folder))}")
    show_next(Progress(folder))


@click.command("list")
def list_():
    """Show the exercises, and which you have passed."""
    progress = own_progress()
    upcoming = unsolved(progress)
    for exercise in course():
        mark = "✓" if progress.passed(exercise) else "→" if upcoming and exercise.number == upcoming.number else " "
        click.echo(f"{mark} {exercise.label} {exercise.title}")
    show_next(progress)


@click.command()
@click.argument("exercises", metavar="[N …]", nargs=-1, type=NUMBER)
@click.option("--all", "every", is_flag=True, help="Check every exercise.")
def check(exercises, every):
    """Look whether exercise N works.

    By default, the first that has not passed yet. Of several, those that keep the worker busy come last.
    """
    progress = own_progress()
    upcoming = unsolved(progress)
    wanted = course() if every else list(exercises) or [upcoming] * bool(upcoming)
    if len(wanted) > 1:
        wanted.sort(key=lambda exercise: exercise.keeps_worker_busy)
    passed = [exercise for exercise in wanted if checked(exercise, progress).passed]
    if len(passed) == len(wanted) == 1:
        show(passed[0].why)
    if passed != wanted:
        sys.exit(1)
    show_next(progress)


@click.command()
@click.argument("exercise", metavar="[N]", required=False, type=NUMBER)
def watch(exercise):
    """Check again when a file or a server changes.

    When the exercise passes, go on with the next one.
    """
    click.echo("Watching your files and servers. Ctrl-C ends this.")
    progress = own_progress()
    exercise = exercise or unsolved(progress)
    while exercise:
        before, outcome = fingerprint(), checked(exercise, progress)
        while not outcome.passed:
            wait_for_change(before, AGAIN if outcome.passes else float("inf"))
            before, outcome = fingerprint(), checked(exercise, progress, outcome)
        show(exercise.why)
        exercise = unsolved(progress)
    show_next(progress)


def wait_for_change(before, seconds):
    """Return when the fingerprint is another one than before, or after so many seconds."""
    begin = time.monotonic()
    while fingerprint() == before and time.monotonic() - begin < seconds:
        time.sleep(LOOK)


def fingerprint():
    """What a check may depend on and a look can see: files of this folder, this user's servers, and listening ports.

    Polled, since not every file system tells of changes. A worker's pool comes and goes without a change.
    """
    files = {}
    for path in Path.cwd().iterdir():
        with suppress(OSError):
            if path.is_file() and FILE not in path.name:
                files[path.name] = path.stat().st_mtime_ns, path.stat().st_size
    names, mine = {}, psutil.Process().username()
    for process in psutil.process_iter(["name", "username", "ppid"]):
        if process.info["username"] == mine and SERVERS.search(process.info["name"] or ""):
            names[process.pid] = process.info["ppid"]
    ports = set()
    with suppress(psutil.AccessDenied):  # macOS shows them to root only
        ports = {one.laddr.port for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
    return files, {pid for pid, parent in names.items() if parent not in names}, ports


@click.command()
@click.argument("exercise", metavar="[N]", required=False, type=NUMBER)
def hint(exercise):
    """Show the next of three hints for exercise N.

    The first is a question, the last is the answer.
    """
    progress = own_progress()
    exercise = exercise or unsolved(progress) or course()[-1]
    number = progress.next_hint(exercise)
    show(f"Hint {number + 1} of {len(exercise.hints)}: {exercise.hints[number]}")


@click.command()
@click.argument("exercise", metavar="N", type=NUMBER)
def reset(exercise):
    """Put the files of exercise N back as they were handed out. Yours are kept beside them."""
    progress = own_progress()
    for stub in exercise.stubs:
        name = stub.relative_to(exercise.path / "stub")
        if name.exists():
            kept = next(beside for number in range(1, 1000) if not (beside := Path(f"{name}.{number}")).exists())
            name.rename(kept)
            click.echo(f"Your {name} is now {kept}.")
        shutil.copy(stub, name)
        click.echo(f"{name} is as it was handed out.")
    progress.forget(exercise)
    if not exercise.stubs:
        click.echo(f"Exercise {exercise.label} hands out no file. It counts as not done again.")


@click.command()
@click.argument("exercise", metavar="N", type=NUMBER)
def solution(exercise):
    """Show our solution of exercise N, once you have passed it."""
    if not own_progress().passed(exercise):
        raise Fault(
            f"Exercise {exercise.label} has not passed yet, and its solution would spoil it",
            f"`python -m lab hint {exercise.number}` helps",
        )
    for file in exercise.solutions:
        click.secho(f"# {file.relative_to(exercise.path / 'solution')}", bold=True)
        click.echo(file.read_text())
    if not exercise.solutions:
        show(exercise.hints[-1])


@click.command()
@click.argument("folders", metavar="[DIR …]", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--format", "form", type=click.Choice(["table", "json", "junit"]), default="table", show_default=True)
def report(folders, form):
    """Show who got where, one student per folder. The exit status is 0 when every exercise of all has passed."""
    students = {str(folder): progress_in(folder) for folder in folders if folder.is_dir()}
    students = students or {Path.cwd().name: own_progress()}
    exercises = course()
    if form == "table":
        Console(highlight=False).print(as_table(exercises, students))
    else:
        click.echo({"json": as_json, "junit": as_junit}[form](exercises, students))
    sys.exit(not all(progress.passed(exercise) for progress in students.values() for exercise in exercises))


def as_table(exercises, students):
    columns = "who", "exercise", "passed (UTC)", "took", "checks", "hints", "what was found last"
    table = Table(*columns, box=None, pad_edge=False)
    for who, progress in students.items():
        for exercise in exercises:
            one = progress.of(exercise)
            name, passed = f"{exercise.label} {exercise.title}", (one["passed"] or "–")[:16].replace("T", " ")
            seconds = "–" if one["seconds"] is None else f"{one['seconds']:.1f} s"
            found = (one["facts"] or ["never checked"])[-1]
            row = who, name, passed, seconds, str(one["checks"]), str(one["hints"]), found
            table.add_row(*map(escape, row))
    return table


@click.group()
def dev():
    """For whoever adds an exercise."""


@dev.command("check")
@click.argument("exercise", metavar="[N]", required=False, type=NUMBER)
def dev_check(exercise):
    """Prove that every stub fails, every reference passes, and every wrong state is recognised."""
    root = FOLDER.parent
    selected = ["-k", exercise.path.name] if exercise else []
    sys.exit(subprocess.call([sys.executable, "-m", "pytest", "tests/test_exercises.py", *selected], cwd=root))


@dev.command("table")
def dev_table():
    """Write the table of wrong states into exercises/TEACHING.md."""
    before, begin, rest = TEACHING.read_text().partition("<!-- wrong states -->\n")
    _, end, after = rest.partition("<!-- end -->")
    TEACHING.write_text(before + begin + table_of_wrong_states() + end + after)


def table_of_wrong_states():
    """Every wrong state that the checks recognise, and the sentence that each says, as Markdown."""
    rows = ["| | The check says | and what to do |", "| --- | --- | --- |"]
    for exercise in course():
        for kind in exercise.wrong_states.values():
            sentence, todo = (" ".join(text.split()).replace("|", "\\|") for text in (kind.__doc__, kind.next))
            rows.append(f"| {exercise.label} | {sentence} | {todo} |")
    return "\n".join(rows) + "\n"


COMMANDS = [new, list_, check, watch, hint, reset, solution, report, dev]
