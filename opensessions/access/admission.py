"""Who is let in: keys and tokens are known by their hashes, sessions' tokens are made and revoked."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from opensessions.access import tokens
from opensessions.access.audit import Audit
from opensessions.access.callers import Caller
from opensessions.access.keyring import Key, Keyring
from opensessions.access.passes import PREVIEW_SECONDS, Pass, Passes, PassScope
from opensessions.access.recording import Recording
from opensessions.errors import Conflict, Unauthorized
from opensessions.models import Session, Status
from opensessions.ports import SessionStore
from opensessions.sessions.draft import decided

TOKEN_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Issued:
    """A token, which is told once, and what is kept of it."""

    token: str
    kept: Pass


class Admission:
    """Thread-safe and blocking. `wake` is told the id of each session whose tokens were revoked."""

    def __init__(
        self,
        store: SessionStore,
        passes: Passes,
        keyring: Keyring,
        audit: Audit,
        *,
        clock: Callable[[], datetime],
        wake: Callable[[str], None] = lambda session_id: None,
    ) -> None:
        self._store, self._passes, self._clock, self._wake = store, passes, clock, wake
        self._keyring = keyring
        self.recording = Recording(audit, keyring, clock)

    def caller(self, secret: str) -> Caller:
        """Whose API key or session's token this is. Raises Unauthorized; a key also when it was revoked, a
        token when it has expired or was revoked, and once its session has ended.
        """
        if session_id := tokens.session_of(secret):
            return self._visitor(session_id, secret)
        key = self._keyring.find(tokens.sha256(secret)) if len(secret) in tokens.API_KEY_LENGTH else None
        caller = Caller(key.account, key.scope, key) if key else None
        if key is None or caller is None or key.revoked_at:
            reason = "The API key is missing, not known or revoked; send it in the X-API-Key header."
            raise Unauthorized(reason, caller)
        return caller

    def good(self, key: Key) -> bool:
        """Whether a key still opens its account."""
        now = self._keyring.find(key.hash)
        return now is not None and now.revoked_at is None

    def issue(
        self, session: Session, scope: PassScope, seconds: int = TOKEN_SECONDS, port: int | None = None
    ) -> Issued:
        """A new token of a session. Raises Conflict when it has ended, and for a preview that is public."""
        if session.head.status is Status.ENDED:
            raise Conflict("The session has ended; it has no tokens any more.")
        if scope == "preview" and session.preview == "public":
            raise Conflict("The session's preview is public: its previewUrl needs no token.")
        seconds = PREVIEW_SECONDS if scope == "preview" else seconds
        token = tokens.preview_token(session.id) if scope == "preview" else tokens.session_token(session.id)
        kept = Pass(
            session_id=session.id,
            scope=scope,
            port=port,
            number=session.revocations,
            expires_at=self._clock() + timedelta(seconds=seconds),
        )
        self._passes.put(tokens.sha256(token), kept)
        return Issued(token, kept)

    def revoke(self, session: Session) -> None:
        """From now on all tokens of a session that there are open nothing, nor do the cookies of its private
        preview.
        """

        def decide() -> None:
            if (now := self._store.get(session.id)) and now.head.status is not Status.ENDED:
                self._store.commit(now, now.model_copy(update={"revocations": now.revocations + 1}))

        decided(decide)
        self._wake(session.id)

    def redeem(self, token: str) -> Pass:
        """What a preview's token opens; it is used up. Raises Unauthorized."""
        session_id = tokens.preview_of(token)
        kept = self._passes.take(session_id, tokens.sha256(token)) if session_id else None
        session = self._session(kept) if kept and kept.scope == "preview" else None
        if kept is None or session is None:
            raise Unauthorized("The preview's token is not known, was used, or has expired.")
        self.recording.opened(kept, session)
        return kept

    def _visitor(self, session_id: str, token: str) -> Caller:
        hashed = tokens.sha256(token)
        kept = self._passes.get(session_id, hashed)
        session = self._session(kept) if kept else None
        if kept is None or session is None or kept.scope == "preview":
            reason = "The session's token is not known, has expired, or was revoked; get a new one."
            raise Unauthorized(reason, self._former(kept))
        return Caller(session.account, kept.scope, session_pass=kept)

    def _former(self, kept: Pass | None) -> Caller | None:
        """Who showed a token that opens nothing any more."""
        session = self._store.get(kept.session_id) if kept else None
        if kept is None or session is None or kept.scope == "preview":
            return None
        return Caller(session.account, kept.scope, session_pass=kept)

    def _session(self, kept: Pass) -> Session | None:
        """The session that a pass still opens."""
        session = self._store.get(kept.session_id)
        return session if session and good(kept, session, self._clock()) else None


def good(kept: Pass, session: Session, now: datetime) -> bool:
    """Whether a pass still opens its session."""
    ended = session.head.status is Status.ENDED
    return now < kept.expires_at and kept.number == session.revocations and not ended
