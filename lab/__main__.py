"""The lab's commands: start, servers and doctor here, the course's in commands.py."""

import codecs
import math
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

BEGIN = time.monotonic()

import click

from lab import commands
from lab.fault import Fault, of_our_own, of_this_machine, plain, printable

DAY = 24 * 3600  # seconds


def tell(sentence=""):
    """Print, as long as there is somebody to read it."""
    try:
        print(plain(sentence), flush=True)
    except OSError:
        to_nobody()


def to_nobody():
    """Let output go nowhere from now on: the terminal is closed."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)


interrupted = threading.Event()


def interrupt(number, _):
    """A closed terminal, or a request to end, is Ctrl-C: whatever survives that survives them."""
    interrupted.set()
    if number == signal.SIGHUP:
        to_nobody()
    raise KeyboardInterrupt


def heed_interrupt():
    """Leave if that was asked for at a moment when Python, busy with a finalizer, had to ignore the exception."""
    if interrupted.is_set():
        raise KeyboardInterrupt


# What talks to servers is imported where it is needed: `list` and `hint` answer at once without it.


class InOrder(click.Group):
    """Commands in the order in which they are met, and not by their first letter."""

    def list_commands(self, ctx):
        return list(self.commands)


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The exercises begin with `python -m lab new my_celery`.",
)
@click.pass_context
def cli(context):
    """A lab in which predictions travel through a task queue."""
    context.obj = heed_interrupt
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup, and a script that starts this with &, have their reason
            signal.signal(number, interrupt)
    sys.path.insert(0, os.getcwd())
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        context.color = False


@cli.command()
@click.option("--verbose", is_flag=True, help="Say how long each part of the start took.")
def start(verbose):
    """Start everything, and type messages."""
    from lab import student
    from lab.producer import Publishing, Repeated, Results, WorkerLog, run, wait_for_results
    from lab.stack import Lab

    lab = Lab(student.app(), tell)
    times = [(time.monotonic() - BEGIN, "imports")]
    piped = not sys.stdin.isatty()
    shown, stored, mended = (Repeated() for _ in range(3))  # each has a thread, for it may wait for a server
    try:
        lab.start_servers()
        heed_interrupt()
        show_servers(lab)
        lab.start_stack()
        heed_interrupt()
        show_stack(lab)
        if verbose:
            for seconds, part in [*times, *lab.times, (time.monotonic() - BEGIN, "all")]:
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


@cli.command()
def servers():
    """Start broker and result backend only, until Ctrl-C."""
    from lab import student
    from lab.stack import Lab

    lab = Lab(student.app(), tell, parts=["servers"])
    try:
        lab.start_servers()
        show_servers(lab)
        if lab.started_servers:
            tell("Ctrl-C ends what was started here; what waits in a queue is kept.")
            while True:
                heed_interrupt()
                lab.mend()
                time.sleep(1)
        tell("Both answer already, so there is nothing to start.")
    except KeyboardInterrupt:
        tell()
    finally:
        lab.leave()


@cli.command()
def doctor():
    """Look at everything the lab needs, and say what is wrong."""
    from lab import student
    from lab.doctor import examine, table

    try:
        app = student.app()
    except Fault as fault:
        app = fault
    sys.exit(not table(examine(app)))


@cli.command()
def view():
    """Show what happens, whoever sends, and draw it at the end."""
    from lab.desk import Desk
    from lab.view import Recording, follow

    desk = Desk()
    tell("Ctrl-C ends this.")
    with Recording(desk) as recording:
        follow(recording, desk.broker, heed=heed_interrupt)
    draw_what_happened(recording)


def number(_, __, value):
    """Refuse NaN, which is in every range."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("give a number of seconds.")
    return value


