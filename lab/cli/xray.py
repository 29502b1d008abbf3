"""The command xray."""

import json
import os
import re
import sys
import textwrap
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from lab.cli.signals import heed_interrupt
from lab.cli.terminal import columns, tell
from lab.fault import printable

if TYPE_CHECKING:
    from lab.live.history import Fact  # these import Celery: the command does so when it needs them
    from lab.live.life import Life
    from lab.live.numbers import Numbers
    from lab.live.xray import XRay

WIDTH = 79  # columns, where the terminal does not have fewer
NAME = 25  # columns of a name
LOOK = 0.1  # seconds between two looks for news
QUIET = 3  # seconds without news after which it is said what is waited for
LATE = 2  # seconds in which a result is stored, if it is, and a message acknowledged
PARTS = 40  # of a message that are shown
VALUE = 120  # characters of each
BODY = 400
CONFIRMED: dict[Any, str] = {
    True: "by RabbitMQ: the sender's channel asked for that",
    False: "by nobody: the sender's channel did not ask RabbitMQ for that",
    None: "nobody can know: the sender's channel is closed",
}


@click.command()
@click.argument("task_id", metavar="[TASK_ID]", required=False)
def xray(task_id: str | None) -> None:
    """Show a message as it went over the wire, and follow its life.

    Without TASK_ID, it is the next message that is sent. It takes a copy, never the message. What it has seen is kept
    in .lab/runs: `lab xray TASK_ID` shows it again.
    """
    from lab.course.desk import Desk
    from lab.live.numbers import Numbers
    from lab.live.xray import XRay, known
    from lab.probe.login import ask
    from lab.run import running
    from lab.run.folder import Folder

    desk, runs, over = Desk(), Folder().data("runs"), False
    ask(desk.app.conf.broker_url)
    facts = known(desk.app, desk.queue, runs, task_id) if task_id else []
    tell("Ctrl-C ends this.")
    recording = XRay(desk.app, desk.queue, lambda: running.dashboard(desk.broker), runs)
    with suppress(KeyboardInterrupt), recording:
        for fact in facts:
            recording.keep(fact)
        if not task_id:
            tell("Send a message now, in terminal 3: `python use_ml_app.py`")
        elif not facts:
            tell(f"Nobody knows {printable(task_id)} yet. As soon as it is sent, its life is shown here.")
        if task_id and desk.broker.is_rabbitmq and not any(fact["fact"] == "message" for fact in facts):
            say("RabbitMQ gives no copy of what waits in a queue already: start `lab xray`, and then send.")
        for problem in recording.problems:
            say(problem)
        follow(recording, Numbers(recording), task_id)
        over = True
    if recording.fault and desk.broker.is_rabbitmq:
        host = printable(desk.broker.virtual_host)
        say(f"{recording.fault} Perhaps it still makes copies: `rabbitmqctl trace_off -p {host}` ends that.")
    if not over:
        tell()
        tell(f"What was seen is kept: {os.path.relpath(recording.path)}" if recording.happened else "Nothing was seen.")
        sys.exit(130)


def follow(recording: "XRay", numbers: "Numbers", task_id: str | None) -> None:
    """Show the life of a message until it is over."""
    life, shown, said, at = None, list[Any](), "", 0.0
    news = time.monotonic()
    while True:
        heed_interrupt()
        numbers.look()
        life = life or (recording.lives.get(task_id) if task_id else recording.newest())
        if life:
            recording.look_at_sender(life)
            for fact in life.since(len(shown)):
                if fact is life.copy:
                    show_message(fact)
                at = max(at, fact["time"] - life.begin) if shown else 0
                for name, what in steps(fact, shown):
                    row(f"{at:8.3f} s  {name}", what)
                shown.append(fact)
                news = time.monotonic()
            if over := how_over(life, recording):
                return say(over)
        if time.monotonic() > news + QUIET:
            hint = waits_for(life, recording, numbers)
            if (kind := re.sub(r"\d+", "", hint)) != said:  # the same with another number is no news
                said = kind
                say(hint)
        time.sleep(LOOK)


def steps(fact: "Fact", before: list["Fact"]) -> list[tuple[str, str]]:
    """What a fact says of a message's life, as names and texts."""
    kind, by = fact["fact"], printable(fact.get("by", "somebody, before this x-ray began"), VALUE)
    worker = printable(fact.get("worker"))
    if kind == "message":
        return sent(fact, by, any(one["fact"] == "message" for one in before))
    if kind == "taken":
        return [("taken", f"by {by}, {'again (redelivered)' if fact.get('redelivered') else 'for the first time'}")]
    if kind == "runs":
        runs = any(one["fact"] == "runs" and one["process"] == fact["process"] for one in before)
        return [] if runs else [("runs", f"in process {fact['process']} of {worker}")]
    told = {
        "received": f"by {worker}",
        "started": f"by {worker}",
        "succeeded": f"SUCCESS, after {fact.get('runtime') or 0:.3f} s",
        "failed": f"FAILURE: {printable(fact.get('why'))}",
        "retried": f"RETRY: {printable(fact.get('why'))}",
        "rejected": "back to its queue" if fact.get("requeue") else "thrown away",
        "revoked": "REVOKED: it had expired, or somebody revoked it",
        "stored": f"{printable(fact.get('status'))}, in the result backend",
        "acknowledged": f"by {by}: it has left the broker",
        "read": f"by {by}, which {'waits' if fact.get('told') else 'asks'} for it",
        "confirmed": CONFIRMED[fact.get("is")],
    }
    finished = {"succeeded", "failed", "revoked"}
    return [("finished" if kind in finished else kind, told[kind])] if kind in told else []


