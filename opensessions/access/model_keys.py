"""Keys that accounts have of the model's provider themselves, and lend to their sessions."""

import re
from datetime import datetime
from typing import Protocol

from opensessions.errors import InvalidRequest

_KEY = re.compile(r"[!-~]{16,512}")


class KeyAway(Exception):
    """Whether an account has a key of its own cannot be told just now."""


class ModelKeys(Protocol):
    """At most one key for each account, kept where nobody but who calls the model can read it. Durable, and
    safe to call from many threads.
    """

    def put(self, account: str, key: str) -> None:
        """Have an account's sessions use this key, within a minute, in place of any other. Raises Conflict
        while a former one is being deleted.
        """
        ...

    def drop(self, account: str) -> None:
        """Have an account's sessions use the operator's key again, within a minute. Idempotent."""
        ...

    def since(self, account: str) -> datetime | None:
        """When the account's key was put; None: it has none."""
        ...


def checked(key: str) -> str:
    """Raises InvalidRequest for what cannot be a key; it does not say it again."""
    if not _KEY.fullmatch(key):
        raise InvalidRequest("key must be 16 to 512 printable ASCII characters without spaces.", "key")
    return key
