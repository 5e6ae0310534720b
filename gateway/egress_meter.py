"""How much a session's sandbox sends and receives: told, bounded in all, and held to a pace."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

OnBytes = Callable[[str, int, int], None]

KEPT = 65_536
"""Sessions that are remembered; beyond that, those that were quiet the longest begin anew."""

BURST_SECONDS = 1.0


class Spent(OSError):
    """The session has had all the bytes that it may have."""


class Account:
    """One session's bytes. `sent` and `received` are to be awaited before so many bytes pass on, and return
    when they may. Both raise Spent when they may not, and from then on nothing may.
    """

    def __init__(self, session_id: str, most: int | None, rate: float, tell: OnBytes) -> None:
        self._session_id, self._most, self._rate, self._tell = session_id, most, rate, tell
        self._moved = 0
        self._paid_until = 0.0
        self.spent = False

    @property
    def reason(self) -> str:
        return f"the session has used up the {(self._most or 0) / 1e9:g} GB that it may send and receive"

    async def sent(self, count: int) -> None:
        await self._pay(count)
        self._tell(self._session_id, count, 0)

    async def received(self, count: int) -> None:
        await self._pay(count)
        self._tell(self._session_id, 0, count)

    async def _pay(self, count: int) -> None:
        self.spent = self.spent or (self._most is not None and self._moved + count > self._most)
        if self.spent:
            raise Spent(self.reason)
        self._moved += count
        now = asyncio.get_running_loop().time()
        self._paid_until = max(self._paid_until, now - BURST_SECONDS) + count / self._rate
        if self._paid_until > now:
            await asyncio.sleep(self._paid_until - now)


class Accounts:
    """An account for each session: `most` bytes (None: any number), `rate` of them a second, both ways and
    all hosts together.

    They are this process's alone, and new when it is. `tell(session_id, sent, received)` hears what passes.
    """

    def __init__(self, most: int | None, rate: float, tell: OnBytes) -> None:
        self._bounds = most, rate, tell
        self._known: OrderedDict[str, Account] = OrderedDict()

    def of(self, session_id: str) -> Account:
        account = self._known.pop(session_id, None) or Account(session_id, *self._bounds)
        self._known[session_id] = account
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return account