def sent(fact: "Fact", by: str, is_again: bool) -> list[tuple[str, str]]:
    headers, queues = fact["headers"], ", ".join(repr(printable(one)) for one in fact["queues"])
    if reason := headers.get("dead-reason"):
        return [("dead", f"moved to {queues}: {printable(reason, VALUE)}")]
    if fact.get("given_back"):
        return [("given back", f"to {queues}, by {by}")]
    if is_again:
        retry = f" (retry {printable(headers['retries'])})" if headers.get("retries") else ""
        return [("sent again", f"to {queues}, by {by}{retry}")]
    where = f"in {queues}" if queues else "in no queue"
    if queues and fact.get("before") is not None:
        where += f", behind {printable(fact['before'])} others" if fact["before"] else ", before all others"
    return [("sent", f"by {by}"), ("in the broker", where)]


def how_over(life: "Life", recording: "XRay") -> str | None:
    """Why a life is over, and how it may go on, in sentences; None while it is not."""
    if life.copy and life.is_lost:
        keys, exchange = " or ".join(repr(printable(key)) for key in life.copy["keys"]), life.copy.get("exchange")
        where = f"is bound to the exchange {printable(exchange)!r} with the key" if exchange else "is called"
        return f"It is lost: no queue {where} {keys}. RabbitMQ says that only to a sender that asks (mandatory)."
    if life.copy and life.copy.get("channel") and not life.has("confirmed"):
        return None
    if life.is_refused:
        return "A worker has taken it and thrown it away. The worker's log says why."
    if not (end := life.end):
        return None
    if life.has("stored"):
        if time.time() < life.facts[-1]["time"] + LATE and not life.has("read"):
            return None
        read = "" if life.has("read") else f" Read its result: `celery -A my_ml_app result {printable(life.id)}`"
        return f"Its life is over.{read}"
    if time.time() < end["time"] + LATE:
        return None
    if not recording.knows_results:
        return "Its life is over."
    if not life.leaves_result:
        return "Its life is over, without a result: it asks for none (ignore_result)."
    return "Its life is over, and no result was seen to be stored."


def waits_for(life: "Life | None", recording: "XRay", numbers: "Numbers") -> str:
    """What a life waits for, in a sentence."""
    from lab.probe.protocol import ENDS

    if recording.fault:
        return recording.fault
    if life is None:
        return "Nothing was sent yet."
    if life.fate == ENDS and life.has("taken") and not life.has("received"):
        return "It ends each worker that takes it, and comes back. `celery -A my_ml_app purge` empties the queue."
    if numbers.trouble:
        return numbers.trouble
    headers = life.copy["headers"] if life.copy else {}
    if life.has("started", "runs"):
        return "It runs."
    if life.has("received"):
        eta = headers.get("eta")
        return (
            f"Its worker keeps it until {printable(eta)}." if eta else "Its worker has it, and no process is free yet."
        )
    if life.has("taken"):
        return "A worker has it, and says nothing of it."
    queues = life.copy["queues"] if life.copy else []
    ready = sum(recording.history.ready.get(queue, 0) for queue in queues)
    return f"It waits in {' and '.join(map(repr, queues))}; messages that are Ready there: {ready}."


def show_message(fact: "Fact") -> None:
    """A message as it went over the wire, and what is missing or wrong."""
    from lab.probe.protocol import Finding, fate

    headers = fact["headers"]
    tell()
    row("message", f"{printable(headers.get('task', 'no task'), VALUE)}, {printable(fact['id'])}")
    origin, lang = (printable(headers.get(name, "unknown"), VALUE) for name in ("origin", "lang"))
    row("sender", f"origin {origin}, lang {lang}")
    keys, exchange = ", ".join(repr(printable(key)) for key in fact["keys"]), printable(fact.get("exchange") or "")
    row("address", f"exchange {exchange!r}, routing key {keys}")
    for name, those in (("properties", fact["properties"]), ("headers", headers)):
        row(name, "" if those else "none")
        for key, value in list(those.items())[:PARTS]:
            row(f"  {printable(key, NAME - 3)}", printable(json.dumps(value, ensure_ascii=False), VALUE))
        if len(those) > PARTS:
            row("", f"and {len(those) - PARTS} more")
    row("body", f"{fact['size']} bytes: {printable(fact['body'], BODY)}")
    found = [Finding(*one) for one in fact["findings"]]
    for one in found:
        row(f"{'✗' if one.fate else '–'} {printable(one.part)}", printable(one.sentence, BODY))
    if what_becomes_of_it := fate(found):
        row("", what_becomes_of_it)
    else:
        row("✓ protocol 2", "a worker can take it" if found else "nothing is missing")
    tell()


def row(name: str, text: str) -> None:
    """A text behind a name, in as many lines as it needs."""
    lines = textwrap.wrap(text, max(min(columns(), WIDTH) - NAME - 1, 20), break_on_hyphens=False) or [""]
    tell(f"{name:<{NAME}} " + f"\n{'':{NAME + 1}}".join(lines))


def say(text: str) -> None:
    tell(textwrap.fill(printable(text, 1000), min(columns(), WIDTH), break_long_words=False, break_on_hyphens=False))


COMMANDS = [xray]
