"""Ask over HTTP: Flower, and RabbitMQ's management API."""

import os
import re
from typing import TYPE_CHECKING

from lab.fault import Fault, printable
from lab.probe.connection import ANSWER

if TYPE_CHECKING:
    import httpx  # whose import takes as long as Celery's: most programs here only may have to ask

PAGE = 10_000_000  # bytes of an answer that are read; RabbitMQ needs some hundred for a queue
ODD = (AttributeError, KeyError, TypeError, ValueError, RecursionError)  # what odd JSON raises


def flower_port() -> int:
    """The port at which Flower is to listen. Raises Fault."""
    wanted = os.environ.get("FLOWER_PORT") or "5555"
    if not (re.fullmatch("[0-9]{1,5}", wanted) and 0 < int(wanted) < 65536):
        raise Fault(f"FLOWER_PORT is {wanted!r}, not a number from 1 to 65535", "Type `export FLOWER_PORT=5555`")
    return int(wanted)


def flower_answers(url: str) -> bool:
    """Whether Flower is ready at url."""
    try:
        return get(url, "/healthcheck").text == "OK"
    except Fault:
        return False


def get(base: str, path: str, auth: tuple[str, str] | None = None) -> "httpx.Response":
    """The answer to a GET request of this path. Raises Fault, whose cause is what httpx said."""
    import asyncio

    import httpx

    async def answer() -> httpx.Response:
        url, body = base + path, b""
        try:
            # httpx limits the wait for each piece; this also limits all pieces together. Without TLS there is nothing
            # to verify, and to read the certificates takes longer than to ask.
            async with (
                asyncio.timeout(ANSWER),
                httpx.AsyncClient(trust_env=False, timeout=ANSWER, verify=url.startswith("https:")) as client,
                client.stream("GET", url, auth=auth) as said,
            ):
                said.raise_for_status()
                async for piece in said.aiter_bytes():
                    body += piece
                    if len(body) > PAGE:
                        raise httpx.ReadError(f"more than {PAGE:,} bytes")
        except TimeoutError:
            raise httpx.ReadTimeout(f"not all of it within {ANSWER} s") from None
        kind = {"content-type": said.headers.get("content-type", "")}
        return httpx.Response(said.status_code, headers=kind, content=body)

    page = f"{base}{path.partition('?')[0]}"
    try:
        return asyncio.run(answer())
    except httpx.ConnectError as error:
        raise Fault(f"Nothing listens at {base}") from error
    except httpx.HTTPStatusError as error:
        raise Fault(f"{page} answers {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Fault(f"{page} does not answer: {printable(error) or type(error).__name__}") from error
