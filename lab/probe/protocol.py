"""What Celery's message protocol 2 wants of a message, and what is missing or wrong in one.

What a worker of Celery 5.7 makes of each was measured; tests/e2e/test_message_parts.py measures it again.
"""

import bz2
import json
import lzma
import reprlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from celery.utils.time import maybe_iso8601
from kombu.compression import get_encoder

from lab.fault import printable

JSON = "application/json"
BYTES = ("application/data", "application/text")  # content types with which a body of any form goes through, unread
UNPACKERS: dict[str, Callable[[], Any]] = {  # the compressions that every worker knows
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lzma.LZMADecompressor,
}
LARGE = 16 * 1024 * 1024  # bytes to which a body may unpack
TIME = "2026-12-01T12:00:00+00:00"  # an example
REFUSED = "A worker throws the message away."
ENDS = "It ends every worker that takes it, unless guard.py is there."
UNREADABLE = object()
IN_SHORT = reprlib.Repr()
IN_SHORT.maxstring = 60


class Finding(NamedTuple):
    """What is missing or wrong in one part of a message, in a sentence; fate: what a worker makes of it, REFUSED, ENDS,
    or nothing in particular."""

    part: str
    sentence: str
    fate: str = ""


def findings(properties: dict[str, Any], headers: dict[str, Any], body: bytes) -> list[Finding]:
    """What is missing or wrong in a message for a worker of Celery 5, in the order in which a worker meets it.

    properties have AMQP's names (content_type, delivery_mode …) and do not contain the headers.
    """
    unpacked, found = _unpacked(headers, body)
    content = list(_of_content(properties))
    call: Any = UNREADABLE
    if properties.get("content_type") in (JSON, "", None) and unpacked is not None:
        call, wrong = _read(unpacked)
        content += wrong
    if "task" not in headers and isinstance(call, dict) and "task" in call:
        sentence = "It is of protocol 1, as Celery 3 wrote it: its task stands in its body. Workers still take it."
        return [*found, Finding("task", sentence), *content, *_of_delivery(properties)]
    found += [*_of_task(headers), *content, *_of_id(headers), *_of_times(headers)]
    if call is not UNREADABLE:
        found += _of_call(call)
    return found + [*_of_options(headers), *_of_sender(headers), *_of_delivery(properties)]


def fate(found: list[Finding]) -> str:
    """What a worker makes of a message with these findings: REFUSED, ENDS, or nothing in particular."""
    return next((one.fate for one in found if one.fate), "")


def _unpacked(headers: dict[str, Any], body: bytes) -> tuple[bytes | None, list[Finding]]:
    """A body without its compression; None where that fails."""
    if not (kind := headers.get("compression")):
        return body, []
    wrong = f"Its body is not compressed with {short(kind)}, as a header says."
    try:
        unpacker = UNPACKERS[get_encoder(kind)[1]]()
        whole = unpacker.decompress(body, LARGE)
        if unpacker.eof:
            return whole, []
        wrong = f"Its body is cut off, or unpacks to more than {LARGE} bytes."
    except (KeyError, TypeError):
        wrong = f"Its compression is {short(kind)}. Workers know {', '.join(UNPACKERS)}."
    except (zlib.error, lzma.LZMAError, OSError, ValueError):
        pass
    return None, [Finding("compression", wrong, REFUSED)]


def _read(body: bytes) -> tuple[Any, list[Finding]]:
    """What a body says; UNREADABLE where it is not JSON."""
    if not body:
        return UNREADABLE, [Finding("body", "Its body is empty.", ENDS)]
    try:
        return json.loads(bytes(body).decode()), []
    except (ValueError, RecursionError) as error:
        what = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not JSON"
        return UNREADABLE, [Finding("body", f"Its body is {what}.", REFUSED)]


def _of_task(headers: dict[str, Any]) -> Iterator[Finding]:
    if "task" not in headers:
        yield Finding("task", "It has no header task: the name of the task.", REFUSED)
    elif not isinstance(task := headers["task"], str) or not task:
        fate = ENDS if isinstance(task, list | dict) else REFUSED
        yield Finding("task", f"Its task is {short(task)}, not the name of one.", fate)


