"""Celery's events of workers and tasks, as they come."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeGuard

from celery import Celery
from kombu import Connection, Consumer

from lab.live.history import is_name, is_number
from lab.probe.connection import AWAY, ONCE
from lab.probe.wait import wait_until
from lab.probe.workers import ask_workers

LOOK = 0.1  # seconds between two looks for events
HEARING = 1  # seconds in which every worker answers a question to all workers
DAY = 24 * 3600  # seconds: if an event is further from now, its clock is wrong
TTL = 60  # seconds that an event waits for a busy follower; Celery's 5 would lose the end of a large burst
EVENTS_SWITCHED_ON = {"ok": "task events enabled"}  # what a worker answers that sent none of its tasks

Event = dict[str, Any]  # Celery's, as JSON: type, hostname, timestamp, and what belongs to its type


@contextmanager
def hearing(
    app: Celery, note: Callable[[Event], None], unread: Callable[[], None] = lambda: None
) -> Iterator[threading.Thread]:
    """Call note(event) for each event of workers and producers from now on, in a thread, which is yielded.

    unread() is called for each event that cannot be read: a program that may send messages may send events of any form.
    The thread ends when the broker goes away.
    """
    heard, stop, mark = threading.Event(), threading.Event(), f"{os.getpid()}-{time.monotonic_ns()}"

    def hear(event: object) -> None:
        if not is_event(event):
            unread()
        elif event["type"] != "lab-listens":
            note(event | {"local_received": time.time()})
        elif event.get("mark") == mark:
            heard.set()

    def receive(body: object, _: object) -> None:
        for event in body if isinstance(body, list) else [body]:
            hear(event)

    def listen() -> None:
        # Not Celery's own loop: that ends, and its queue too, at the first message that it cannot read.
        with suppress(*AWAY), app.connection_for_read(transport_options=ONCE) as connection:
            queue = app.events.Receiver(connection, queue_ttl=TTL).queue
            options = {"callbacks": [receive], "no_ack": True, "accept": ["json"]}
            with Consumer(connection, [queue], on_decode_error=lambda *_: unread(), **options):
                while connection.connected and not stop.is_set():
                    hear_next(connection)

    def hear_next(connection: Connection) -> None:
        try:
            connection.drain_events(timeout=LOOK)
        except TimeoutError:
            connection.heartbeat_check()
        except AWAY:
            raise
        except Exception:  # whatever Kombu raises when what came is no event at all
            unread()

    def announced() -> bool:
        announcer.send("lab-listens", mark=mark)
        return heard.wait(LOOK)

    listener = threading.Thread(target=listen, daemon=True)
    # A connection of its own: the app's pool may have only one, and the program that sends needs it.
    with (
        app.connection_for_write(transport_options=ONCE) as connection,
        app.events.Dispatcher(connection, buffer_while_offline=False) as announcer,
    ):
        connection.connect()
        listener.start()
        try:
            # With Redis, events that come before the first look are lost. So first send one, and wait to hear it.
            wait_until(announced, HEARING)
            yield listener
        finally:
            stop.set()
            listener.join(HEARING)


def is_event(event: object) -> TypeGuard[Event]:
    """Whether an event has what all events have: its kind, its sender, and a time within a day from now; of a task, an
    id."""
    return (
        isinstance(event, dict)
        and isinstance(event.get("type"), str)
        and is_name(event.get("hostname"))
        and "@" in event["hostname"]
        and is_number(event.get("timestamp"))
        and abs(event["timestamp"] - time.time()) < DAY
        and ("uuid" not in event or is_name(event["uuid"]))
    )


def switch_events_on(
    app: Celery, workers: list[str] | None, connection: Connection | None = None
) -> tuple[list[str], list[str]]:
    """Make workers (None: all) send events of their tasks. Return their names, and the names of those that did not
    send them before."""
    said = ask_workers(app, "enable_events", workers, HEARING, connection)
    return list(said), [name for name, say in said.items() if say == EVENTS_SWITCHED_ON]
