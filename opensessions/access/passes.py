"""Tokens of one session, for those who must never hold an account's key: a browser, above all."""

from typing import Literal, Protocol

from opensessions.models import Model, Timestamp

SECONDS = range(60, 3601)
"""How long a token for reading or writing may be good."""
PREVIEW_SECONDS = 60
"""How soon a token for a private preview must be used."""

QUERY = "os_token"
"""The parameter of a private preview's address that holds its token."""

PassScope = Literal["read", "write", "preview"]


class Pass(Model):
    """What is kept of a token, under the token's SHA-256. It is good until `expires_at`, while the session
    has not ended and its `revocations` are `number`. One of the scope `preview` is for one `port`, once.
    """

    session_id: str
    scope: PassScope
    port: int | None = None
    number: int
    expires_at: Timestamp


class Passes(Protocol):
    """The passes of all sessions, durable. They go with their session's purge, and some time after they
    expired. Safe to call from many threads.
    """

    def put(self, token_hash: str, new: Pass) -> None:
        """Keep a pass, to be found at once."""
        ...

    def get(self, session_id: str, token_hash: str) -> Pass | None:
        """A session's pass, perhaps one that has expired."""
        ...

    def take(self, session_id: str, token_hash: str) -> Pass | None:
        """The same, and it is gone: of several who take it at once, one gets it."""
        ...
