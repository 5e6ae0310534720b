"""What of all requests is put on the record, and how often."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from opensessions.access.audit import KEPT, Actor, Audit, Entry, Record
from opensessions.access.callers import Caller
from opensessions.access.keyring import Keyring
from opensessions.access.passes import Pass
from opensessions.models import Session

REMEMBERED = 10_000
"""Entries of this minute that are not written again; another process may write one more of each."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request by somebody who is known, or was, and the HTTP status of its answer."""

    caller: Caller
    method: str
    action: str
    target: str | None
    user_id: str | None
    ip: str | None
    result: int


def entry(seen: Seen, now: datetime) -> Entry | None:
    """The entry that it makes: each change makes one; what is refused or fails by the caller's fault, and
    what a session's token reads, one a minute at most, told as of its first second. What a key reads makes
    none.
    """
    refused, reads = seen.result in (401, 403), seen.method in ("GET", "HEAD")
    if reads and not refused and not seen.caller.session_pass:
        return None
    once = reads or 400 <= seen.result < 500
    at = now.replace(second=0, microsecond=0) if once else now
    return Entry(
        id=_digest(seen) if once else secrets.token_hex(16),
        at=at,
        account=seen.caller.account,
        by=actor(seen.caller),
        action=seen.action,
        target=seen.target,
        user_id=seen.user_id,
        ip=seen.ip,
        result=seen.result,
    )


def actor(caller: Caller) -> Actor:
    if token := caller.session_pass:
        return Actor(kind="token", scope=token.scope, session_id=token.session_id)
    key = caller.api_key
    return Actor(kind="key", id=key and key.id, name=key and key.name, scope=caller.scope)


def _digest(seen: Seen) -> str:
    """The same for all that make one entry in a minute."""
    who = seen.caller.session_pass or seen.caller.api_key
    named = who.model_dump_json(exclude={"last_used_at"}) if who else ""
    told = "\0".join(map(str, (named, seen.action, seen.target, seen.user_id, seen.result)))
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Recording:
    """Thread-safe and blocking."""

    def __init__(self, audit: Audit, keyring: Keyring, clock: Callable[[], datetime]) -> None:
        self._audit, self._keyring, self._clock = audit, keyring, clock
        self._written: dict[tuple[str, str], None] = {}
        self._lock = Lock()

    def saw(self, seen: Seen) -> None:
        """Put a request on the record as far as it belongs there, and that its key is used."""
        now, key = self._clock(), seen.caller.api_key
        if key and seen.result != 401 and key.stale(now):
            self._keyring.used(key, now)
        if made := entry(seen, now):
            self.add(made)

    def opened(self, kept: Pass, session: Session) -> None:
        """A private preview was opened with a token."""
        by = Actor(kind="token", scope=kept.scope, session_id=session.id)
        told = {"account": session.account, "by": by, "action": "open_preview", "target": session.id}
        self.add(Entry(id=secrets.token_hex(16), at=self._clock(), result=200, **told))

    def used(self, key_hash: str) -> None:
        """Write down that a key is used."""
        key, now = self._keyring.find(key_hash), self._clock()
        if key and key.stale(now):
            self._keyring.used(key, now)

    def page(
        self, account: str, since: datetime | None, until: datetime | None, limit: int, cursor: str | None
    ) -> Record:
        """At most `limit` entries from `since` on and before `until`, newest first; None: all that there are,
        now. Raises InvalidRequest.
        """
        now = self._clock()
        first, end = since or now - KEPT, until or now + timedelta(minutes=1)
        return self._audit.page(account, first, end, limit, cursor)

    def add(self, made: Entry) -> None:
        """Write an entry that somebody else made."""
        if self._new(made):
            self._audit.add(made)

    def _new(self, made: Entry) -> bool:
        name = (made.position, made.account)
        with self._lock:
            if name in self._written:
                return False
            if len(self._written) >= REMEMBERED:
                self._written.clear()
            self._written[name] = None
        return True
