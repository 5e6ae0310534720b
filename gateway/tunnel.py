"""Bytes between two streams: never faster than the slower side, each end passed on for itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from gateway.dataplane.chunks import BadChunk, ChunkReader, frame
from gateway.dataplane.heads import CHUNKED, TO_THE_END

READ = 64 * 1024


class Idle:
    """Notices that nothing has moved for `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self.touch()

    def touch(self) -> None:
        self._last = self._loop.time()

    async def watch(self) -> None:
        """Raises TimeoutError then; never returns."""
        while (left := self._last + self._seconds - self._loop.time()) > 0:
            await asyncio.sleep(left)
        raise TimeoutError


class Line:
    """One direction. `toll` is awaited with the number of bytes that are to pass, before they do."""

    def __init__(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        idle: Idle,
        toll: Callable[[int], Awaitable[None]],
    ) -> None:
        self._source = source
        self._sink = sink
        self._idle = idle
        self._toll = toll

    async def read(self) -> bytes:
        data = await self._source.read(READ)
        self._idle.touch()
        return data

    async def write(self, data: bytes) -> None:
        """Returns when the other side has room again. Raises OSError if it is gone, or as the toll does."""
        if data:
            await self._toll(len(data))
            self._sink.write(data)
            await self._sink.drain()
            self._idle.touch()

    async def pump(self, first: Awaitable[bytes] | None = None) -> None:
        """Passes all on, beginning with `first`, then the end of it."""
        data = await (first or self.read())
        while data:
            await self.write(data)
            data = await self.read()
        self._sink.write_eof()

    async def body(self, length: int, first: bytes) -> None:
        """Passes on one HTTP body, of which `first` was read already, and nothing behind it.

        `length` is one of dataplane.heads. Raises BadChunk, also for a body that is cut.
        """
        data = first
        chunks = ChunkReader()
        left = length
        while left and not chunks.done:
            if length == CHUNKED:
                payload, _ = chunks.feed(data)
                await self.write(frame(payload, chunks.done))
            else:
                piece = data if length == TO_THE_END else data[:left]
                await self.write(piece)
                left -= len(piece) if length != TO_THE_END else 0
            if left and not chunks.done and not (data := await self.read()):
                if length != TO_THE_END:
                    raise BadChunk("the body is cut")
                return


async def run(
    idle: Idle, *needed: Coroutine[Any, Any, None], beside: Coroutine[Any, Any, None] | None = None
) -> bool:
    """Runs all until the `needed` are done, then drops `beside`.

    False, and the end, as soon as a side is lost, a body makes no sense, or nothing moves any more.
    """
    try:
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(work) for work in (idle.watch(), beside) if work]
            for task in [group.create_task(work) for work in needed]:
                await task
            for task in others:
                task.cancel()
        whole = True
    except* (OSError, BadChunk):  # idleness too: TimeoutError is an OSError
        whole = False
    return whole


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Says the end, then waits a little for the other side's: closing with unread bytes eats our answer."""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(seconds):
            await writer.drain()
            writer.write_eof()
            while await reader.read(READ):
                pass
