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
    | SessionEnded
)
