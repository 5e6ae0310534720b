"""Waking those who wait for something of a session."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Bell:
    """What one waiter waits on. A ring between two waits is kept, several count as one."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until it rings, at most `seconds`. Returns whether it rang."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        rang = self._rung.is_set()
        self._rung.clear()
        return rang


class Bells:
    """Bells by key, all of one event loop."""

    def __init__(self) -> None:
        self._hung: dict[str, set[Bell]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._hung

    @contextmanager
    def hang(self, key: str) -> Iterator[Bell]:
        """A bell that every `ring(key)` rings, for as long as the context lasts. Only on the event loop.

        Hang it first and look at the store then: whatever is stored after the look rings it.
        """
        self._loop = asyncio.get_running_loop()
        bell = Bell()
        self._hung.setdefault(key, set()).add(bell)
        try:
            yield bell
        finally:
            self._hung[key].discard(bell)
            if not self._hung[key]:
                del self._hung[key]

    def ring(self, key: str) -> None:
        """Ring the key's bells. From any thread; does nothing when none hangs."""
        if self._loop is None or key not in self._hung:
            return
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._ring, key)

    def _ring(self, key: str) -> None:
        for bell in self._hung.get(key, ()):
            bell.ring()