def _of_content(properties: dict[str, Any]) -> Iterator[Finding]:
    kind = properties.get("content_type")
    if kind in (None, ""):
        yield Finding("content type", f"It has no content type. Write {JSON}.", ENDS)
    elif kind in BYTES:
        yield Finding("content type", f"Its content type {kind} means bytes of any form. Write {JSON}.", ENDS)
    elif kind != JSON:
        yield Finding("content type", f"Its content type is {short(kind)}. Write {JSON}.", REFUSED)
    encoding = properties.get("content_encoding")
    if encoding in (None, ""):
        yield Finding("content encoding", "It has no content encoding. Write utf-8.")
    elif str(encoding).lower() not in ("utf-8", "utf8"):
        said = f"Its content encoding is {short(encoding)}. Write utf-8: JSON is read as that in any case."
        yield Finding("content encoding", said)


def _of_id(headers: dict[str, Any]) -> Iterator[Finding]:
    if "id" not in headers:
        yield Finding("id", "It has no header id: the result's name, such as a UUID.", ENDS)
    elif not isinstance(task := headers["id"], str) or not task:
        sentence = f"Its id is {short(task)}, not a text: nobody can ask for the result."
        yield Finding("id", sentence, ENDS if isinstance(task, list | dict) else "")


def _of_times(headers: dict[str, Any]) -> Iterator[Finding]:
    for name in ("eta", "expires"):
        sentence = f"Its {name} is {short(value := headers.get(name))}. Write a time such as {TIME}, or null."
        try:
            if value is not None and maybe_iso8601(value) is None:
                yield Finding(name, sentence, ENDS)
        except (AttributeError, ValueError, TypeError, OverflowError):
            yield Finding(name, sentence, REFUSED)


def _of_call(call: Any) -> Iterator[Finding]:
    if isinstance(call, dict) and "args" in call:
        yield Finding("body", "Its body is a dictionary, as protocol 1 has it: a worker reads that too.")
    elif not isinstance(call, list) or len(call) != 3:
        # Celery unpacks whatever has three parts.
        ends = not (isinstance(call, list | str | dict) and ("args" in call or len(call) == 3))
        sentence = "Its body is not a list of three: [arguments], {keyword arguments}, {options}."
        yield Finding("body", sentence, ENDS if ends else REFUSED)
    else:
        parts = ("arguments", list), ("keyword arguments", dict), ("options", dict)
        for value, (what, kind) in zip(call, parts, strict=True):
            if not isinstance(value, kind):
                wanted = {list: "a list", dict: "a dictionary"}[kind]
                yield Finding("body", f"The {what} in its body are {short(value)}, not {wanted}.")


def _of_options(headers: dict[str, Any]) -> Iterator[Finding]:
    limits = headers.get("timelimit") or [None, None]
    are_two = isinstance(limits, list | tuple) and len(limits) == 2
    if not (are_two and all(_is_seconds(one) for one in limits)):
        ends = not (are_two and isinstance(limits[1] or 0, int | float))
        sentence = f"Its timelimit is {short(limits)}, not two numbers of seconds or null."
        yield Finding("time limits", sentence, ENDS if ends else "")
    stamped = headers.get("stamped_headers") or []
    if not (isinstance(stamped, list | tuple) and all(isinstance(one, str) for one in stamped)):
        ends = not isinstance(stamped, str | dict | list | tuple) or any(
            isinstance(one, list | dict) for one in stamped
        )
        sentence = f"Its stamped_headers is {short(stamped)}, not a list of texts."
        yield Finding("stamped headers", sentence, ENDS if ends else "")
    if not isinstance(retries := headers.get("retries") or 0, int) or retries < 0:
        yield Finding("retries", f"Its retries is {short(retries)}, not a number.")
    if (ignore := headers.get("ignore_result")) and not isinstance(ignore, bool):
        yield Finding("ignore result", f"Its ignore_result is {short(ignore)}, which means true: no result is stored.")


def _is_seconds(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and value >= 0)


def _of_sender(headers: dict[str, Any]) -> Iterator[Finding]:
    for name, what in (("lang", "the language of its sender, such as js"), ("origin", "who sent it, such as 123@here")):
        if name not in headers:
            yield Finding(name, f"It has no header {name}: {what}.")
    for name in ("lang", "origin", "root_id", "parent_id"):
        if not isinstance(headers.get(name), str | None):
            yield Finding(name.replace("_", " "), f"Its {name} is {short(headers[name])}, not a text.")


def _of_delivery(properties: dict[str, Any]) -> Iterator[Finding]:
    if (mode := properties.get("delivery_mode")) != 2:
        what = "It has no delivery mode" if mode is None else f"Its delivery mode is {short(mode)}"
        yield Finding("delivery mode", f"{what}. Write 2, or RabbitMQ forgets it when it starts again.")


def short(value: object) -> str:
    """A value from elsewhere as Python writes it, in a few words."""
    return printable(IN_SHORT.repr(value), 80)
