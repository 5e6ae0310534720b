"""How sessions, events, calls and cursors are spelled in a store: JSON, the same in every store.

ASCII JSON, because it alone carries every string that Python can hold (lone surrogates too).
"""

import base64
import hashlib
import json
import re
import zlib
from typing import Any

from pydantic import BaseModel, TypeAdapter

from opensessions.errors import InvalidRequest, TooLarge
from opensessions.models import Event, Session, timestamp
from opensessions.money.ledger import Amounts, Call

LARGEST = 350_000
"""Bytes that one event, message, inbox item or configuration may take, compressed."""


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def text(model: BaseModel) -> str:
    return dumps(model.model_dump(mode="json"))


def meta_text(session: Session) -> str:
    """All of a session but its head."""
    return dumps(session.model_dump(mode="json", exclude={"head"}))


def session(meta: str, head: dict[str, Any]) -> Session:
    return Session.model_validate({**json.loads(meta), "head": head})


def event_fields(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "id": event.id,
        "type": event.type,
        "level": event.level,
        "created_at": event.created_at,
        "payload": dict(event.payload),
    }


def event(fields: dict[str, Any]) -> Event:
    return Event(**fields)


_calls = TypeAdapter(Call)


def call_text(call: Call) -> str:
    return dumps(_calls.dump_python(call, mode="json", exclude_defaults=True))


def call(text: str) -> Call:
    return _calls.validate_python(json.loads(text))


def amounts_text(amounts: Amounts) -> str:
    """What is zero is left out."""
    return dumps(amounts.model_dump(exclude_defaults=True))


def pack(plain: str) -> bytes:
    """Compressed, for stores that bill by the byte."""
    return zlib.compress(plain.encode())


def unpack(data: bytes) -> str:
    return zlib.decompress(data).decode()


def fitting(plain: str, what: str) -> str:
    """The text itself. Raises TooLarge when it is over `LARGEST` compressed; cheap for what is small."""
    if len(plain) > LARGEST:
        refuse_over(len(pack(plain)), what)
    return plain


def refuse_over(size: int, what: str) -> None:
    if size > LARGEST:
        raise TooLarge(f"{what} takes {size:,} bytes compressed; at most {LARGEST:,} can be stored.")


# ---- cursors: where a listing goes on, and a tag of the listing it belongs to ----

_POSITION = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)#([A-Za-z0-9_-]{1,100})#([0-9a-f]{16})")


def position(session: Session) -> str:
    """The sort key of listings: by time of creation, then by id."""
    return f"{timestamp(session.created_at)}#{session.id}"


def cursor(account: str, user_id: str | None, position: str) -> str:
    """Opaque and safe in a URL."""
    marked = f"{position}#{_tag(account, user_id, position)}"
    return base64.urlsafe_b64encode(marked.encode()).decode().rstrip("=")


def cursor_position(account: str, user_id: str | None, cursor: str) -> tuple[str, str]:
    """The time and the id that a cursor names. Raises InvalidRequest for one that is broken or was made for
    another listing.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        marked = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        marked = ""
    found = _POSITION.fullmatch(marked)
    if not found or found[3] != _tag(account, user_id, f"{found[1]}#{found[2]}"):
        raise InvalidRequest("cursor is not one that this listing gave: start again without it", "cursor")
    return found[1], found[2]


def _tag(account: str, user_id: str | None, position: str) -> str:
    return hashlib.sha256(dumps([account, user_id, position]).encode()).hexdigest()[:16]
