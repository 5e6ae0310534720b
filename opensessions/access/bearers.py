"""Whose sandbox shows a token."""

from opensessions.access import tokens
from opensessions.logbook import concerns
from opensessions.models import Session
from opensessions.ports import SessionStore


def bearer(store: SessionStore, token: str, kind: str) -> Session | None:
    """The live session whose sandbox holds this token, of this kind: "worker", "model" or "egress"."""
    sandbox_id = tokens.sandbox_of(token)
    session = store.find(sandbox_id) if sandbox_id else None
    if session is None or not session.live or not tokens.matches(token, session.tokens.get(kind)):
        return None
    concerns(session.id)
    return session