@cli.command()
@click.argument("number", metavar="[N]", default=60, type=click.IntRange(min=1))
@click.option("--seconds", type=click.FloatRange(0, DAY), callback=number, help="How long each is asked to take.")
@click.option(
    "--over", type=click.FloatRange(0, DAY), callback=number, default=0, help="Send them evenly over so many seconds."
)
def burst(number, seconds, over):
    """Send N predictions, show what happens, and draw it.

    Without N, 60. What it saw, and the picture of it, are kept in .lab/runs.
    """
    from lab.burst import Burst
    from lab.desk import Desk
    from lab.view import Recording, follow

    desk = Desk()
    list(desk.ready())
    sent = Burst(desk, number, seconds, over)
    with Recording(desk) as recording:
        done = follow(recording, desk.broker, sent, heed_interrupt)
        sent.stop()
        waiting = sent.waiting(recording.history)
        if not done and waiting:
            tell(f"{len(waiting)} of {sent.sent} predictions have not begun.")
            try:
                wanted = sys.stdin.isatty() and click.confirm("Take them back out of the queue?")
                sent.note_all(recording.take())  # what happened while that was asked
                if wanted and (left := sent.withdraw(sent.waiting(recording.history))):
                    tell(f"{left} of them were not found in time. The workers that run now will discard them.")
            except (click.Abort, KeyboardInterrupt):
                tell()
            except Fault as fault:
                tell(f"They stay in the queue. {fault.sentences()}")
        sent.note_all(recording.take())
    if sent.fault:
        raise sent.fault
    tell(sent.summary(recording.history))
    draw_what_happened(recording)
    if not done:
        sys.exit(130)


@cli.command()
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def picture(file):
    """Draw the last view or burst once more, or the one in FILE."""
    if file:
        return show_picture(file)
    for latest in sorted(Path(".lab/runs").glob("*.jsonl"), reverse=True):
        with suppress(Fault):  # a view that has not seen anything yet
            return show_picture(latest)
    raise Fault("There is nothing to draw yet", "Send a burst: `python -m lab burst 60 --seconds 1`")


def show_servers(lab):
    """Where messages and results go, and, if that is not where celeryconfig.py says, why."""
    for role, server, variable in (
        ("broker", lab.broker, "CELERY_BROKER_URL"),
        ("results", lab.results, "CELERY_RESULT_BACKEND"),
    ):
        if server is None:
            show(role, "none: celeryconfig.py has no result_backend")
            continue
        show(role, f"{server.address}  {server.product}{', started here' if server.started else ''}")
        if server.instead:
            tell(f"  {server.instead}")
            tell(f"  So Valkey stands in. Other terminals join with: export {variable}={server.url}")
    if lab.broker.dashboard:
        show("dashboard", f"{lab.broker.dashboard}  user and password are the broker's")


def draw_what_happened(recording):
    if recording.happened:
        show_picture(recording.path)
    else:
        tell("No prediction was seen, so there is nothing to draw.")


def show_picture(run):
    """Draw what is in the file of a view or a burst. Raises Fault."""
    from lab.history import History
    from lab.picture import draw

    try:
        for path in draw(History.read(run), run):
            show("picture", os.path.relpath(path))
        show("its data", os.path.relpath(run))
    except KeyboardInterrupt:
        tell("Not drawn. `python -m lab picture` draws it.")
        raise


def show_stack(lab):
    elsewhere = lab.joined or lab.worker in lab.other_workers
    show("worker", f"{lab.worker}  2 to 10 processes{', started in another terminal' if elsewhere else ''}")
    for name in lab.other_workers:
        if name != lab.worker:
            show("", f"{printable(name)}  takes messages too: what it prints is in its own terminal")
    show("Flower", lab.flower)


def show(name, fact):
    tell(f"{name:<10} {fact}")


for command in commands.COMMANDS:
    cli.add_command(command)


def in_ascii(error):
    """What stands for characters that a terminal of another encoding than UTF-8 does not have."""
    signs = {"✓": "+", "✗": "x", "→": ">", "…": "...", "–": "-", "·": "-", "“": '"', "”": '"'}
    return "".join(signs.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def main():
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed (`>&-`): the next file to be opened would take its place
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("in_ascii", in_ascii)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="in_ascii")
    try:
        cli(standalone_mode=False)
    except Fault as fault:
        tell(fault.sentences())
        sys.exit(1)
    except click.ClickException as error:
        error.message = plain(error.message)
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:  # in the middle of a line
        tell()
        sys.exit(130)
    except OSError as error:
        tell((of_this_machine(error) or Fault(f"The lab cannot go on: {error}")).sentences())
        sys.exit(1)
    except Exception as error:
        tell(of_our_own(error).sentences())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
