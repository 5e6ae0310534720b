"""An assistant's turn, and its two shapes on the wire: one JSON message, or a stream of events."""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# The size of a delta: about two words of text, or a part of a tool's input, in characters.
_TEXT_DELTA, _INPUT_DELTA = 12, 1500
_WORDS = re.compile(r"\s*\S+")


@dataclass(frozen=True)
class Call:
    """A tool call, and what the assistant says before it (nothing if empty)."""

    tool: str
    input: dict[str, Any]
    say: str = ""


@dataclass
class Reply:
    """`text` and then, if the turn goes on, one tool call. Token counts are bytes / 4."""

    model: str
    text: str
    call: Call | None
    input_tokens: int
    id: str = field(default_factory=lambda: f"msg_{uuid.uuid4().hex[:24]}")

    @property
    def content(self) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": self.text}] if self.text else []
        if self.call is not None:
            tool = {"name": self.call.tool, "input": self.call.input}
            blocks.append({"type": "tool_use", "id": f"toolu_{self.id[4:]}", **tool})
        return blocks

    @property
    def usage(self) -> dict[str, int]:
        return {
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": tokens(json.dumps(self.content).encode()),
        }

    @property
    def stop_reason(self) -> str:
        return "tool_use" if self.call is not None else "end_turn"

    def message(self) -> dict[str, Any]:
        """The whole answer of a request that did not ask for a stream."""
        return {**self._head(), "content": self.content, "stop_reason": self.stop_reason, "usage": self.usage}

    def events(self) -> Iterator[bytes]:
        """Server-sent events, one a yield, from message_start to message_stop."""
        usage = {**self.usage, "output_tokens": 1}
        start = {**self._head(), "content": [], "stop_reason": None, "usage": usage}
        yield _event("message_start", message=start)
        for index, block in enumerate(self.content):
            empty = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
            yield _event("content_block_start", index=index, content_block=empty)
            for delta in _deltas(block):
                yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        end = {"stop_reason": self.stop_reason, "stop_sequence": None}
        yield _event("message_delta", delta=end, usage=self.usage)
        yield _event("message_stop")

    def _head(self) -> dict[str, Any]:
        kind = {"type": "message", "role": "assistant"}
        return {"id": self.id, **kind, "model": self.model, "stop_sequence": None}


def tokens(data: bytes) -> int:
    """A count near enough for a budget: a quarter of the bytes, at least 1."""
    return max(1, len(data) // 4)


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def _deltas(block: dict[str, Any]) -> Iterator[dict[str, str]]:
    if block["type"] == "text":
        for part in _text_parts(block["text"]):
            yield {"type": "text_delta", "text": part}
        return
    whole = json.dumps(block["input"])
    for start in range(0, len(whole), _INPUT_DELTA):
        yield {"type": "input_json_delta", "partial_json": whole[start : start + _INPUT_DELTA]}


def _text_parts(text: str) -> Iterator[str]:
    part = ""
    for word in _WORDS.findall(text):
        part += word
        if len(part) >= _TEXT_DELTA:
            yield part
            part = ""
    trailing = text[len(text.rstrip()) :]
    if part or trailing:
        yield part + trailing
