"""How much a session's sandbox sends and receives: told, bounded in all, and held to a pace."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

REASON = (
    "the session has used up what it may send and receive (limits.egress_bytes); raise it with "
    "PATCH /v1/sessions/{id}"
)

KEPT = 65_536
"""Sessions that are remembered; beyond that, those that were quiet the longest begin anew."""

BURST_SECONDS = 1.0


class Reports(Protocol):
    """Who hears of the bytes, and knows what is left. `ask` returns once that was heard again, if it was;
    `follow` is given whom to tell of it: a session's id and how many bytes more may pass.
    """

    def count(self, session_id: str, sent: int, received: int) -> None: ...

    def rest(self, session_id: str) -> None:
        """Its last connection has ended."""

    async def ask(self, session_id: str) -> None: ...

    def follow(self, on_left: Callable[[str, int], None]) -> None: ...


class Unheard:
    """Reports that nobody hears."""

    def count(self, session_id: str, sent: int, received: int) -> None: ...

    def rest(self, session_id: str) -> None: ...

    async def ask(self, session_id: str) -> None: ...

    def follow(self, on_left: Callable[[str, int], None]) -> None: ...


class Spent(OSError):
    """The session has had all the bytes that it may have."""


class Account:
    """One session's bytes. `sent` and `received` are to be awaited before so many bytes pass on, and return
    when they may. Both raise Spent when they may not, and from then on nothing may, until it may have more.
    """

    def __init__(self, session_id: str, most: int | None, rate: float, reports: Reports) -> None:
        self._session_id, self._most, self._rate, self._reports = session_id, most, rate, reports
        self._moved = 0
        self._paid_until = 0.0
        self.spent = False

    def left(self, count: int) -> None:
        """From now on so many bytes may pass."""
        most = self._moved + max(0, count)
        if self.spent and self._most is not None and most > self._most:
            self.spent = False
        self._most = most

    async def look(self) -> None:
        """Find out whether one that is spent may have more."""
        if self.spent:
            await self._reports.ask(self._session_id)

    async def sent(self, count: int) -> None:
        await self._pay(count)
        self._reports.count(self._session_id, count, 0)

    async def received(self, count: int) -> None:
        await self._pay(count)
        self._reports.count(self._session_id, 0, count)

    async def _pay(self, count: int) -> None:
        self.spent = self.spent or (self._most is not None and self._moved + count > self._most)
        if self.spent:
            raise Spent(REASON)
        self._moved += count
        now = asyncio.get_running_loop().time()
        self._paid_until = max(self._paid_until, now - BURST_SECONDS) + count / self._rate
        if self._paid_until > now:
            await asyncio.sleep(self._paid_until - now)


class Accounts:
    """An account for each session: `most` bytes (None: any number), `rate` of them a second, both ways and
    all hosts together.

    They are this process's alone, and new when it is; `most` holds until the `reports` say what is left.
    """

    def __init__(self, most: int | None, rate: float, reports: Reports) -> None:
        self._bounds = most, rate, reports
        self._known: OrderedDict[str, Account] = OrderedDict()
        reports.follow(lambda session_id, count: self.of(session_id).left(count))

    def of(self, session_id: str) -> Account:
        account = self._known.pop(session_id, None) or Account(session_id, *self._bounds)
        self._known[session_id] = account
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return account
