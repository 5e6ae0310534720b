"""API keys: each opens an account, as far as its scope goes."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, Protocol

from pydantic import Field

from opensessions.errors import Conflict, InvalidRequest
from opensessions.models import Model, Timestamp

Scope = Literal["read", "write", "admin"]
"""To see; to work with sessions, too; to administer the account, too."""

SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
"""Each contains those before it."""

LIVE_PER_NAME = 2
"""How many keys of one name may be good at a time: an old one, and the new one that callers move to."""
USED_EVERY = timedelta(hours=1)
"""How far behind `last_used_at` may be."""
REMEMBERED = timedelta(days=90)
"""For how long a revoked key is known, so that it is recorded who still shows it."""


class Key(Model):
    """What is kept of a key. The server that wrote it may not have known `created_at`."""

    id: str
    hash: str = Field(repr=False)
    account: str
    name: str = "default"
    scope: Scope = "admin"
    created_at: Timestamp | None = None
    last_used_at: Timestamp | None = None
    revoked_at: Timestamp | None = None

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Its own, and what that contains."""
        return SCOPES[: SCOPES.index(self.scope) + 1]

    def stale(self, now: datetime) -> bool:
        """Whether it is time to write down that it is used."""
        return self.last_used_at is None or now - self.last_used_at >= USED_EVERY


class Keyring(Protocol):
    """The keys of all accounts. Durable, and safe to call from many threads."""

    def put(self, key: Key) -> None:
        """Keep a new key. Raises Conflict when `LIVE_PER_NAME` of its name are good in its account, also when
        others are put at the same moment.
        """
        ...

    def find(self, key_hash: str) -> Key | None:
        """The key of this SHA-256 as it is now; one that was revoked, too, for `REMEMBERED` at least."""
        ...

    def get(self, key_id: str) -> Key | None:
        """The same by its id."""
        ...

    def of_account(self, account: str) -> Sequence[Key]:
        """The keys of an account that are good, oldest first."""
        ...

    def used(self, key: Key, at: datetime) -> None:
        """Write down when a key was used, unless a later use was."""
        ...

    def revoke(self, key: Key, at: datetime) -> None:
        """The key is good for nothing from now on. Again: no change."""
        ...


_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def key_id(key_hash: str) -> str:
    """The id of the key with this SHA-256. The key is not found by trying, where it is one of ours."""
    return "key_" + hashlib.sha256(f"key id\0{key_hash}".encode()).hexdigest()[:32]


def too_many(key: Key) -> Conflict:
    """Why a key is not kept."""
    return Conflict(
        f"{key.account} has {LIVE_PER_NAME} keys named {key.name!r} already: revoke the older one first."
    )


def checked_account(account: str) -> str:
    """Raises InvalidRequest for what is no account's name."""
    if not _ACCOUNT.fullmatch(account):
        raise InvalidRequest(
            "An account is 1 to 64 letters, digits, '-', '_' and '.', with one of the first two in front; "
            f"{account!r} is not.",
            "account",
        )
    return account


def checked_name(name: str) -> str:
    """Raises InvalidRequest for what is no key's name."""
    if not (name.isprintable() and name == name.strip() and 1 <= len(name) <= 64):
        raise InvalidRequest(f"A key's name is 1 to 64 printable characters; {name!r} is not.", "name")
    return name


def widest(words: str) -> Scope:
    """The scope that a list like "read,write" comes to. Raises InvalidRequest."""
    named = [word.strip() for word in words.split(",")]
    for word in named:
        if word not in SCOPES:
            raise InvalidRequest(f"Scopes are {', '.join(SCOPES)}; {word!r} is none.", "scopes")
    return max((scope for scope in SCOPES if scope in named), key=SCOPES.index)
