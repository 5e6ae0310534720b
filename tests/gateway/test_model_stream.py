"""Reading along with an answer, whatever its cuts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.model_stream import LONGEST_LINE, AnswerReader


def frames(*events: Any) -> bytes:
    return b"".join(b"event: x\r\ndata: " + json.dumps(e).encode() + b"\r\n\r\n" for e in events)


ANSWER = frames(
    {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 'a "usage" é\n'}},
    {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": '"text_delta"'}},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "b"}},
    {"type": "message_delta", "usage": {"output_tokens": 9, "input_tokens": None}},
)


def reader(heard: list[str], streamed: bool = True, listening: bool = True) -> AnswerReader:
    return AnswerReader(streamed, lambda: listening, heard.append)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
def test_text_and_usage_in_any_cut(size: int) -> None:
    heard: list[str] = []
    read = reader(heard)
    for at in range(0, len(ANSWER), size):
        read.feed(ANSWER[at : at + size])
    assert heard == ['a "usage" é\n', "b"]
    assert (read.model, read.usage) == ("m", {"input_tokens": 5, "output_tokens": 9})


def test_nobody_listens() -> None:
    heard: list[str] = []
    read = reader(heard, listening=False)
    read.feed(ANSWER)
    assert heard == [] and read.usage == {"input_tokens": 5, "output_tokens": 9}


def test_a_whole_body() -> None:
    read = reader([], streamed=False)
    read.feed(b'{"model": "m", "content": [], "us')
    read.feed(b'age": {"input_tokens": 2}}')
    read.end()
    assert (read.model, read.usage) == ("m", {"input_tokens": 2})


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    "odd",
    [
        b'data: {"usage": \n', b'data: ["usage"]\n', b'data: {"usage": 7}\n', b"\xff\xfe\n", b"data:\n",
        b'data: {"type":"message_start","message":"usage", "usage": 1}\n',
        b'data: {"delta": "text_delta"}\n', b'data: {"delta": {"type": "text_delta", "text": 5}}\n',
        b'data: {"usage":' + b"[" * 50_000 + b"\n",
    ],
)  # fmt: skip
def test_odd_answers_are_let_by(odd: bytes, streamed: bool) -> None:
    heard: list[str] = []
    read = reader(heard, streamed)
    read.feed(odd)
    read.end()
    assert heard == [] and read.usage is None


def test_an_endless_line_is_not_kept() -> None:
    heard: list[str] = []
    read = reader(heard)
    for _ in range(3):
        read.feed(b"x" * LONGEST_LINE)
    assert len(read._rest) <= LONGEST_LINE
    read.feed(b"\n" + ANSWER)
    assert heard == ['a "usage" é\n', "b"]
