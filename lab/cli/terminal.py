"""How the commands print: only while somebody reads, in the width and the letters of the terminal."""

import os
import re
import shutil
import sys
import textwrap
from typing import Any

import click

from lab.fault import plain


def tell(sentence: object = "") -> None:
    """Print, as long as there is somebody to read it."""
    try:
        print(plain(sentence), flush=True)
    except OSError:
        to_nobody()


def show_fact(name: str, fact: object) -> None:
    """Print a fact behind its name, as a row of a table."""
    tell(f"{name:<10} {fact}")


def to_nobody() -> None:
    """Let output go nowhere from now on: the terminal is closed."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that a terminal does not have because its encoding is not UTF-8."""
    if not isinstance(error, UnicodeEncodeError):  # which is what writing raises
        raise error
    signs = {"✓": "+", "✗": "x", "→": ">", "…": "...", "–": "-", "·": "-", "“": '"', "”": '"'}
    return "".join(signs.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def filled(text: str, width: int) -> str:
    """A text in lines of width characters, broken between words but never inside `code`, so that code can be copied."""
    text = re.sub("`.*?`", lambda code: code[0].replace(" ", "\0"), " ".join(text.split()))
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def columns() -> int:
    """How many characters a line may have: as many as the terminal's; in a file or a pipe, any number."""
    return max(shutil.get_terminal_size().columns - 1, 20) if sys.stdout.isatty() else 1_000_000


def line(mark: str, text: str, **style: Any) -> None:
    """Show a text after a mark; style is click.style's, for the mark."""
    text = "\n".join(filled(part, columns() - 4) for part in text.splitlines())
    click.echo(f"  {click.style(mark, **style) if style else mark} " + text.replace("\n", "\n    "))


def show(text: str) -> None:
    """Show a text of the lab: its paragraphs, and its blocks of code, which can be copied."""
    for number, part in enumerate(re.split(r"^ *```.*$\n?", text, flags=re.MULTILINE)):
        if number % 2:
            click.echo(textwrap.dedent(part))
        elif part := part.strip():
            for paragraph in re.split(r"\n\s*\n", part):
                click.echo(filled(paragraph.replace("**", ""), columns()) + "\n")
