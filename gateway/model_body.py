"""What a sandbox may ask of the operator's model: one strict reading of a Messages API request.

The real key can do far more than sample text: read stored files, run code and fetch pages on the provider's
side, out of reach of egress policy and meter. So only what is listed here passes, and the body that leaves is
written anew from what was read, so that no second parser can read it in another way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

FIELDS = frozenset(
    [
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "metadata",
        "max_tokens",
        "thinking",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "stream",
        "context_management",
        "output_config",
        "output_format",
        "cache_control",
        "context_hint",
        "fallbacks",
        "speed",
        "service_tier",
    ]
)
MESSAGE_FIELDS = frozenset(("role", "content", "output_config", "clear_at"))
FALLBACK_FIELDS = frozenset(("model", "max_tokens", "output_config", "thinking"))
BLOCKS = frozenset(
    [
        "text",
        "image",
        "document",
        "search_result",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_result",
        "tool_reference",
        "tool_addition",
        "tool_removal",
        "compaction",
        "fallback",
    ]
)
SOURCES = {
    "base64": frozenset(("type", "media_type", "data")),
    "text": frozenset(("type", "media_type", "data")),
    "content": frozenset(("type", "content")),
}
# The provider defines the shape of these, but it is the client that carries them out.
CLIENT_TOOL = re.compile(r"(custom|(bash|text_editor|computer|memory)_\d{8})")
# Keys that name something stored in, or running beside, the operator's workspace.
STORED = frozenset(("file_id", "file_ids", "files", "container", "container_id", "mcp_servers", "url"))
DEEPEST = 8
MOST_FALLBACKS = 3


class BadRequest(Exception):
    """The request asks for something that a sandbox may not have; the text says what, in words for people."""


@dataclass(frozen=True)
class ModelRules:
    """The operator's bounds. `models` None: any model; `max_tokens` is the most that one call may ask for."""

    models: frozenset[str] | None = None
    max_tokens: int = 128_000


@dataclass(frozen=True)
class ModelCall:
    """A request that passed: what it may cost at worst, and the body to send. `fallbacks` are the models that
    answer in the place of one that declines; `max_tokens` is the most that any of them may say.
    """

    model: str
    max_tokens: int
    body: bytes
    fallbacks: tuple[str, ...] = ()


def judge(raw: bytes, rules: ModelRules, session_id: str, counting: bool = False) -> ModelCall:
    """The call in `raw`, its `metadata` replaced by the session's id; `counting` for `count_tokens`.

    Raises BadRequest.
    """
    body = _object(_parse(raw), "the body")
    for name in body.keys() - FIELDS:
        _refuse_field(name)
    model = _model(body.get("model"), rules, "model")
    max_tokens = 0 if counting else _max_tokens(body.get("max_tokens"), rules, "max_tokens")
    _price(body)
    fallbacks = _fallbacks(body, rules)
    for number, tool in enumerate(_list(body, "tools")):
        _tool(tool, f"tools.{number}")
    for number, message in enumerate(_list(body, "messages")):
        _message(message, f"messages.{number}")
    _content(body.get("system"), "system")
    if not counting:
        body["metadata"] = {"user_id": session_id}
    if max_tokens:
        max_tokens = max(max_tokens, *(most or 0 for _, most in fallbacks), 0)
    data = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    return ModelCall(model, max_tokens, data, tuple(name for name, _ in fallbacks))


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON, or it is nested too deeply.") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(text)
    return number


def _refuse_field(name: str) -> NoReturn:
    if name in ("mcp_servers", "container"):
        raise BadRequest(f"{name}: this runs on the model provider's side, outside the sandbox.")
    raise BadRequest(f"{_shown(name)}: this field is not passed on by the model proxy.")


def _price(body: dict[str, Any]) -> None:
    if body.get("speed") not in (None, "standard"):
        raise BadRequest("speed: only the standard speed is passed on.")
    if body.get("service_tier") not in (None, "auto", "standard_only"):
        raise BadRequest("service_tier: only auto and standard_only are passed on.")


def _model(name: Any, rules: ModelRules, where: str) -> str:
    if not isinstance(name, str) or not name:
        raise BadRequest(f"{where}: the name of a model is required.")
    if rules.models is not None and name not in rules.models:
        known = ", ".join(sorted(rules.models)) or "(none)"
        raise BadRequest(
            f"{where}: {_shown(name)} is not among this server's models: {known}. "
            "A session names its own in agent_config.model."
        )
    return name


def _max_tokens(value: Any, rules: ModelRules, where: str) -> int:
    if type(value) is not int or value < 1:
        raise BadRequest(f"{where}: a whole number of at least 1 is required.")
    if value > rules.max_tokens:
        raise BadRequest(f"{where}: {value} > {rules.max_tokens}, which is the most that this server allows.")
    return value


