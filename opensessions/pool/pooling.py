"""The warm pool: sandboxes that are started before anybody asks for them, one for a session at most."""

import logging
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from opensessions.access import tokens
from opensessions.errors import LaunchFailed, Stale
from opensessions.models import Session
from opensessions.pool.spares import Spare, Spares
from opensessions.ports import Later, Launch, SandboxRuntime, SessionStore
from opensessions.sessions import lifecycle
from opensessions.troubles import apart

log = logging.getLogger(__name__)

AGE = timedelta(minutes=30)
"""A spare that waited so long is replaced."""
UNSEEN = timedelta(seconds=30)
"""So long after its launch a spare counts as gone, if the runtime does not know it."""
FIRST_WORD_SECONDS = 20
"""A spare that a session took is given up after so long without a word, and another sandbox launched."""


class Pooling:
    """Keeps `size` spares that run what a sandbox launched now would run (`fingerprint`). Thread-safe and
    blocking.

    A spare is in its slot before it is launched, and out of it before it is stopped; so whatever is cut
    short, each sandbox that runs is in the pool, or a session's, or the reaper's to stop. `refill` has `fill`
    called soon, `later` has a session looked at whose sandbox says nothing, and `wake` is told the sandbox
    that was taken.
    """

    def __init__(
        self,
        store: SessionStore,
        spares: Spares,
        runtime: SandboxRuntime,
        *,
        size: int,
        fingerprint: str,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        wake: Callable[[str], None],
        later: Later,
        refill: Callable[[], None],
        start_seconds: int,
    ) -> None:
        self._store, self._spares, self._runtime = store, spares, runtime
        self._size, self._fingerprint, self._start = size, fingerprint, timedelta(seconds=start_seconds)
        self._clock, self._new_id, self._wake = clock, new_id, wake
        self._later, self._refill = later, refill

    def ready(self) -> Iterator[Spare]:
        """Spares that a session may take, in any order, so that not all go for the same."""
        if self._size:
            found = [spare for spare in self._spares.all() if self._good(spare)]
            yield from random.sample(found, len(found))

    def assigned(self, new: Session, spare: Spare) -> Session:
        """A session that is yet to be created, with this spare as the sandbox of its first launch."""
        session = new.model_copy(update={"sandbox_id": spare.sandbox_id})
        session = lifecycle.launched(lifecycle.begun(session), spare.tokens, self._clock())
        head = session.head.model_copy(update={"agent_seq": spare.said})
        return session.model_copy(update={"address": spare.address, "pooled": True, "head": head})

    def taken(self, session: Session) -> Session:
        """A session was created with a spare: that is told, and another is to take its place. What fails of
        it is left to the sweep.
        """
        with apart(f"session {session.id}"):
            self._wake(session.sandbox_id)
            self._wake(session.id)
            self._later(session.sandbox_id, session.launch, FIRST_WORD_SECONDS)
            self._refill()
        return session

    def ids(self) -> set[str]:
        """The sandboxes of the pool."""
        return {spare.sandbox_id for spare in self._spares.all()}

    def lost(self, sandbox_id: str) -> bool:
        """A sandbox ended by itself. Whether it was a spare, which is replaced: at once if it had been ready,
        else at the pace of the sweep, as the next one may end like that too.
        """
        spare = self._spares.find(sandbox_id)
        if spare is None or not self._spares.drop(spare):
            return False
        log.warning("spare %s ended while it was %s; it is replaced", sandbox_id, spare.state)
        if spare.state == "ready":
            self._refill()
        return True

    def fill(self) -> None:
        """Launch what the pool lacks. Of several who do it at once, one fills a slot."""
        held = {spare.slot for spare in self._spares.all()}
        for slot in range(self._size):
            if slot not in held and not self._launched(slot):
                return

    def sweep(self) -> None:
        """Discard what is of no use any more, and have its place taken; of those that are only old, one."""
        now, spares = self._clock(), self._spares.all()
        old = sorted((spare for spare in spares if now - spare.launched_at > AGE), key=_age)[:1]
        kept = 0
        for spare in spares:
            reason = self._reason(spare, now) or ("is old" if spare in old else None)
            if reason is None:
                kept += 1
            elif self._spares.drop(spare):
                log.info("spare %s %s; it is stopped", spare.sandbox_id, reason)
                self._runtime.stop(spare.sandbox_id)
        if kept < self._size:
            self._refill()

    def _good(self, spare: Spare) -> bool:
        fits = spare.slot < self._size and spare.fingerprint == self._fingerprint
        return fits and spare.state == "ready"

    def _reason(self, spare: Spare, now: datetime) -> str | None:
        """Why a spare is of no use, if it is not."""
        age = now - spare.launched_at
        if spare.slot >= self._size:
            return "is more than the pool is to hold"
        if spare.fingerprint != self._fingerprint:
            return "runs other code than a new one would"
        if spare.state == "starting" and age > self._start:
            return "did not start in time"
        if age > UNSEEN and not self._runtime.alive(spare.sandbox_id):
            return "is gone"
        return None

    def _launched(self, slot: int) -> bool:
        """Fill a slot, unless somebody else does. False when nothing can be launched now."""
        sandbox_id = f"sb-{self._new_id()}"
        token, now = tokens.worker_token(sandbox_id), self._clock()
        hashes = tokens.token_hashes(token)
        spare = Spare(
            slot=slot,
            sandbox_id=sandbox_id,
            tokens=hashes,
            fingerprint=self._fingerprint,
            launched_at=now,
        )
        try:
            self._spares.add(spare)
        except Stale:
            return True
        try:
            self._runtime.launch(Launch(sandbox_id, 1, token))
        except LaunchFailed as failure:
            log.warning("no spare could be launched: %s", failure)
            self._spares.drop(spare)
            return False
        if self._spares.find(sandbox_id) is None and self._store.find(sandbox_id) is None:
            self._runtime.stop(sandbox_id)  # it was discarded while it was launched
        return True


def _age(spare: Spare) -> datetime:
    return spare.launched_at
