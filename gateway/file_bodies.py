"""Files on their way to whoever asked, and how they are answered: never as a page of our own origin."""

import asyncio
import logging
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from sandbox_task.workspace.paths import Span

log = logging.getLogger(__name__)

STALL_SECONDS = 30.0
"""How long a client may take to take a piece."""
LONGEST_SECONDS = 15 * 60.0
"""How long an answer may take in all, which is what API Gateway grants."""
_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Entry(NamedTuple):
    """Something in a folder: a "file", a "folder" or a "link". `modified` is in milliseconds."""

    name: str
    kind: str
    size: int
    modified: int


class Listing(NamedTuple):
    """A folder's entries by name; `truncated` when there are more."""

    entries: list[Entry]
    truncated: bool


class Broken(Exception):
    """What was begun cannot be completed."""


class Body(Protocol):
    async def next(self) -> bytes:
        """The next bytes; empty at the end. Raises Broken."""
        ...

    def close(self) -> None:
        """Nothing more is wanted. Idempotent."""
        ...


@dataclass(frozen=True)
class Content:
    """Bytes of a file with `size` in all; close its body. `tag` changes when the file does."""

    span: Span
    size: int
    tag: str
    body: Body


def later(what: str, seconds: int = 2) -> HTTPException:
    """The answer for what will be possible in so many seconds; `what` is half a sentence."""
    return HTTPException(503, f"{what}; try again", {"Retry-After": str(seconds)})


def beyond(size: int) -> HTTPException:
    """The answer for a range that a file of `size` bytes does not have."""
    detail = f"the range is beyond the file's {size} bytes"
    return HTTPException(416, detail, {"Content-Range": f"bytes */{size}"})


def attachment(name: str) -> dict[str, str]:
    """The headers that make a browser save what it gets, and never show it."""
    saved = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return {"Content-Disposition": saved, **_HEADERS}


class Sent:
    """ASGI: an answer with a body that is closed in any case. One that breaks, or whose client takes nothing,
    ends without being complete, which makes the server close the connection.
    """

    def __init__(self, status: int, headers: dict[str, str], body: Body) -> None:
        self._body = body
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        self._start = {"type": "http.response.start", "status": status, "headers": raw}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        going = asyncio.ensure_future(_gone(receive))
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                await asyncio.wait([sending, going], return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except (Broken, TimeoutError) as error:
            log.info("The answer to %s is cut: %r", scope["path"], error)
        finally:
            for task in (sending, going):
                task.cancel()
            await asyncio.gather(sending, going, return_exceptions=True)
            self._body.close()

    async def _send(self, send: Send) -> None:
        await send(self._start)
        more = True
        while more:
            data = await self._body.next()
            more = bool(data)
            async with asyncio.timeout(STALL_SECONDS):
                await send({"type": "http.response.body", "body": data, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
