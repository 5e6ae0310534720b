"""Who is calling: what a sandbox's token is good for on the model proxy and on the egress proxy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

TokenKind = Literal["model", "egress", "worker"]


@dataclass(frozen=True)
class SandboxGrant:
    """A live sandbox that has proved itself by a token.

    `model` is the model that its session asked for (None: the default). `allowed_hosts` is the session's
    own egress list: None narrows nothing, an empty tuple allows nothing. `account` is whose session it is,
    `trace` the trace of its running turn, if anybody wants traces.
    """

    session_id: str
    sandbox_id: str
    model: str | None
    allowed_hosts: tuple[str, ...] | None
    account: str = ""
    trace: str | None = None


class Authorize(Protocol):
    """Checks a token of one kind.

    Answers None for a token that is unknown, of the other kind, or of a sandbox that has ended; never
    raises for a bad token. It is asked for every model call and every tunnel, so it must be cheap.
    """

    async def __call__(self, token: str, kind: TokenKind) -> SandboxGrant | None: ...
