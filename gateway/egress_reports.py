"""How many bytes each session moved: told to the service, which says how many are left to it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import httpx2

from gateway.telling import insist

log = logging.getLogger(__name__)

CALLBACK_PATH = "/callback/v1/egress"
ASK_SECONDS = 3.0
"""How long a request waits to hear whether there is something left again, and how often that is asked."""

KEPT = 65_536
"""Sessions that are remembered though nothing of theirs is untold."""

OnLeft = Callable[[str, int], None]


@dataclass(frozen=True)
class Pace:
    """A report is due `seconds` after the first byte that none has told of, at once when there are `bytes` of
    them, and when a session's last connection ends; but never sooner than `apart` after the one before it,
    unless there are `bytes`.
    """

    seconds: float = 15.0
    bytes: int = 8_000_000
    apart: float = 2.0


@dataclass(eq=False)
class Tally:
    """One session's bytes that are not yet told. `asked` is when it was last, by the loop's clock."""

    count: int = 0
    under_way: int = 0
    asked: float = float("-inf")
    due: asyncio.Event = field(default_factory=asyncio.Event)
    telling: asyncio.Task[None] | None = None

    @property
    def untold(self) -> int:
        return self.count + self.under_way


class EgressReports:
    """Every report has an id of its own and is sent again, after each of `pauses`, until it is answered; so
    it counts once. `on_left(session_id, bytes)` hears what is left to a session, less what is not yet told.
    All methods belong to the event loop.
    """

    def __init__(
        self,
        callback: httpx2.AsyncClient,
        pace: Pace | None = None,
        pauses: Sequence[float] = (0.2, 0.5, 1, 2, 5, 15),
    ) -> None:
        self._callback, self._pace, self._pauses = callback, pace or Pace(), pauses
        self._tallies: dict[str, Tally] = {}
        self._on_left: OnLeft = lambda session_id, left: None
        self._closing = False

    def follow(self, on_left: OnLeft) -> None:
        self._on_left = on_left

    def count(self, session_id: str, sent: int, received: int) -> None:
        """So many bytes have passed, or are about to."""
        tally = self._tally(session_id)
        tally.count += sent + received
        if tally.count >= self._pace.bytes:
            tally.due.set()
        self._begin(session_id, tally)

    def rest(self, session_id: str) -> None:
        """A session's last connection has ended: what is not told is due."""
        if tally := self._tallies.get(session_id):
            tally.due.set()

    async def ask(self, session_id: str) -> None:
        """Hear again what is left to a session, unless that was just done. Gives up after a while."""
        tally = self._tally(session_id)
        if asyncio.get_running_loop().time() - tally.asked < ASK_SECONDS and tally.telling is None:
            return
        tally.due.set()
        self._begin(session_id, tally)
        if tally.telling:
            await asyncio.wait((tally.telling,), timeout=ASK_SECONDS)

    async def aclose(self, within: float = 5) -> None:
        """Tell all that is not told, within so many seconds."""
        self._closing = True
        for tally in self._tallies.values():
            tally.due.set()
        telling = [tally.telling for tally in self._tallies.values() if tally.telling]
        if telling:
            _, late = await asyncio.wait(telling, timeout=within)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            if late:
                log.error("the last bytes of %s sessions could not be told", len(late))

    def _tally(self, session_id: str) -> Tally:
        if (tally := self._tallies.get(session_id)) is None:
            if len(self._tallies) >= KEPT:
                self._tallies = {known: each for known, each in self._tallies.items() if each.telling}
            tally = self._tallies[session_id] = Tally()
        return tally

    def _begin(self, session_id: str, tally: Tally) -> None:
        if tally.telling is None:
            name = f"egress {session_id}"
            tally.telling = asyncio.get_running_loop().create_task(self._tell(session_id, tally), name=name)

    async def _tell(self, session_id: str, tally: Tally) -> None:
        """One report, or as many as it takes until a pause comes."""
        try:
            await self._pause(tally)
            await self._report(session_id, tally)
        finally:
            tally.telling = None
            if tally.count and not self._closing:
                self._begin(session_id, tally)

    async def _pause(self, tally: Tally) -> None:
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.seconds):
                await tally.due.wait()
        apart = tally.asked + self._pace.apart - loop.time()
        if apart > 0 and tally.count < self._pace.bytes and not self._closing:
            await asyncio.sleep(apart)
        tally.due.clear()

    async def _report(self, session_id: str, tally: Tally) -> None:
        tally.under_way, tally.count = tally.count, 0
        body: dict[str, str | int] = {"session_id": session_id}
        body |= {"id": secrets.token_hex(16), "bytes": tally.under_way}
        answer = await insist(self._callback, CALLBACK_PATH, body, "a session's bytes", self._pauses)
        tally.under_way, tally.asked = 0, asyncio.get_running_loop().time()
        if (left := _left(answer)) is not None:
            self._on_left(session_id, left - tally.untold)


def _left(answer: httpx2.Response) -> int | None:
    with suppress(ValueError, KeyError, TypeError):
        left = answer.json()["left"]
        return left if isinstance(left, int) else None
    return None
