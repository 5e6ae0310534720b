"""What an operator may do with API keys. Each change is on the record."""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from opensessions.access import tokens
from opensessions.access.audit import OPERATOR, Audit, Entry
from opensessions.access.keyring import Key, Keyring, Scope, checked_account, checked_name, key_id
from opensessions.errors import Conflict, NotFound
from opensessions.models import timestamp


def line(key: Key) -> str:
    """A key in a line for a person."""
    created, used = (timestamp(at) if at else "-" for at in (key.created_at, key.last_used_at))
    return f"{key.id}  {key.name}  {','.join(key.scopes)}  created {created}  last used {used}"


class Keys:
    """Keys of all accounts. Thread-safe and blocking."""

    def __init__(self, keyring: Keyring, audit: Audit, clock: Callable[[], datetime]) -> None:
        self._keyring, self._audit, self._clock = keyring, audit, clock

    def create(self, account: str, name: str = "default", scope: Scope = "admin") -> tuple[str, Key]:
        """A new key, which is told once, and what is kept of it. An account needs no other preparation.

        Raises InvalidRequest for what is no name, and Conflict when there are two good keys of this name: one
        is to be replaced by the other, and then revoked.
        """
        secret = tokens.api_key()
        key = self._put(secret, checked_account(account), checked_name(name), scope)
        return secret, key

    def adopt(self, secret: str, account: str, name: str) -> None:
        """See that a key which was made elsewhere opens the account. Raises Conflict when it was revoked."""
        found = self._keyring.find(tokens.sha256(secret))
        if found and found.revoked_at:
            raise Conflict("This key was revoked.")
        if found is None:
            self._put(secret, account, name, "admin")

    def list(self, account: str) -> Sequence[Key]:
        """The keys of an account that are good, oldest first. Raises InvalidRequest."""
        return self._keyring.of_account(checked_account(account))

    def revoke(self, name: str) -> Key:
        """The key with this id, or of this SHA-256, is good for nothing from now on; what it opened closes
        within 5 s. Raises NotFound.
        """
        key = self._keyring.get(name) or self._keyring.find(name)
        if key is None:
            raise NotFound(f"There is no key {name}.")
        self._revoke(key)
        return key

    def _put(self, secret: str, account: str, name: str, scope: Scope) -> Key:
        hashed, now = tokens.sha256(secret), self._clock()
        told = {"account": account, "name": name, "scope": scope, "created_at": now}
        key = Key(id=key_id(hashed), hash=hashed, **told)
        self._keyring.put(key)
        self._record("create_key", key, now)
        return key

    def _revoke(self, key: Key) -> None:
        now = self._clock()
        self._keyring.revoke(key, now)
        self._record("revoke_key", key, now)

    def _record(self, action: str, key: Key, now: datetime) -> None:
        said = {"account": key.account, "by": OPERATOR, "action": action, "target": key.id, "result": 200}
        self._audit.add(Entry(id=secrets.token_hex(16), at=now, **said))
