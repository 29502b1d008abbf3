"""The commands trial and soak."""

import os
import random
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from lab.cli.live import show_picture
from lab.cli.signals import heed_interrupt
from lab.cli.terminal import columns, filled, tell
from lab.fault import Fault
from lab.trial.plan import KINDS, OF_A_TRIAL, plan, plan_soak, seconds_for

if TYPE_CHECKING:
    from lab.trial.rig import Wanted  # which imports Celery: the commands do so when they need it
    from lab.trial.run import Outcome

HOUR = 3600  # seconds
PARTS = [f"  {kind:<14} {KINDS[kind][0]}" for kind in OF_A_TRIAL] + [f"  {'all':<14} each of these, once"]
RATE = 2  # predictions that a soak sends in a second: a quarter of what its worker could make if nothing broke


@click.command(epilog="\b\n" + "\n".join(["PART is one of these:", *PARTS]))
@click.option(
    "--break",
    "kinds",
    multiple=True,
    default=["worker"],
    type=click.Choice([*OF_A_TRIAL, "all"]),
    metavar="PART",
    help="What to break: worker, if you do not say; several may be given.",
)
@click.option("--seed", type=click.IntRange(0), help="The same seed gives the same faults at the same moments.")
@click.option("--number", type=click.IntRange(1), default=120, show_default=True, help="How many predictions to send.")
@click.option("--seconds", type=click.FloatRange(1, HOUR), help="Send them evenly, in this time.")
@click.option("--defaults", is_flag=True, help="Once more with Celery's own settings, in the same table.")
def trial(kinds: tuple[str, ...], seed: int | None, number: int, seconds: float | None, defaults: bool) -> None:
    """Break a broker, a worker or a network on purpose, and count what is lost.

    The trial starts servers and a worker of its own, from your files, and breaks only those. A lab that runs is left
    alone. The exit status is 1 when anything is lost.
    """
    wanted, settings = read_files()
    each = OF_A_TRIAL if "all" in kinds else list(dict.fromkeys(kinds))
    if not wanted.with_results:
        each = [kind for kind in each if kind != "results"]
        if not each:
            raise Fault("The celeryconfig.py here has no result_backend that could be broken", "Exercise 11 adds it")

    from lab.run.folder import Folder
    from lab.trial.rig import Rig
    from lab.trial.run import Trial
    from lab.trial.table import DEFAULTS, YOURS

    seed = random.randrange(1000) if seed is None else seed
    seconds = seconds or seconds_for(each)
    faults, folder = plan(each, seed, seconds), Folder().data("runs")
    outcomes = {}
    with Rig(wanted, set(each), tell, heed_interrupt) as rig:
        for heading, own in {YOURS: settings, **({DEFAULTS: None} if defaults else {})}.items():
            tell(f"With {heading}:")
            outcomes[heading] = Trial(own, seed, faults, number, seconds).hold(rig, folder, tell)
    show(outcomes, wanted)
    again = [f"--break {kind}" for kind in kinds] + ["--defaults"] * defaults
    again += [f"--seed {seed}", f"--number {number}", f"--seconds {seconds:g}"]
    what = (
        "breaks the same parts at the same moments. Which predictions they meet depends on this machine, so the numbers"
    )
    tell(filled(f"`lab trial {' '.join(again)}` {what} differ a little.", columns()))
    sys.exit(outcomes[YOURS].verdict.lost > 0)


@click.command()
@click.argument("minutes", default=10, type=click.FloatRange(0.1, 24 * 60))
@click.option("--seed", type=click.IntRange(0), help="The same seed gives the same faults in the same order.")
def soak(minutes: float, seed: int | None) -> None:
    """Break everything, again and again, for some minutes: 10, if you do not say.

    Among the predictions are some that end their process each time, and messages that cannot be a task. At the end,
    each that delay() accepted is predicted, or in the dead-letter queue with its reason; or else the exit status is 1.
    """
    wanted, settings = read_files()

    from lab.run.folder import Folder
    from lab.trial.rig import Rig
    from lab.trial.run import Trial
    from lab.trial.table import YOURS

    seed = random.randrange(1000) if seed is None else seed
    seconds = minutes * 60
    faults, folder = plan_soak(seed, seconds, wanted.with_results), Folder().data("runs")
    with Rig(wanted, set(KINDS), tell, heed_interrupt) as rig:
        outcome = Trial(settings, seed, faults, round(RATE * seconds), seconds, is_soak=True).hold(rig, folder, tell)
    show({YOURS: outcome}, wanted)
    for what, number in outcome.faults.most_common():
        tell(f"{number:>6} x {what}")
    tell(filled(f"`lab soak {minutes:g} --seed {seed}` breaks the same parts in the same order.", columns()))
    sys.exit(outcome.verdict.lost + outcome.verdict.waiting > 0)


def read_files() -> tuple["Wanted", dict[str, Any]]:
    """What a trial wants to know of the student's files, and the settings in celeryconfig.py. Raises Fault."""
    from lab.course import student
    from lab.course.desk import Desk
    from lab.probe.address import Address
    from lab.trial.rig import Wanted

    desk, settings = Desk(), student.settings()
    for name in ("broker_read_url", "broker_write_url"):
        variable = f"CELERY_{name.upper()}"
        if variable in os.environ or desk.app.conf.get(name):  # which would win over the trial's own address
            where = f"{variable} in the environment" if variable in os.environ else f"{name} in celeryconfig.py"
            raise Fault(f"{where} is set, so a trial could meet your own broker", "Set broker_url alone")
    broker, results = Address(desk.app.conf.broker_url), desk.app.conf.result_backend
    own = getattr(desk.task, "queue", None) or "celery"
    default = getattr(own, "name", own)
    return Wanted(desk.task.name, desk.queue, default, broker.is_rabbitmq, bool(results)), settings


def show(outcomes: "dict[str, Outcome]", wanted: "Wanted") -> None:
    """Show the verdicts of trials, by their headings, in one table, then their stories and their pictures."""
    from lab.trial.table import table

    tell()
    for line in table({heading: outcome.verdict for heading, outcome in outcomes.items()}, wanted.with_results):
        tell(line)
    for heading, outcome in outcomes.items():
        if outcome.story:
            tell()
            tell(filled(f"The story of {outcome.id}, which {outcome.what}, with {heading}:", columns()))
        for at, sentence in outcome.story:
            mark = "" if at is None else f"{at:.2f} s"
            tell(textwrap.indent(filled(sentence, columns() - 11), " " * 11).replace(" " * 9, f"{mark:>9}", 1))
    tell()
    for outcome in outcomes.values():
        show_picture(outcome.path)


COMMANDS = [trial, soak]
