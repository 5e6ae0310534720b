"""Launches that are put off, in a server that is one process."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from opensessions.logbook import about

log = logging.getLogger(__name__)


class Timers:
    """Calls `relaunch(sandbox_id, launch)`, which blocks, in a thread when its time has come. Make it inside
    the running loop. What the end of the server cuts off is the sweep's to make good for.
    """

    def __init__(self, relaunch: Callable[[str, int], None]) -> None:
        self._relaunch = relaunch
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.TimerHandle] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    def put_off(self, sandbox_id: str, launch: int, seconds: float) -> None:
        """Relaunch in so many seconds. From any thread, and without waiting for anything."""
        with suppress(RuntimeError):  # the loop is closed: nothing is launched any more
            self._loop.call_soon_threadsafe(self._wait, sandbox_id, launch, seconds)

    async def aclose(self) -> None:
        """Begin none any more, and return when those that have begun are over."""
        self._closed = True
        for handle in self._waiting:
            handle.cancel()
        self._waiting.clear()
        await asyncio.gather(*self._running)

    def _wait(self, sandbox_id: str, launch: int, seconds: float) -> None:
        def begin() -> None:
            self._waiting.discard(handle)
            task = self._loop.create_task(self._launch(sandbox_id, launch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

        if not self._closed:
            handle = self._loop.call_later(seconds, begin)
            self._waiting.add(handle)

    async def _launch(self, sandbox_id: str, launch: int) -> None:
        with about():
            try:
                await asyncio.to_thread(self._relaunch, sandbox_id, launch)
            except Exception:
                log.exception("sandbox %s could not be launched; the sweep tries again", sandbox_id)
