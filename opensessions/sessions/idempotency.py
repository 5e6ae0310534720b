"""A request with an Idempotency-Key is answered once; then its answer is told again."""

from opensessions.access import tokens
from opensessions.errors import Conflict, IdempotencyMismatch
from opensessions.models import Claim, Session
from opensessions.ports import SessionStore


def claim(account: str, key: str | None, route: str, request: str) -> Claim | None:
    """What a request claims, without a session yet; None where it brings no key."""
    if key is None:
        return None
    return Claim(account, tokens.sha256(key), tokens.sha256(f"{route}\0{request}"), session_id="")


def replayed(store: SessionStore, claim: Claim | None) -> Session | None:
    """The session that the same request has led to, if there was one. Raises IdempotencyMismatch for a key
    that another request used, Conflict when the session was deleted.
    """
    held = claim and store.claimed(claim.account, claim.key)
    if not claim or not held:
        return None
    if held.fingerprint != claim.fingerprint:
        raise IdempotencyMismatch("This Idempotency-Key was used with another request; use a new one.")
    if (session := store.get(held.session_id)) is None:
        raise Conflict("The session of this Idempotency-Key was deleted for good; use a new key.")
    return session


def replayed_now(store: SessionStore, claim: Claim | None) -> Session:
    """The same, when the claim is known to be in use. Raises Conflict as well while that request runs."""
    session = replayed(store, claim)
    if session is None:
        raise Conflict("A request with this Idempotency-Key is being handled; try again.")
    return session
