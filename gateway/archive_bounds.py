"""How much a sandbox may store, so that a hostile one fills no disk and runs up no bill."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from gateway.rates import Bucket
from opensessions.archives import PART_BYTES
from opensessions.errors import RateLimited, TooLarge
from opensessions.models import Session

TRANSFERS = {"up": 2, "down": 4}
"""At once, of one sandbox."""
HOURLY = 4
"""So many whole workspaces may be stored in an hour."""
UNFINISHED = 12
"""So many archives that never become one may be begun in an hour."""
KEPT = 4096
"""Sessions that are remembered; beyond that, those that were quiet the longest begin anew."""


class Account:
    """One session's archives on their way. `workspace_bytes` is what its files may have: an archive may have
    as much, and one part for what it has beside them.
    """

    def __init__(self, workspace_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = workspace_bytes + PART_BYTES
        self._volume = Bucket(HOURLY * self._most / 3600, HOURLY * self._most, clock)
        self._begun = Bucket(UNFINISHED / 3600, UNFINISHED, clock)
        self._asked = Bucket(20, 600, clock)
        self._under_way = dict.fromkeys(TRANSFERS, 0)
        self._archive = ""
        self._sizes: dict[int, int] = {}
        self._claimed: Counter[str] = Counter()

    def ask(self) -> None:
        """Count a question. Raises RateLimited."""
        self._asked.take(1)

    def declare(self, archive_id: str, number: int, size: int) -> str | None:
        """Count a part that is to be stored. One archive is under way at a time: returns the id of the one
        that this one takes the place of, for its parts to be deleted, unless it may have become durable.
        Raises TooLarge and RateLimited.
        """
        older = None
        if archive_id != self._archive:
            self._begun.take(1)
            older = self._archive if self._archive and not self._claimed[self._archive] else None
            self._archive, self._sizes = archive_id, {}
        if sum(self._sizes.values()) - self._sizes.get(number, 0) + size > self._most:
            raise TooLarge(f"An archive of this session may have {self._most:,} bytes.")
        self._volume.take(size)
        self._sizes[number] = size
        return older

    def withdraw(self, size: int) -> None:
        """What was declared was not stored."""
        self._volume.give_back(size)

    def wants(self, archive_id: str) -> bool:
        """Whether this archive is the one that is under way."""
        return archive_id == self._archive

    def claim(self, archive_id: str) -> None:
        """An archive is about to be said to be complete; from now on it may be durable."""
        self._claimed[archive_id] += 1

    def disclaim(self, archive_id: str) -> None:
        """It was not taken."""
        self._claimed[archive_id] -= 1
        self._claimed = +self._claimed

    def finish(self, archive_id: str) -> None:
        """An archive was taken."""
        del self._claimed[archive_id]
        if archive_id == self._archive:
            self._archive, self._sizes = "", {}
            self._begun.give_back(1)

    @contextmanager
    def transfer(self, way: Literal["up", "down"]) -> Iterator[None]:
        """A transfer under way. Raises RateLimited."""
        most = TRANSFERS[way]
        if self._under_way[way] >= most:
            raise RateLimited(f"This sandbox has {most} transfers under way; wait for one to end.", 1)
        self._under_way[way] += 1
        try:
            yield
        finally:
            self._under_way[way] -= 1


class Accounts:
    """An account for each session; this process's alone, and new when it is."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Account] = OrderedDict()

    def of(self, session: Session) -> Account:
        account = self._known.pop(session.id, None) or Account(session.limits.workspace_bytes)
        self._known[session.id] = account
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return account
