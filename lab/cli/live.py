"""The commands view, burst, picture and dead."""

import math
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.signals import heed_interrupt
from lab.cli.terminal import line, show_fact, tell
from lab.fault import Fault, counted, printable

if TYPE_CHECKING:
    from lab.course.desk import Desk  # which imports Celery: the commands do so when they need it
    from lab.live.recording import Recording

DAY = 24 * 3600  # seconds
MOST = 50  # dead messages that are shown
WHOLE = 500  # characters of a reason: guard.py writes no more


@click.command()
def view() -> None:
    """Show what happens to all predictions, then draw a picture."""
    from lab.course.desk import Desk
    from lab.live.view import show_live

    desk = Desk()
    tell("Ctrl-C ends this.")
    with recording_of(desk) as recording:
        show_live(recording, desk.broker, heed_interrupt)
    draw_what_happened(recording)


def not_nan(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    """Refuse NaN, which is in every range."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("give a number of seconds.")
    return value


@click.command()
@click.argument("number", metavar="[N]", default=60, type=click.IntRange(min=1))
@click.option(
    "--seconds", type=click.FloatRange(0, DAY), callback=not_nan, help="How long each prediction should take."
)
@click.option(
    "--over",
    "spread",
    type=click.FloatRange(0, DAY),
    callback=not_nan,
    default=0,
    help="Send them evenly, over this many seconds.",
)
def burst(number: int, seconds: float | None, spread: float) -> None:
    """Send N predictions, show what happens, and draw a picture of it.

    Without N, it sends 60. Its data and its picture are kept in .lab/runs.
    """
    from lab.course.desk import Desk
    from lab.live.burst import Burst
    from lab.live.view import show_live

    desk = Desk()
    list(desk.ready())
    sending = Burst(desk.task, desk.queue, number, seconds, spread)
    with recording_of(desk) as recording:
        done = show_live(recording, desk.broker, heed_interrupt, sending)
        sending.stop()
        waiting = sending.waiting(recording.history)
        if not done and waiting:
            tell(f"{len(waiting)} of {sending.sent} predictions have not begun.")
            try:
                wanted = sys.stdin.isatty() and click.confirm("Take them back out of the queue?")
                sending.note_all(recording.take())  # what happened while that was asked
                if wanted and (left := sending.withdraw(sending.waiting(recording.history))):
                    tell(f"{left} of them were not found in time. The workers that run now will discard them.")
            except (click.Abort, KeyboardInterrupt):
                tell()
            except Fault as fault:
                tell(f"They stay in the queue. {fault.sentences()}")
        sending.note_all(recording.take())
    if sending.fault:
        raise sending.fault
    tell(sending.summary(recording.history))
    draw_what_happened(recording)
    if not done:
        sys.exit(130)


@click.command()
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def picture(file: Path | None) -> None:
    """Draw the last view or burst again, or the one in FILE."""
    if file:
        return show_picture(file)
    for latest in sorted(Path(".lab/runs").glob("*.jsonl"), reverse=True):
        with suppress(Fault):  # a view that has not seen anything yet
            return show_picture(latest)
    raise Fault("There is nothing to draw yet", "Send a burst: `lab burst 60 --seconds 1`")


@click.command()
@click.option("--again", metavar="ID", help="Send this message back to the queue that it came from; `all`: each.")
@click.option("--drop", metavar="ID", help="Remove this message; `all`: each.")
def dead(again: str | None, drop: str | None) -> None:
    """Show the messages that no worker shall take again.

    guard.py moves them to the queue dead: what cannot be a task, and what has ended too many processes.
    """
    from lab.course import student
    from lab.live.numbers import shown
    from lab.messages import drop_dead, send_dead
    from lab.probe.dead import dead as found_dead
    from lab.probe.queue import SHORT, in_short

    if again and drop:
        raise click.UsageError("give one of --again and --drop.")
    app = student.app()
    if again:
        number, stay = send_dead(app, again)
        if number:
            tell(f"{counted(number, 'message')} sent again. What is still poison comes back here.")
        if len(stay) > 1:
            tell(f"{len(stay)} messages stay. Of the first:")
        if stay:
            raise stay[0]
        if number:
            return
    if drop and (number := drop_dead(app, drop)):
        return tell(f"{counted(number, 'message')} removed.")
    with found_dead(app) as (_, found):
        if not found:
            return tell("No message is dead.")
        for one in found[:MOST]:
            age = "nobody says when" if one.since is None else f"{shown(max(time.time() - one.since, 0))} ago"
            task = printable(one.headers.get("task", "no task"), SHORT)
            tell(f"{printable(one.name)}  {task}, from {printable(one.queue or 'an unknown queue')}, {age}")
            line(" ", printable(one.reason, WHOLE))
            line(" ", in_short(one.body))
    if len(found) > MOST:
        tell(f"And {len(found) - MOST} more.")
    tell("\n`lab dead --again ID` sends one back to its queue, `lab dead --drop ID` removes it; `all` means each.")


def recording_of(desk: "Desk") -> "Recording":
    """A Recording of what happens at the student's broker, with its file in .lab/runs."""
    from lab.live.recording import Recording
    from lab.run import running
    from lab.run.folder import Folder

    return Recording(desk.app, lambda: running.dashboard(desk.broker), Folder().data("runs"))


def draw_what_happened(recording: "Recording") -> None:
    if recording.happened:
        show_picture(recording.path)
    else:
        tell("No prediction was seen, so there is nothing to draw.")


def show_picture(run: Path) -> None:
    """Draw what is in the file of a view or a burst. Raises Fault."""
    from lab.live.history import History
    from lab.live.picture import draw

    try:
        for path in draw(History.read(run), run):
            show_fact("picture", os.path.relpath(path))
        show_fact("its data", os.path.relpath(run))
    except KeyboardInterrupt:
        tell("Not drawn. `lab picture` draws it.")
        raise


COMMANDS = [view, burst, picture, dead]
