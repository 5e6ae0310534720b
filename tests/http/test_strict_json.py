import contextlib
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensessions.errors import InvalidRequest
from opensessions.http.strict_json import parse, parse_mended

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
leaves = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | texts
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(texts, values, max_size=4))
def test_what_any_json_library_writes_is_read(value: dict[str, object]) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse_mended(json.dumps(value, ensure_ascii=False).encode()) == value


@settings(deadline=None)
@given(st.binary())
def test_bytes_are_an_object_or_refused(raw: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(parse(raw), dict)


def test_64_levels_are_read_and_65_are_not() -> None:
    for levels, fine in [(63, True), (64, False), (900, False), (100_000, False)]:
        raw = b'{"a":' + b"[" * levels + b"]" * levels + b"}"
        if fine:
            parse(raw)
        else:
            with pytest.raises(InvalidRequest, match="64 levels"):
                parse(raw)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"a": 1,}', "line 1, column 9"),
        (b'{\n"a": tru}', "line 2, column 6"),
        (b'{"a": "\xc3("}', "UTF-8 at byte 7"),
        (b'{"a": {"b": 1, "b": 2}}', "'b' twice"),
        (b'{"a": NaN}', "NaN"),
        (rb'{"a\u0000": 1}', r"NUL character in 'a\x00'"),
        (rb'{"a": ["\ud83d"]}', r"half a surrogate pair in '\ud83d'"),
        (b"[]", "must be a JSON object"),
    ],
)
def test_a_refusal_says_where(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        parse(raw)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse(rb'{"a": "\ud83d\ude00"}') == {"a": "😀"}


def test_what_an_agent_says_is_mended() -> None:
    raw = rb'{"a": ["x\u0000y", {"\ud83d": "cut \ud83d"}], "b": "\ud83d\ude00"}'
    assert parse_mended(raw) == {"a": ["x�y", {"�": "cut �"}], "b": "😀"}
