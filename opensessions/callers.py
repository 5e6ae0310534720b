"""Who asks, and what they may do."""

from dataclasses import dataclass
from typing import Literal

from opensessions.errors import Forbidden, NotFound
from opensessions.passes import Pass

Scope = Literal["read", "write", "account"]
"""To see a session; to work with it, too; everything that an account may do."""

_CONTAINED: dict[Scope, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "write": frozenset({"read", "write"}),
    "account": frozenset({"read", "write", "account"}),
}
_REASONS: dict[Scope, str] = {
    "read": "This token does not open that.",
    "write": "This token can only read; ask for one of the scope write.",
    "account": "A session's token cannot do that; it takes the account's API key.",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who showed an account's key, or a session's token: that has a `session_pass`, and opens its
    session alone. `key` is the SHA-256 of what they showed.
    """

    account: str
    key: str = ""
    scope: Scope = "account"
    session_pass: Pass | None = None

    def require(self, scope: Scope) -> None:
        """Raises Forbidden for who may not do what takes this scope."""
        if scope not in _CONTAINED[self.scope]:
            raise Forbidden(_REASONS[scope])

    def require_session(self, session_id: str) -> None:
        """Raises NotFound for who shows another session's token."""
        if self.session_pass and self.session_pass.session_id != session_id:
            raise NotFound("Session not found")
