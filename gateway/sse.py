"""Server-sent events over ASGI: how a frame looks, and responses that stay open."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Receive, Send

from opensessions.errors import OpenSessionsError

log = logging.getLogger(__name__)

CHUNK = 32 * 1024
PING = b"event: ping\ndata:\n\n"

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


def frame(data: bytes, *, number: int | None = None, event: str | None = None) -> bytes:
    """One frame. `data` holds no line break, as compact JSON does not."""
    head = b"" if number is None else b"id: %d\n" % number
    name = b"" if event is None else b"event: %s\n" % event.encode()
    return b"%s%sdata: %s\n\n" % (head, name, data)


def retry(milliseconds: int) -> bytes:
    return b"retry: %d\n\n" % milliseconds


def joined(frames: Iterable[bytes]) -> Iterator[bytes]:
    """The frames in chunks that are worth a write of their own."""
    chunk = bytearray()
    for one in frames:
        chunk += one
        if len(chunk) >= CHUNK:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


class Stalled(Exception):
    """The client has taken nothing for too long."""


class Wire:
    """The way to one client."""

    def __init__(self, send: Send, stall_seconds: float) -> None:
        self._send = send
        self._stall_seconds = stall_seconds
        self._wrote_at = time.monotonic()

    @property
    def quiet(self) -> float:
        """Seconds since something was written."""
        return time.monotonic() - self._wrote_at

    async def start(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Write whole frames; waits while the client is slow. Raises Stalled."""
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        except TimeoutError:
            raise Stalled from None
        self._wrote_at = time.monotonic()


Pump = Callable[[Wire], Coroutine[Any, Any, None]]


class OpenStreams:
    """The responses that are held open, so that a shutdown can end them.

    A client that takes nothing for `stall_seconds` while there is something to take is given up.
    """

    def __init__(self, *, stall_seconds: float = 30.0) -> None:
        self._stall_seconds = stall_seconds
        self._leaves: set[asyncio.Event] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()
        self.draining = False

    def __len__(self) -> int:
        return len(self._leaves)

    async def respond(self, receive: Receive, send: Send, pump: Pump, leave: asyncio.Event) -> None:
        """Answer with the frames that `pump` writes, until it returns, the client goes or `leave` is set; a
        client that is cut short by `leave` is told when to come back.

        Raises HTTPException (503) while draining, and what the pump raises but domain errors, which end the
        stream: the client's next attempt is told the reason.
        """
        if self.draining:
            raise HTTPException(503, "this server is being restarted, try again", {"Retry-After": "1"})
        self._leaves.add(leave)
        self._none_open.clear()
        try:
            await self._respond(receive, Wire(send, self._stall_seconds), pump, leave)
        except Stalled:
            pass  # an unfinished response makes the server close the connection
        finally:
            self._leaves.discard(leave)
            if not self._leaves:
                self._none_open.set()

    async def drain(self, within: float = 5.0) -> None:
        """End all streams, refuse new ones from now on, and wait until the last has ended, at most `within`
        seconds. Clients are told to come back at different times.
        """
        self.draining = True
        for leave in self._leaves:
            leave.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._none_open.wait()

    async def _respond(self, receive: Receive, wire: Wire, pump: Pump, leave: asyncio.Event) -> None:
        await wire.start()
        pumping = asyncio.create_task(pump(wire))
        going = asyncio.create_task(_gone(receive))
        await _first_of(pumping, going, asyncio.create_task(_set(leave)))
        if not pumping.cancelled():
            _finish(pumping)
            await wire.write(b"", last=True)
        elif going.cancelled():
            await wire.write(retry(1000 + random.randrange(4000)), last=True)


def _finish(pumping: asyncio.Task[None]) -> None:
    try:
        pumping.result()
    except OpenSessionsError as error:
        log.info("A stream ends: %s", error)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _first_of(*tasks: asyncio.Task[None]) -> None:
    """Wait until one of the tasks is done, and cancel the others."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
