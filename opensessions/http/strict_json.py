"""JSON objects as this service takes them: one meaning, bounded, and text that every store can hold."""

import json
import math
from collections import Counter
from typing import Any, NoReturn

from opensessions.errors import InvalidRequest

DEPTH = 64
NUMBER_LENGTH = 64
LARGEST_INTEGER = 2**63 - 1

_SURROGATES = ("\ud800", "\udfff")


def parse(raw: bytes) -> dict[str, Any]:
    """The object that `raw` holds.

    Raises InvalidRequest, saying where, for anything that is not one JSON object in UTF-8, and for what
    parsers disagree about or stores choke on: a name twice in one object, NaN and Infinity, integers over 64
    bits, more than 64 levels, NUL and lone surrogates in a text.
    """
    value = _load(raw)
    _walk(value, _refuse_text)
    return value


def parse_mended(raw: bytes) -> dict[str, Any]:
    """Like `parse`, but NUL and lone surrogates become U+FFFD.

    For what an agent says: its tools print binary files and cut texts inside a character, and a sender that
    retries until it is heard must not be refused for it.
    """
    mended = _walk(_load(raw), _mend_text)
    assert isinstance(mended, dict)
    return mended


def _load(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not valid UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"The body is not valid JSON: {error.msg} at {place}.") from None
    except RecursionError:
        _too_deep()
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise InvalidRequest(f"The body names {shown(twice)} twice in one object.")
    return result


def _integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > LARGEST_INTEGER:
        raise InvalidRequest(f"The body holds an integer over 64 bits: {shown(text)}.")
    return int(text)


def _float(text: str) -> float:
    if len(text) > NUMBER_LENGTH or not math.isfinite(float(text)):
        raise InvalidRequest(f"The body holds a number out of range: {shown(text)}.")
    return float(text)


def _constant(text: str) -> NoReturn:
    raise InvalidRequest(f"The body holds {text}, which is not JSON.")


def _too_deep() -> NoReturn:
    raise InvalidRequest(f"The body is nested more than {DEPTH} levels deep.")


def _walk(value: Any, text: Any, depth: int = 1) -> Any:
    """`value` with `text` applied to every name and string."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict | list) and depth > DEPTH:
        _too_deep()
    if isinstance(value, dict):
        return {text(name): _walk(member, text, depth + 1) for name, member in value.items()}
    if isinstance(value, list):
        return [_walk(member, text, depth + 1) for member in value]
    return value


def _refuse_text(text: str) -> str:
    if "\0" in text:
        raise InvalidRequest(f"The body holds a NUL character in {shown(text)}.")
    if not _encodable(text):
        raise InvalidRequest(f"The body holds half a surrogate pair in {shown(text)}.")
    return text


def _mend_text(text: str) -> str:
    if not _encodable(text):
        text = "".join("\ufffd" if _SURROGATES[0] <= char <= _SURROGATES[1] else char for char in text)
    return text.replace("\0", "\ufffd")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(text: str, length: int = 60) -> str:
    """A caller's text for an error message: quoted, ASCII, short."""
    return ascii(text if len(text) <= length else text[: length - 3] + "...")
