"""Reads along with a model's answer while its bytes pass: text as it is written, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

LONGEST_LINE = 1 << 20


class AnswerReader:
    """Fed the answer's bytes in any cut; holds at most one line of them (or one JSON body).

    `wants_text` is asked once a chunk, so listening may begin in the middle of an answer; `on_text` then
    gets each piece of text in order. `usage` and `model` are what the answer has said so far; None until it
    says something. Nothing here raises for what a server sends.
    """

    def __init__(
        self, streamed: bool, wants_text: Callable[[], bool], on_text: Callable[[str], None]
    ) -> None:
        self.usage: dict[str, Any] | None = None
        self.model: str | None = None
        self._streamed = streamed
        self._wants_text = wants_text
        self._on_text = on_text
        self._rest = bytearray()
        self._overlong = False

    def feed(self, chunk: bytes) -> None:
        if not self._streamed:
            self._keep(chunk)
            return
        *lines, rest = chunk.split(b"\n")
        listening = self._wants_text()
        for line in lines:
            self._keep(line)
            if not self._overlong:
                self._line(bytes(self._rest), listening)
            self._rest.clear()
            self._overlong = False
        self._keep(rest)

    def end(self) -> None:
        """The answer is whole: a body that was not streamed is read now."""
        if not self._streamed and not self._overlong:
            self._took_in(_object(bytes(self._rest)))

    def _keep(self, part: bytes) -> None:
        bound = LONGEST_LINE if self._streamed else 10 * LONGEST_LINE
        if self._overlong or len(self._rest) + len(part) > bound:
            self._overlong = True
            self._rest.clear()
        else:
            self._rest += part

    def _line(self, line: bytes, listening: bool) -> None:
        # A quote inside a JSON text is escaped, so these bytes are only found as a whole key or value.
        if not line.startswith(b"data:"):
            return
        if listening and b'"text_delta"' in line:
            self._heard(_object(line[5:]).get("delta"))
        elif b'"usage"' in line:
            event = _object(line[5:])
            self._took_in(event.get("message") if event.get("type") == "message_start" else event)

    def _heard(self, delta: Any) -> None:
        if isinstance(delta, dict) and delta.get("type") == "text_delta":
            text = delta.get("text")
            if isinstance(text, str) and text:
                self._on_text(text)

    def _took_in(self, part: Any) -> None:
        if not isinstance(part, dict):
            return
        if isinstance(part.get("model"), str):
            self.model = part["model"]
        if isinstance(usage := part.get("usage"), dict):
            # A later report is cumulative and may leave out what has not changed.
            self.usage = {**(self.usage or {}), **{k: v for k, v in usage.items() if v is not None}}


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
