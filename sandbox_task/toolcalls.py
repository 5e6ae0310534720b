"""The agent's tool calls, from the request to the result."""

from collections.abc import Iterator, Mapping
from typing import Any

from claude_agent_sdk import AssistantMessage, Message, ToolResultBlock, ToolUseBlock, UserMessage

from opensessions.events import ToolUseSummary
from sandbox_task.project import Artifacts
from sandbox_task.summaries import summary


class ToolCalls:
    """Remembers what was asked until it is answered, and notes the files that were made."""

    def __init__(self, artifacts: Artifacts, cwd: str) -> None:
        self._artifacts, self._cwd = artifacts, cwd
        self._asked: dict[str, tuple[str, Mapping[str, Any]]] = {}

    def ended(self, message: Message) -> Iterator[ToolUseSummary]:
        """A summary of each call that `message` answers."""
        if not isinstance(message, AssistantMessage | UserMessage) or isinstance(message.content, str):
            return
        for block in message.content:
            if isinstance(block, ToolUseBlock):
                self._asked[block.id] = block.name, block.input
            elif isinstance(block, ToolResultBlock) and block.tool_use_id in self._asked:
                yield self._summary(block, *self._asked.pop(block.tool_use_id))

    def _summary(self, result: ToolResultBlock, tool: str, given: Mapping[str, Any]) -> ToolUseSummary:
        line = summary(tool, given, result.content, bool(result.is_error), self._cwd)
        if not result.is_error:
            self._artifacts.note(tool, given, line)
        return ToolUseSummary(tool=tool, summary=line, tool_use_id=result.tool_use_id)
