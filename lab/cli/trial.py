"""The command trial."""

import random
import sys
import textwrap

import click

from lab.cli.live import show_picture
from lab.cli.terminal import columns, filled, tell
from lab.fault import Fault

KINDS = ["worker", "process", "worker-cold", "broker", "broker-frozen", "results", "network"]
HOUR = 3600  # seconds


@click.command()
@click.option(
    "--break",
    "kinds",
    multiple=True,
    default=["worker"],
    type=click.Choice([*KINDS, "all"]),
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
    from lab.course import student
    from lab.course.desk import Desk
    from lab.probe.address import Address
    from lab.run.folder import Folder
    from lab.trial.plan import seconds_for
    from lab.trial.rig import Rig, Wanted
    from lab.trial.run import Trial
    from lab.trial.table import DEFAULTS, YOURS, table

    desk, settings = Desk(), student.settings()
    if other := settings.keys() & {"broker_read_url", "broker_write_url"}:
        raise Fault(
            f"The celeryconfig.py here sets {other.pop()}, so a trial could meet your own broker",
            "Set broker_url alone",
        )
    wanted = Wanted(
        desk.task.name, desk.queue, Address(desk.app.conf.broker_url).is_rabbitmq, bool(desk.app.conf.result_backend)
    )
    each = KINDS if "all" in kinds else list(dict.fromkeys(kinds))
    if not wanted.with_results:
        each = [kind for kind in each if kind != "results"]
        if not each:
            raise Fault("The celeryconfig.py here has no result_backend that could be broken", "Exercise 11 adds it")
    seed = random.randrange(1000) if seed is None else seed
    seconds = seconds or seconds_for(each)
    folder = Folder().data("runs")
    outcomes = []
    with Rig(wanted, set(each), tell) as rig:
        for own in (True, False)[: 1 + defaults]:
            tell(f"With {YOURS if own else DEFAULTS}:")
            outcomes.append(Trial(settings if own else None, each, seed, number, seconds).hold(rig, folder, tell))
    tell()
    verdicts = dict(zip((YOURS, DEFAULTS), (outcome.verdict for outcome in outcomes), strict=False))
    for line in table(verdicts, wanted.with_results):
        tell(line)
    for heading, outcome in zip(verdicts, outcomes, strict=True):
        if outcome.story:
            tell(f"\nThe story of {outcome.id}, which {outcome.what}, with {heading}:")
        for at, sentence in outcome.story:
            mark = "" if at is None else f"{at:.2f} s"
            tell(textwrap.indent(filled(sentence, columns() - 11), " " * 11).replace(" " * 9, f"{mark:>9}", 1))
    tell()
    for outcome in outcomes:
        show_picture(outcome.path)
    again = " ".join(f"--break {kind}" for kind in kinds)
    tell(
        f"`lab trial {again} --seed {seed}` breaks the same parts at the same moments. Which predictions they meet "
        "depends on this machine, so the numbers differ a little."
    )
    sys.exit(outcomes[0].verdict.lost > 0)


COMMANDS = [trial]
