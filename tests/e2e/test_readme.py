"""Each command of the README that shows output, run in its order, with the output that it promises."""

import re
from contextlib import suppress

import pexpect
import pytest
from conftest import ROOT, free_port

from e2e.student import RABBITMQ, eventually, require

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```console\n\$ (.*)\n((?:.*\n)*?)```", README)
ID = r"[0-9a-f]{8}-[0-9a-f-]{27}"
VARIES = {  # from run to run, and from machine to machine
    ID: f"({ID})",
    r"@localhost:\d+/\S+": r"@localhost:\d+/\S+",
    r"(?:localhost|127\.0\.0\.1):\d+": r"(?:localhost|127\.0\.0\.1):\d+",
    r"\.\./exercises": r"[^\r\n]+/exercises",
    r"virtual host '/'": r"virtual\s+host\s+'[^']+'",
    r"(?:RabbitMQ|Valkey|Redis) [\d.]+": r"(?:RabbitMQ|Valkey|Redis)\s+[\d.]+",
    r"ForkPoolWorker-\d": r"ForkPoolWorker-\d+",
    r"(?:lab|celery)@\w+": r"(?:lab|celery|w\d)@[^\s,]+",
    r"(?<=w\d@)\w+": r"[^\s,]+",  # each of several has its own name
    r"\d\d (?=run|held)": r"\d+\s+",
    r"\d+ of \d+ passed · in \w+": r"\d+\s+of\s+\d+\s+passed\s+·\s+in\s+\S+",
    r"\d+ pool processes": r"\d+\s+pool\s+process(?:es)?",
    r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d+": r"[\d_-]+",
    r"\d+(?= of 40 lost)": r"\d+",
    r"\d+ of 60 lost": r"\d+\s+of\s+\d+\s+lost",
    r"(?<=process.: )\d+": r"\d+",
    r"(?<=process.:)\d+": r"\d+",
    r"(?<=process )\d+": r"\d+",
    r"(?<=held )\d+": r"\d+",
    r"\d+ predictions(?= at w)": r"\d+\s+predictions?",
    r"\d\d:\d\d:\d\d": r"\d\d:\d\d:\d\d",
    r"\d+\.\d+(?= s\b)": r"\d+\.\d+",
}


def pattern(line):
    """A regular expression for a line of output, in which what varies may vary."""
    pieces, end = [], 0
    for match in re.finditer("|".join(f"({what})" for what in VARIES), line):
        pieces += [literal(line[end : match.start()]), list(VARIES.values())[match.lastindex - 1]]
        end = match.end()
    return "".join(pieces) + literal(line[end:])


def literal(text):
    """A regular expression for this text, in which a terminal may change colour or line between words."""
    return re.sub(r"(?:\\ )+", r"(?:\\s|\\x1b\\[[\\d;]*m)+", re.escape(text))


def follow(terminal, promised):
    """See the promised lines, typing what the README types; return the last task's id."""
    task = None
    for line in promised.splitlines():
        if typed := re.fullmatch(r"Enter a message: (.*)", line):
            terminal.see("Enter a message:")
            terminal.sendline(typed[1])
        else:  # two predictions at a time may end in another order than the README's
            match = re.search(pattern(line), terminal.seen) or printed(terminal, line)
            task = match[1] if match.groups() else task
    return task


def printed(terminal, line):
    """See this line of a README; without it, the test fails with what was printed in its place."""
    with suppress(pexpect.EOF, pexpect.TIMEOUT):
        return terminal.see(pattern(line))
    found = re.sub(r"\x1b\[[\d;]*m|\r", "", terminal.seen + terminal.before)
    command = b" ".join(terminal.args).decode().partition(" exec ")[2]
    what = f"The README shows this line, and `{command}` does not print it:\n{line}\n\nIt printed:\n{found}"
    pytest.fail(what, pytrace=False)


def test_the_readme_shows_what_happens(student):
    student.broker = f"amqp://myuser:mypassword@localhost:{free_port()}//"
    require("RabbitMQ", RABBITMQ)
    terminals, task = [], None
    for command, promised in BLOCKS:
        if "--autoscale" in command:  # as the README says: first end the worker in terminal 2
            terminals[2].sendintr()
            terminals[2].left()
        if re.search(ID, command):
            command = re.sub(ID, task, command)
            eventually(student.app.AsyncResult(task).ready, "the result is stored")
        command = command.replace("--address=127.0.0.1", f"--address=127.0.0.1 --port={free_port()}")
        terminals.append(student.open("sh", "-c", f"exec {command}", PREDICT_SECONDS="3"))
        task = follow(terminals[-1], promised) or task
        if "--autoscale" in command:
            terminals[-1].unwatched()
        if "Enter a message: exit" in promised:
            assert terminals[-1].left() == 0
    assert [command.split()[0] for command, _ in BLOCKS] == [
        "make",
        "make",
        "celery",
        "python",
        "celery",
        "celery",
        "celery",
        "lab",
        "lab",
    ]
