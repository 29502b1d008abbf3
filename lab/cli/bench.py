"""The commands start, servers and doctor."""

import sys
import time
from typing import TYPE_CHECKING

import click

from lab.cli.signals import heed_interrupt, interrupted
from lab.cli.terminal import show_fact, tell
from lab.fault import Fault, printable

if TYPE_CHECKING:
    from lab.run.stack import Lab  # which imports Celery: the commands do so when they need it


@click.command()
@click.option("--verbose", is_flag=True, help="Say how long each part of the start took.")
def start(verbose: bool) -> None:
    """Start everything, then type messages."""
    import psutil

    from lab.course import student
    from lab.run.producer import Publishing, Repeated, Results, WorkerLog, run, wait_for_results
    from lab.run.stack import Lab

    begin = psutil.Process().create_time()
    lab = Lab(student.app(), tell)
    times = [(time.time() - begin, "imports")]
    piped = not sys.stdin.isatty()
    shown, stored, mended = (Repeated() for _ in range(3))  # each has a thread, because it may wait for a server
    try:
        lab.start_servers()
        heed_interrupt()
        show_servers(lab)
        lab.start_stack()
        heed_interrupt()
        show_stack(lab)
        if verbose:
            for seconds, part in [*times, *lab.times, (time.time() - begin, "all")]:
                tell(f"{seconds:6.2f} s  {part}")
        show_log = WorkerLog(lab.worker_log, lab.joined, tell).look if lab.worker_log else lambda: None
        results = Results(lab.app, tell, show_log)
        shown.start(show_log)
        stored.start(results.look)
        mended.start(lab.mend, Publishing(lab.broker.url, lab.broker.dashboard, tell).look)
        tell("Type a message to ask for its prediction; `exit` leaves.")
        heed_interrupt()
        run("use_ml_app.py", tell)
        if piped and not interrupted.is_set():
            wait_for_results(lab.app, results, tell)
    finally:
        lab.leave(patient=not interrupted.is_set() or sys.stdin.isatty())
        for repeated in (mended, shown, stored):
            repeated.finish()


@click.command()
def servers() -> None:
    """Start only broker and result backend, until Ctrl-C."""
    from lab.course import student
    from lab.run.stack import Lab

    lab = Lab(student.app(), tell, parts=["servers"])
    try:
        lab.start_servers()
        show_servers(lab)
        if lab.started_servers:
            tell("Ctrl-C ends what was started here. Messages in a queue are kept.")
            while True:
                heed_interrupt()
                lab.mend()
                time.sleep(1)
        tell("Both answer already, so there is nothing to start.")
    except KeyboardInterrupt:
        tell()
    finally:
        lab.leave()


@click.command()
def doctor() -> None:
    """Look at everything the lab needs, and say what is wrong."""
    from lab.course import student
    from lab.run.doctor import examine, table

    try:
        app = student.app()
    except Fault as fault:
        app = fault
    sys.exit(not table(examine(app)))


def show_servers(lab: "Lab") -> None:
    """Show where messages and results go. If that is not where celeryconfig.py says, show why."""
    for role, server, variable in (
        ("broker", lab.broker, "CELERY_BROKER_URL"),
        ("results", lab.results, "CELERY_RESULT_BACKEND"),
    ):
        if server is None:
            show_fact(role, "none: celeryconfig.py has no result_backend")
            continue
        show_fact(role, f"{server.address}  {server.product}{', started here' if server.started else ''}")
        if server.instead:
            tell(f"  {server.instead}")
            tell(f"  The lab uses Valkey instead. Type this in the other terminals: export {variable}={server.url}")
    if lab.broker.dashboard:
        show_fact("dashboard", f"{lab.broker.dashboard}  user and password are the broker's")


def show_stack(lab: "Lab") -> None:
    elsewhere = lab.joined or lab.worker in lab.other_workers
    show_fact("worker", f"{lab.worker}  2 to 10 processes{', started in another terminal' if elsewhere else ''}")
    for name in lab.other_workers:
        if name != lab.worker:
            show_fact("", f"{printable(name)}  takes messages too: what it prints is in its own terminal")
    show_fact("Flower", lab.flower)


COMMANDS = [start, servers, doctor]
