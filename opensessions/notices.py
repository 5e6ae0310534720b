"""The events that only the service says, and with them all that there are."""

from typing import Literal

from opensessions.events import Payload, SandboxEvent


class SessionStarted(Payload):
    type: Literal["session_started"] = "session_started"
    message: str = "Bootstrapping sandbox..."


class UserMessage(Payload):
    """A prompt or follow-up was taken; `queued` when a turn was running."""

    type: Literal["user_message"] = "user_message"
    message_id: str
    text: str
    queued: bool = False


class VersionSaved(Payload):
    """The state after a turn is kept for good; it can be gone back to under this number."""

    type: Literal["version_saved"] = "version_saved"
    version: int
    title: str
    files_changed: int


class Hibernated(Payload):
    """The session sleeps: its files and its conversation are kept, its sandbox is gone. A message or a
    visitor of its preview wakes it.
    """

    type: Literal["hibernated"] = "hibernated"
    message: str = "The session sleeps; a message or a visit of its preview wakes it."


class Woken(Payload):
    """A sleeping session gets a sandbox again."""

    type: Literal["woken"] = "woken"
    reason: Literal["message", "preview", "restore"]


class SandboxLost(Payload):
    """The sandbox ended by itself. `message` says why, and what is lost; `version` is the version that the
    session goes on from, None for an empty workspace; `message_id` the message whose turn begins anew.
    """

    type: Literal["sandbox_lost"] = "sandbox_lost"
    message: str
    version: int | None = None
    message_id: str | None = None


class Budget(Payload):
    """`budget` tells whose it is: the session's, or what its user or its account may use in a `period`;
    `limit` whether it is of money or of tokens. `used` and `allowed` are in dollars or tokens, and left out
    for the account.
    """

    budget: Literal["session", "user_day", "user_month", "account_day"]
    limit: Literal["cost_usd", "tokens"]
    period: str | None = None
    used: float | None = None
    allowed: float | None = None
    message: str


class BudgetWarning(Budget):
    """Four fifths of a budget are used."""

    type: Literal["budget_warning"] = "budget_warning"


class BudgetExceeded(Budget):
    """A budget is used up: the running turn is interrupted, and the session goes to sleep. It takes no
    message until there is something left.
    """

    type: Literal["budget_exceeded"] = "budget_exceeded"


class LimitReached(Payload):
    """A bound was met that ends no session: a turn took longer than `turn_seconds` and is interrupted, or
    `egress_bytes` are used up.
    """

    type: Literal["limit_reached"] = "limit_reached"
    limit: Literal["turn_seconds", "egress_bytes"]
    allowed: int
    message: str


class SessionEnded(Payload):
    """The last event of a session."""

    type: Literal["session_ended"] = "session_ended"
    reason: str


AnyEvent = (
    SandboxEvent
    | SessionStarted
    | UserMessage
    | VersionSaved
    | Hibernated
    | Woken
    | SandboxLost
    | BudgetWarning
    | BudgetExceeded
    | LimitReached
    | SessionEnded
)
