"""Events as one line of text each, for lists that people read."""

from collections.abc import Callable, Mapping
from typing import Any

LONGEST_LINE = 300

Payload = Mapping[str, Any]


def line(type_: str, payload: Payload) -> str:
    """What an event says in at most 300 characters. A pure function of the one event."""
    text = _LINES.get(type_, _named)({**payload, "type": type_})
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1] + "…"


def _named(payload: Payload) -> str:
    return str(payload.get("message") or payload["type"].replace("_", " ").capitalize())


def _blocks(payload: Payload) -> list[Mapping[str, Any]]:
    message = payload.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, Mapping)] if isinstance(content, list) else []


def _assistant(payload: Payload) -> str:
    blocks = _blocks(payload)
    texts = (str(block.get("text")) for block in blocks if block.get("type") == "text" and block.get("text"))
    tools = [str(block.get("name")) for block in blocks if block.get("type") == "tool_use"]
    return next(texts, f"Uses {', '.join(tools)}" if tools else "The agent thinks")


def _user(payload: Payload) -> str:
    results = [block for block in _blocks(payload) if block.get("type") == "tool_result"]
    if not results:
        return next((str(block.get("text")) for block in _blocks(payload)), "Tool result")
    return "A tool failed" if any(block.get("is_error") for block in results) else "A tool answered"


def _configured(payload: Payload) -> str:
    tools = [str(tool) for tool in payload.get("tools") or []]
    return f"The agent has {', '.join(tools)}" if tools else "The agent has no tools"


def _result(payload: Payload) -> str:
    return str(
        payload.get("result") or ("The turn failed" if payload.get("is_error") else "The turn is done")
    )


_LINES: dict[str, Callable[[Payload], str]] = {
    "assistant": _assistant,
    "user": _user,
    "configured": _configured,
    "result": _result,
    "system": lambda payload: f"Agent: {payload.get('subtype')}",
    "tool_use_summary": lambda payload: str(payload.get("summary") or payload.get("tool")),
    "user_message": lambda payload: str(payload.get("text")),
    "preview_ready": lambda payload: f"Preview ready: {payload.get('url') or payload.get('port')}",
    "turn_complete": lambda payload: f"Turn {payload.get('reason')}",
    "session_ended": lambda payload: f"Session ended: {payload.get('reason')}",
}
