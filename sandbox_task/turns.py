"""One turn of the agent, and how it ends."""

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Literal

from claude_agent_sdk import ResultMessage

Reason = Literal["completed", "interrupted", "max_turns", "error"]


@dataclass
class Turn:
    """A turn that runs or waits. `message_id` is None when the agent began it by itself, because something
    that it had left in the background ended.
    """

    seq: int
    message_id: str | None
    text: str = ""
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    cut: bool = False
    over: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def answered_by(self, result: ResultMessage) -> bool:
        if self.message_id is None or result.user_message_uuid == self.uuid:
            return True
        if self.uuid in (result.user_message_uuids or ()):
            return True
        return (result.origin or {"kind": "human"}).get("kind") == "human"

    def reason(self, result: ResultMessage | None) -> Reason:
        """Why it is over, with this result or without any."""
        if self.cut:
            return "interrupted"
        if result is None:
            return "error"
        if result.subtype == "error_max_turns":
            return "max_turns"
        return "error" if result.is_error else "completed"


def trouble(result: ResultMessage | None) -> str:
    """What went wrong, in words."""
    said = result and (result.result or "; ".join(result.errors or []))
    return f"The agent could not go on: {said or 'no reason was given'}"
