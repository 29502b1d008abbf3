"""Copies of messages, as facts, and the threads that listen for them: nothing is taken."""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from lab.fault import Fault
from lab.live.history import Fact, is_name
from lab.probe.connection import ANSWER, AWAY
from lab.probe.protocol import findings, short
from lab.probe.wait import uninterrupted

LOOK = 0.1  # seconds between two looks whether to end
AGAIN = 0.5  # seconds until a server that went away is tried again
KEPT = 2000  # characters of a body that are kept


def message(properties: dict[str, Any], headers: dict[str, Any], body: bytes, **where: Any) -> Fact:
    """The fact that a message was sent. Without an id that is a name, it gets one made of its body."""
    named = headers.get("id")
    found = findings(properties, headers, body)
    if "delivery_tag" in properties:  # Redis keeps all messages alike
        found = [one for one in found if one.part != "delivery mode"]
    return {
        "time": time.time(),
        "fact": "message",
        "id": named if is_name(named) else hashlib.sha256(body).hexdigest()[:8],
        "properties": as_json(properties),
        "headers": as_json(headers),
        "body": body[:KEPT].decode(errors="replace"),
        "size": len(body),
        "findings": [list(one) for one in found],
        **where,
    }


def as_json(those: dict[str, Any]) -> dict[str, Any]:
    """Properties or headers as JSON can have them: what is too long or too deep for that, in short."""
    found = {}
    for name, value in those.items():
        with suppress(ValueError, RecursionError):
            if len(text := json.dumps(value, default=str)) <= KEPT:
                found[str(name)] = json.loads(text)
                continue
        found[str(name)] = short(value)
    return found


class Source(threading.Thread):
    """Listens to a server, in a thread, and calls note(fact) for what it sees, until it is closed.

    What listen() switches on it switches off again: no daemon, so that this happens however the program ends.
    """

    def __init__(self, note: Callable[[Fact], None]):
        super().__init__()
        self.fault: Fault | None = None
        self._note, self._stop_it, self._ready = note, threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        self.start()
        try:
            self._ready.wait(4 * ANSWER)
        except BaseException:
            self.__exit__()
            raise
        if fault := self.fault:
            self.__exit__()
            raise fault
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():  # a second Ctrl-C would leave on what this thread has switched on
            self._stop_it.set()
            self.join()

    def run(self) -> None:
        while not self._stop_it.is_set():
            try:
                self.listen()
            except Fault as fault:
                self.fault = fault
            except AWAY as error:
                self.fault = Fault(f"The server does not answer: {error}".rstrip("."))
            except Exception as error:  # what a client raises that cannot read a message: it begins anew behind that
                self.fault = Fault(f"What the server says cannot be read: {short(error)}")
            self._ready.set()
            self._stop_it.wait(AGAIN)

    def listen(self) -> None:
        """Listen until this is closed."""
        raise NotImplementedError

    def _goes_on(self) -> bool:
        self.fault = None
        self._ready.set()
        return not self._stop_it.is_set()
