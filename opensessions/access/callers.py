"""Who asks, and what they may do."""

from dataclasses import dataclass

from opensessions.access.keyring import SCOPES, Key, Scope
from opensessions.access.passes import Pass
from opensessions.errors import Forbidden, NotFound

__all__ = ["Caller", "Scope"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who showed an account's key, `api_key`, or a session's token: that has a `session_pass`, and
    opens its session alone.
    """

    account: str
    scope: Scope = "admin"
    api_key: Key | None = None
    session_pass: Pass | None = None

    def require(self, scope: Scope) -> None:
        """Raises Forbidden for who may not do what takes this scope."""
        if SCOPES.index(scope) > SCOPES.index(self.scope):
            what = "token" if self.session_pass else "API key"
            raise Forbidden(f"This takes the scope {scope}; this {what} has {self.scope}.")

    def require_account(self, scope: Scope) -> None:
        """The same for what takes an account's key. Raises Forbidden for a session's token, too."""
        if self.session_pass:
            raise Forbidden(f"A session's token cannot do that; it takes an API key of the scope {scope}.")
        self.require(scope)

    def require_session(self, session_id: str) -> None:
        """Raises NotFound for who shows another session's token."""
        if self.session_pass and self.session_pass.session_id != session_id:
            raise NotFound("Session not found")
