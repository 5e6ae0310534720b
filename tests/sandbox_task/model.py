"""A model for tests that does what the newest prompt says: speaks the Messages API, thinks nothing."""

import itertools
import json
import re
from typing import Any

_COMMAND = re.compile(r"^(run|background|write|read|skill): (.*)$", re.M)
_ids = itertools.count(1)


def answer(body: dict[str, Any]) -> bytes:
    """The stream of events that answers a request. Prompts: `run: <command>`, `background: <command>`,
    `write: <path> <text>`, `read: <path>`, `skill: <name>`, `tools?`, `say: <text>`; anything else is echoed.
    """
    # Reminders to the model follow the user's message as messages of their own.
    last = [message for message in body["messages"] if message["role"] == "user"][-1]["content"]
    blocks = last if isinstance(last, list) else [{"type": "text", "text": last}]
    results = [block for block in blocks if block["type"] == "tool_result"]
    if results and not _asks(blocks):
        return _stream(body["model"], text="done: " + _text(results))
    text = _text(blocks)
    if "tools?" in text:
        return _stream(
            body["model"], text="tools: " + " ".join(tool["name"] for tool in body.get("tools", []))
        )
    found = _COMMAND.findall(text)
    if not found:
        return _stream(body["model"], text="heard: " + text[-2000:])
    return _stream(body["model"], tool=_call(*found[-1]))


def _asks(blocks: list[dict[str, Any]]) -> bool:
    return any(b["type"] == "text" and (_COMMAND.search(b["text"]) or "tools?" in b["text"]) for b in blocks)


def _text(blocks: list[dict[str, Any]]) -> str:
    texts = []
    for block in blocks:
        content = block.get("text", block.get("content", ""))
        texts.append(content if isinstance(content, str) else _text(content))
    return "\n".join(texts)


def _call(verb: str, rest: str) -> tuple[str, dict[str, Any]]:
    if verb in ("run", "background"):
        more = {"run_in_background": True} if verb == "background" else {}
        return "Bash", {"command": rest, "description": "as told", **more}
    if verb == "write":
        path, _, text = rest.partition(" ")
        return "Write", {"file_path": path, "content": text}
    return ("Read", {"file_path": rest}) if verb == "read" else ("Skill", {"skill": rest})


def _stream(model: str, text: str = "", tool: tuple[str, dict[str, Any]] | None = None) -> bytes:
    number = next(_ids)
    if tool:
        block: dict[str, Any] = {"type": "tool_use", "id": f"toolu_{number}", "name": tool[0], "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(tool[1])}
    else:
        block, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": text}
    start: dict[str, Any] = {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "usage": {"input_tokens": 5, "output_tokens": 1},
    }  # fmt: skip
    frames: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use" if tool else "end_turn"},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
    return "".join(f"event: {frame['type']}\ndata: {json.dumps(frame)}\n\n" for frame in frames).encode()
