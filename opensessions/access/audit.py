"""The record of who did what in an account. It holds nothing of what was said or made."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from opensessions import codec
from opensessions.models import Model, Timestamp, timestamp

KEPT = timedelta(days=365)
_LISTING = "audit"


class Actor(Model):
    """Who: an API key (`id`, `name`), a session's token (its `scope` and `session_id`), or the operator at
    the command line.
    """

    kind: Literal["key", "token", "operator"]
    id: str | None = None
    name: str | None = None
    scope: str | None = None
    session_id: str | None = None


OPERATOR = Actor(kind="operator")


class Entry(Model):
    """`action` is an operation of the API by its name there, `target` the id of what it was done to,
    `user_id` the user who was named, `ip` where the request came from and `result` the HTTP status of its
    answer. `id` tells entries of one moment apart.
    """

    id: str
    at: Timestamp
    account: str
    by: Actor
    action: str
    target: str | None = None
    user_id: str | None = None
    ip: str | None = None
    result: int

    @property
    def position(self) -> str:
        """Where it stands among those of its account, in the order of time."""
        return f"{timestamp(self.at)}#{self.id}"


@dataclass(frozen=True, slots=True)
class Record:
    """Some entries, newest first, and where the next ones begin; None: there are no more."""

    entries: Sequence[Entry]
    cursor: str | None


class Audit(Protocol):
    """Entries of all accounts, each kept for `KEPT`: added, never changed, not deleted when a session is.
    Durable, and safe to call from many threads.
    """

    def add(self, entry: Entry) -> None:
        """Keep an entry. One with the same account, `at` and `id` again: no change."""
        ...

    def page(self, account: str, since: datetime, until: datetime, limit: int, cursor: str | None) -> Record:
        """At most `limit` entries with `since` <= `at` < `until`, newest first. Raises InvalidRequest for a
        cursor that is not one of ours.
        """
        ...


def position_of(account: str, cursor: str) -> str:
    """The position that a cursor leads on from. Raises InvalidRequest."""
    return "#".join(codec.cursor_position(account, _LISTING, cursor))


def recorded(account: str, found: Sequence[Entry], limit: int) -> Record:
    """At most `limit` of what was found, newest first; what is beyond tells whether there is more."""
    entries = found[:limit]
    more = len(found) > limit
    return Record(entries, codec.cursor(account, _LISTING, entries[-1].position) if more else None)
