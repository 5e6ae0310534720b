"""What was opened with an API key ends when the key is revoked."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio.to_thread

from opensessions.access.callers import Caller
from opensessions.access.keyring import Key

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0


class KeyLeases:
    """Sets each `leave` at most some three seconds after its key was revoked. A key is looked at every two
    seconds, however much of it is open. `good(key)` blocks and is called in threads. All methods belong to
    the event loop.
    """

    def __init__(self, good: Callable[[Key], bool], look_seconds: float = LOOK_SECONDS) -> None:
        self._good, self._look_seconds = good, look_seconds
        self._leaves: dict[str, set[asyncio.Event]] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}

    @contextmanager
    def held(self, caller: Caller, leave: asyncio.Event) -> Iterator[None]:
        """Something is open for as long as the context lasts."""
        key = caller.api_key
        if key is None:
            yield
            return
        self._leaves.setdefault(key.id, set()).add(leave)
        if key.id not in self._looking:
            self._looking[key.id] = asyncio.get_running_loop().create_task(self._watch(key), name=key.id)
        try:
            yield
        finally:
            self._leaves[key.id].discard(leave)
            if not self._leaves[key.id]:
                del self._leaves[key.id]
                self._looking.pop(key.id).cancel()

    async def _watch(self, key: Key) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            if not await self._still_good(key):
                for leave in self._leaves.get(key.id, ()):
                    leave.set()

    async def _still_good(self, key: Key) -> bool:
        try:
            return await anyio.to_thread.run_sync(self._good, key)
        except Exception:
            log.exception("key %s could not be looked at", key.id)
            return True
