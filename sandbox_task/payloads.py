"""What may leave the sandbox: JSON that any reader can parse, of bounded size, without its secrets."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from opensessions.events import Error

EVENT_LIMIT = 256 * 1024
_DEPTH = 48
_LENGTHS = (65536, 16384, 4096, 1024, 256, 64)


class Secrets:
    """Replaces every appearance of the sandbox's own tokens, whole or their secret part alone."""

    def __init__(self, tokens: Iterable[str]) -> None:
        found = {part for token in tokens for part in (token, token.rsplit("_", 1)[-1]) if len(part) >= 16}
        self._found = sorted((part.encode() for part in found), key=len, reverse=True)

    def redacted(self, data: bytes) -> bytes:
        for part in self._found:
            if part in data:
                data = data.replace(part, b"[redacted]")
        return data


def encoded(event: BaseModel, secrets: Secrets, limit: int = EVENT_LIMIT) -> bytes:
    """`event` as JSON of at most `limit` bytes: secrets replaced, then long strings cut, with a marker."""
    payload = event.model_dump(exclude_none=True)
    return cut(secrets.redacted(_dumped(payload)), limit)


def cut(data: bytes, limit: int) -> bytes:
    """An event's JSON, made to fit; when cutting its strings and lists is not enough, an `error` event."""
    if len(data) <= limit:
        return data
    payload = json.loads(data)
    for length in _LENGTHS:
        shorter = _dumped(_shortened(payload, length))
        if len(shorter) <= limit:
            return shorter
    return refused(payload.get("type"))


def refused(kind: object) -> bytes:
    """The event that stands in for one of `kind` that could not be delivered."""
    text = f"An event of type {kind!r} was too large or malformed and is left out."
    return _dumped(Error(message=text, code="event_dropped").model_dump())


def _dumped(payload: Any) -> bytes:
    try:
        return _json(payload)
    except (UnicodeEncodeError, ValueError, RecursionError, TypeError):
        return _json(_plain(payload, 0))


def _json(payload: Any) -> bytes:
    return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _plain(value: Any, depth: int) -> Any:
    """`value` without what JSON in UTF-8 cannot hold: lone surrogates, NaN, foreign types, endless depth."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if depth > _DEPTH:
        return "[nested too deeply]"
    if isinstance(value, dict):
        return {_plain(str(key), depth): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value if value is None or isinstance(value, (bool, int)) else str(value)


def _shortened(value: Any, length: int) -> Any:
    if isinstance(value, str):
        gone = len(value) - length
        return f"{value[:length]}… [{gone} characters cut]" if gone > 0 else value
    if isinstance(value, dict):
        return {key: _shortened(item, length) for key, item in list(value.items())[: max(length, 64)]}
    if isinstance(value, list):
        kept = [_shortened(item, length) for item in value[: max(length, 64)]]
        return kept if len(kept) == len(value) else [*kept, f"… [{len(value) - len(kept)} items cut]"]
    return value
