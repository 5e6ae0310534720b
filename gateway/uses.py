"""Which sessions somebody watches or visits: told to the service, so that these do not fall asleep."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx2

from opensessions.logbook import about

log = logging.getLogger(__name__)

CALLBACK_PATH = "/callback/v1/uses"
BATCH = 100


class Uses:
    """Tells the callback of each session that was used, at most once in `every` seconds, many at a time and
    `soon` after the use. Nothing is sent while nothing is used. A report that gets lost is not sent again:
    the next one says the same. All methods belong to the event loop.
    """

    def __init__(self, callback: httpx2.AsyncClient, *, every: float = 60.0, soon: float = 1.0) -> None:
        self._callback, self._every, self._soon = callback, every, soon
        self._used: set[str] = set()
        self._watched: Counter[str] = Counter()
        self._told: dict[str, float] = {}
        self._telling: asyncio.Task[None] | None = None

    def note(self, session_id: str) -> None:
        """A session is used just now. Cheap, and asked for each request to a preview."""
        self._used.add(session_id)
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell(), name="uses")

    @contextmanager
    def watching(self, session_id: str) -> Iterator[None]:
        """A session is used for as long as the context lasts."""
        self._watched[session_id] += 1
        self.note(session_id)
        try:
            yield
        finally:
            self._watched[session_id] -= 1
            if not self._watched[session_id]:
                del self._watched[session_id]

    async def aclose(self) -> None:
        """Tell nothing any more."""
        if self._telling:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)

    async def _tell(self) -> None:
        try:
            with about():  # no one session, though the use of one began it
                while self._used or self._watched or self._told:
                    await asyncio.sleep(self._soon)
                    await self._report()
        finally:
            self._telling = None

    async def _report(self) -> None:
        now = asyncio.get_running_loop().time()
        self._told = {known: at for known, at in self._told.items() if now - at < self._every}
        due = sorted((self._used | self._watched.keys()) - self._told.keys())
        self._used.difference_update(due)
        self._told.update(dict.fromkeys(due, now))
        for start in range(0, len(due), BATCH):
            await self._post(due[start : start + BATCH])

    async def _post(self, session_ids: Sequence[str]) -> None:
        try:
            answer = await self._callback.post(CALLBACK_PATH, json={"session_ids": session_ids})
            if not answer.is_success:
                log.info("The callback answered %s to what sessions are used", answer.status_code)
        except httpx2.HTTPError as error:
            log.info("What sessions are used could not be told (%s)", type(error).__name__)
