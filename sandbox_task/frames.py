"""The agent's messages as events, in the shape of its own stream."""

from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    Message,
    ResultMessage,
    ServerToolResultBlock,
    ServerToolUseBlock,
    SystemMessage,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

from opensessions.events import Assistant, Result, System, User

_NOISE = frozenset({"ui_invalidate", "hook_started", "hook_response", "commands_changed"})


def event(message: Message) -> Assistant | User | System | Result | None:
    """The event that says what `message` says, or None for what nobody needs to see."""
    if isinstance(message, AssistantMessage):
        return _assistant(message) if message.content else None
    if isinstance(message, UserMessage):
        content = message.content if isinstance(message.content, str) else blocks(message.content)
        about = {"session_id": None, "uuid": message.uuid}
        return User.model_validate({
            "message": {"role": "user", "content": content},
            "parent_tool_use_id": message.parent_tool_use_id, **about,
        })  # fmt: skip
    if isinstance(message, SystemMessage):
        return (
            None if message.subtype in _NOISE else System.model_validate({**message.data, "type": "system"})
        )
    return _result(message) if isinstance(message, ResultMessage) else None


def _assistant(message: AssistantMessage) -> Assistant:
    return Assistant.model_validate({
        "message": {
            "id": message.message_id, "type": "message", "role": "assistant", "model": message.model,
            "content": blocks(message.content), "stop_reason": message.stop_reason, "usage": message.usage,
        },
        "parent_tool_use_id": message.parent_tool_use_id, "session_id": message.session_id,
        "uuid": message.uuid, "error": message.error,
    })  # fmt: skip


def _result(message: ResultMessage) -> Result:
    return Result.model_validate({
        "subtype": message.subtype, "is_error": message.is_error, "result": message.result,
        "num_turns": message.num_turns, "duration_ms": message.duration_ms,
        "duration_api_ms": message.duration_api_ms, "total_cost_usd": message.total_cost_usd,
        "usage": message.usage, "modelUsage": message.model_usage, "stop_reason": message.stop_reason,
        "errors": message.errors, "permission_denials": message.permission_denials,
        "session_id": message.session_id, "uuid": message.uuid,
    })  # fmt: skip


def blocks(content: list[Any]) -> list[dict[str, Any]]:
    """Content blocks as the Messages API writes them."""
    return [found for block in content if (found := _block(block)) is not None]


def _block(block: object) -> dict[str, Any] | None:
    match block:
        case TextBlock(text=text):
            return {"type": "text", "text": text}
        case ThinkingBlock(thinking=thinking, signature=signature):
            return {"type": "thinking", "thinking": thinking, "signature": signature}
        case ToolUseBlock(id=name, name=tool, input=given):
            return {"type": "tool_use", "id": name, "name": tool, "input": given}
        case ToolResultBlock(tool_use_id=name, content=said, is_error=failed):
            return {"type": "tool_result", "tool_use_id": name, "content": said, "is_error": bool(failed)}
        case ServerToolUseBlock(id=name, name=tool, input=given):
            return {"type": "server_tool_use", "id": name, "name": tool, "input": given}
        case ServerToolResultBlock(tool_use_id=name, content=said):
            return {"type": "server_tool_result", "tool_use_id": name, "content": said}
    return None
