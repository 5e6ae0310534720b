"""What was opened with a session's token ends when the token does."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio.to_thread

from gateway.bells import Bells
from opensessions.access.callers import Caller
from opensessions.errors import NotFound
from opensessions.models import Session, Status

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
LAST_WORDS_SECONDS = 2.0
"""How long what is open may still tell of the session's end."""


@dataclass(frozen=True, eq=False)
class Lease:
    """`leave` is set when what is open has to be closed; `number` is the session's `revocations`."""

    number: int
    leave: asyncio.Event


class Leases:
    """Sets each `leave` when its token expires, and at most some four seconds after it was revoked or its
    session ended. A session is looked at every two seconds, however much of it is open, and when its bell
    rings. `read(account, session_id)` blocks, is called in threads and raises NotFound. All methods belong
    to the event loop.
    """

    def __init__(
        self, read: Callable[[str, str], Session], bells: Bells, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._read, self._bells, self._look_seconds = read, bells, look_seconds
        self._leases: dict[str, set[Lease]] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}

    @contextmanager
    def held(self, caller: Caller, leave: asyncio.Event) -> Iterator[None]:
        """Something is open for as long as the context lasts. Keys are the business of `KeyLeases`."""
        token = caller.session_pass
        if token is None:
            yield
            return
        loop, session_id = asyncio.get_running_loop(), token.session_id
        left = (token.expires_at - datetime.now(UTC)).total_seconds()
        expiry, lease = loop.call_later(max(left, 0), leave.set), Lease(token.number, leave)
        self._leases.setdefault(session_id, set()).add(lease)
        if session_id not in self._looking:
            self._looking[session_id] = loop.create_task(
                self._watch(caller.account, session_id), name=f"tokens of {session_id}"
            )
        try:
            yield
        finally:
            expiry.cancel()
            self._give_back(session_id, lease)

    def _give_back(self, session_id: str, lease: Lease) -> None:
        self._leases[session_id].discard(lease)
        if not self._leases[session_id]:
            del self._leases[session_id]
            self._looking.pop(session_id).cancel()

    async def _watch(self, account: str, session_id: str) -> None:
        with self._bells.hang(session_id) as bell:
            while True:
                await bell.wait(self._look_seconds)
                await self._look(account, session_id)

    async def _look(self, account: str, session_id: str) -> None:
        try:
            session = await anyio.to_thread.run_sync(self._read, account, session_id)
        except NotFound:
            session = None
        except Exception:
            log.exception("session %s could not be looked at", session_id)
            return
        over = session is None or session.head.status is Status.ENDED
        for lease in self._leases.get(session_id, ()):
            if over:
                asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, lease.leave.set)
            elif session and session.revocations != lease.number:
                lease.leave.set()
