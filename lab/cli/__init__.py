"""The lab's commands, and their signals. An error becomes a sentence here, and nowhere else."""

import codecs
import io
import os
import sys

import click

from lab.cli import bench, course, live, teach, trial, xray
from lab.cli.signals import heed_signals
from lab.cli.terminal import in_ascii, tell
from lab.fault import Fault, of_our_own, of_this_machine, plain


class InOrder(click.Group):
    """Commands in the order in which a student meets them, not in that of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The exercises begin with `lab new my_celery`.",
)
@click.pass_context
def cli(context: click.Context) -> None:
    """A lab in which predictions travel through a task queue."""
    heed_signals()
    sys.path.insert(0, os.getcwd())
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        context.color = False


for command in (*bench.COMMANDS, *live.COMMANDS, *xray.COMMANDS, *course.COMMANDS, *trial.COMMANDS, *teach.COMMANDS):
    cli.add_command(command)


def main() -> None:
    """Run the command that was typed, and end with its exit status."""
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
        said = io.StringIO()
        error.show(said)
        click.echo(plain(said.getvalue()), err=True, nl=False)
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
