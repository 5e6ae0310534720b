"""Secrets: how they are made, what of them is kept (hashes alone), and how they are compared."""

import hashlib
import hmac
import re
import secrets

from opensessions.handshake import derived_token

API_KEY_LENGTH = range(20, 201)
_SANDBOX_TOKEN = re.compile(r"osw_([0-9a-f]{32})_[A-Za-z0-9]{32,64}")
_SESSION_TOKEN = re.compile(r"oss_([0-9a-f]{32})_[0-9a-f]{64}")
_PREVIEW_TOKEN = re.compile(r"osp_([0-9a-f]{32})_[0-9a-f]{64}")


def api_key() -> str:
    """A new API key."""
    return "osb_" + secrets.token_hex(32)


def sha256(secret: str) -> str:
    """What is stored of a secret. Secrets are long and random: neither salt nor a slow hash is called for."""
    return hashlib.sha256(secret.encode()).hexdigest()


def worker_token(sandbox_id: str) -> str:
    """A new secret for one launch of a sandbox; it says whose it is, so that it can be looked up."""
    return f"osw_{sandbox_id.removeprefix('sb-')}_{secrets.token_hex(32)}"


def token_hashes(worker: str) -> dict[str, str]:
    """The hashes of all tokens of a launch, by kind."""
    kinds = {
        "worker": worker,
        "model": derived_token(worker, "model"),
        "egress": derived_token(worker, "egress"),
        "boot": boot_ticket(worker),
    }
    return {kind: sha256(token) for kind, token in kinds.items()}


def boot_ticket(worker: str) -> str:
    """What a sandbox is launched with where its environment can be read by others, as in an account of AWS:
    good for one thing, once, and soon (`Testimony.boot`).
    """
    return derived_token(worker, "boot")


def bought_token(ticket: str, nonce: str) -> str:
    """The worker's token that a boot ticket buys for whoever shows this nonce with it: the same each time.
    One who has the ticket alone learns nothing of it.
    """
    head, _ = ticket.rsplit("_", 1)
    return f"{head}_{hmac.new(nonce.encode(), ticket.encode(), hashlib.sha256).hexdigest()}"


def session_token(session_id: str) -> str:
    """A new token that opens one session for a while; it says which, so that it can be looked up."""
    return f"oss_{session_id.removeprefix('session_')}_{secrets.token_hex(32)}"


def preview_token(session_id: str) -> str:
    """A new token that opens a private preview of a session once."""
    return f"osp_{session_id.removeprefix('session_')}_{secrets.token_hex(32)}"


def session_of(token: str) -> str | None:
    """The id of the session that a session's token says it opens. None for all else."""
    match = _SESSION_TOKEN.fullmatch(token)
    return f"session_{match.group(1)}" if match else None


def preview_of(token: str) -> str | None:
    """The same of a private preview's token."""
    match = _PREVIEW_TOKEN.fullmatch(token)
    return f"session_{match.group(1)}" if match else None


def sandbox_of(token: str) -> str | None:
    """The id of the sandbox that a token says it belongs to. None for what is no token at all."""
    match = _SANDBOX_TOKEN.fullmatch(token)
    return f"sb-{match.group(1)}" if match else None


def redacted(text: str) -> str:
    """The text without sandbox tokens: a transcript is read by more people than may act for its sandbox."""
    return _SANDBOX_TOKEN.sub("[token]", text)


def matches(token: str, stored_hash: str | None) -> bool:
    """Whether this is the token of that hash; compared in constant time."""
    return hmac.compare_digest(sha256(token), stored_hash or "")
