"""Reads along with a model's answer while its bytes pass: text as it is written, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LONGEST_LINE = 1 << 20
BYTES_PER_TOKEN = 3
SEEN = frozenset(("text", "tool_use"))
"""Blocks that are billed as they are seen; of a model's thoughts at best a summary comes."""
_NAMES = frozenset(("type", "id", "signature"))


@dataclass(frozen=True)
class Used:
    """What a call used, as the Messages API tells it: `{}` nothing, None: nobody knows."""

    usage: dict[str, Any] | None
    estimated: bool = False


NOTHING = Used({})
UNKNOWN = Used(None)


class AnswerReader:
    """Fed the answer's bytes in any cut; holds at most one line of them (or one JSON body).

    `wants_text` is asked once a chunk, so listening may begin in the middle of an answer; `on_text` then
    gets each piece of text in order. `usage` and `model` are what the answer has said so far; None until it
    says something. It is `whole` once it has said all that was used. Nothing here raises for what a server
    sends.
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
        self.whole = False
        self._begun = self._hidden = False
        self._seen = 0

    @property
    def used(self) -> Used:
        """What the call has used until here. Where an answer broke off, its output is estimated by the bytes
        that came, if all that is billed was among them.
        """
        if self.usage is None:
            return UNKNOWN
        if self.whole:
            return Used(self.usage)
        if self._hidden or not self._begun:
            return UNKNOWN
        said = self.usage.get("output_tokens")
        output = max(said if isinstance(said, int) else 0, -(-self._seen // BYTES_PER_TOKEN))
        return Used({**self.usage, "output_tokens": output}, estimated=True)

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
            self.whole = True

    def _keep(self, part: bytes) -> None:
        bound = LONGEST_LINE if self._streamed else 10 * LONGEST_LINE
        if self._overlong or len(self._rest) + len(part) > bound:
            self._overlong = self._hidden = True
            self._rest.clear()
        else:
            self._rest += part

    def _line(self, line: bytes, listening: bool) -> None:
        if not line.startswith(b"data:"):
            return
        event = _object(line[5:])
        kind, delta = event.get("type"), event.get("delta")
        if kind == "message_start":
            self._took_in(event.get("message"))
        elif kind == "content_block_start":
            self._block(event.get("content_block"))
        elif kind == "content_block_delta":
            self._seen += _size(delta)
            if listening:
                self._heard(delta)
        else:
            self._took_in(event)
            stopped = isinstance(delta, dict) and bool(delta.get("stop_reason"))
            self.whole = self.whole or (stopped and isinstance(event.get("usage"), dict))

    def _block(self, block: Any) -> None:
        self._begun = True
        self._seen += _size(block)
        self._hidden = self._hidden or not isinstance(block, dict) or block.get("type") not in SEEN

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


def _size(part: Any) -> int:
    """How many bytes of the model's writing are in a block or a delta."""
    if not isinstance(part, dict):
        return 0
    texts = (text for name, text in part.items() if name not in _NAMES and isinstance(text, str))
    return sum(len(text.encode("utf-8", "replace")) for text in texts)


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