def _fallbacks(body: dict[str, Any], rules: ModelRules) -> list[tuple[str, int | None]]:
    """Name and max_tokens of each."""
    listed = _list(body, "fallbacks")
    if len(listed) > MOST_FALLBACKS:
        raise BadRequest(f"fallbacks: {len(listed)} > {MOST_FALLBACKS}, which is the most that may be named.")
    return [_fallback(fallback, rules, f"fallbacks.{number}") for number, fallback in enumerate(listed)]


def _fallback(value: Any, rules: ModelRules, where: str) -> tuple[str, int | None]:
    fallback = _object(value, where)
    _only(fallback, FALLBACK_FIELDS, where)
    most = fallback.get("max_tokens")
    if most is not None:
        most = _max_tokens(most, rules, f"{where}.max_tokens")
    return _model(fallback.get("model"), rules, f"{where}.model"), most


def _tool(value: Any, where: str) -> None:
    tool = _object(value, where)
    kind = tool.get("type")
    if kind is not None and not (isinstance(kind, str) and CLIENT_TOOL.fullmatch(kind)):
        raise BadRequest(
            f"{where}.type: {_shown(kind)} runs on the model provider's side, outside the sandbox. "
            "Only client tools are passed on."
        )
    _nothing_stored(tool, where, free=("input_schema", "input_examples"))


def _message(value: Any, where: str) -> None:
    message = _object(value, where)
    _only(message, MESSAGE_FIELDS, where)
    _content(message.get("content"), f"{where}.content")


def _content(value: Any, where: str, depth: int = 0) -> None:
    """Judges a text, a list of blocks, or (in a search result) nothing at all."""
    if value is None or isinstance(value, str):
        return
    if not isinstance(value, list) or depth > DEEPEST:
        raise BadRequest(f"{where}: a text or a list of content blocks is required.")
    for number, block in enumerate(value):
        _block(_object(block, f"{where}.{number}"), f"{where}.{number}", depth)


def _block(block: dict[str, Any], where: str, depth: int) -> None:
    kind = block.get("type")
    if not isinstance(kind, str) or kind not in BLOCKS:
        raise BadRequest(f"{where}.type: {_shown(kind)} content is not passed on by the model proxy.")
    if block.get("caller") not in (None, {"type": "direct"}):
        raise BadRequest(f"{where}.caller: only direct tool calls are passed on.")
    _source(block.get("source"), kind, f"{where}.source", depth)
    _content(block.get("content"), f"{where}.content", depth + 1)
    if block.get("tool") is not None:
        _tool_change(_object(block["tool"], f"{where}.tool"), f"{where}.tool")
    free = ("source", "content", "tool", "input") if kind == "tool_use" else ("source", "content", "tool")
    _nothing_stored(block, where, free)


def _source(value: Any, kind: str, where: str, depth: int) -> None:
    if value is None or (kind == "search_result" and isinstance(value, str)):
        return
    source = _object(value, where)
    fields = SOURCES.get(str(source.get("type")))
    if fields is None:
        raise BadRequest(
            f"{where}.type: {_shown(source.get('type'))} is fetched on the model provider's side, outside "
            "the sandbox. Send the content itself (base64 or text)."
        )
    _only(source, fields, where)
    _content(source.get("content"), f"{where}.content", depth + 1)


def _tool_change(change: dict[str, Any], where: str) -> None:
    """A tool that is added in the middle of a conversation is judged as one that was there from the start."""
    kind = change.get("type")
    if kind == "tool_reference":
        return _only(change, frozenset(("type", "name")), where)
    if kind != "tool_definition":
        raise BadRequest(f"{where}.type: {_shown(kind)} is not passed on by the model proxy.")
    _only(change, frozenset(("type", "definition")), where)
    return _tool(change.get("definition"), f"{where}.definition")


def _nothing_stored(value: dict[str, Any], where: str, free: Iterable[str]) -> None:
    """Nothing below `value`, but for the parts that are `free` or judged elsewhere, names stored things."""
    pending: list[Any] = [part for name, part in value.items() if name not in free]
    if found := (value.keys() & STORED):
        raise BadRequest(f"{where}.{min(found)}: what is stored or fetched elsewhere is not passed on.")
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending.extend(part)
        elif isinstance(part, dict):
            if found := (part.keys() & STORED):
                raise BadRequest(f"{where}: {min(found)} is not passed on; send the content itself.")
            pending.extend(part.values())


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"{where}: a JSON object is required.")
    return value


def _list(body: dict[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRequest(f"{name}: a list is required.")
    return value


def _only(value: dict[str, Any], fields: frozenset[str], where: str) -> None:
    for name in value.keys() - fields:
        raise BadRequest(f"{where}.{_shown(name)}: this field is not passed on by the model proxy.")


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else "(none)" if value is None else json.dumps(value)
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text[:64])
