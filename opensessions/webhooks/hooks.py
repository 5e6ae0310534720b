"""Webhooks: who is told of which events, how far each has been told, and what could not be told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pydantic import Field

from opensessions.models import Model, Subscription, Timestamp

LETTER_DAYS = 30
"""For how long what could not be delivered is kept."""


class Hook(Model):
    """A webhook: of an account's sessions, or of one (`session_id`). It is told of `events`, types or "*", at
    `url`, signed with `secret`. `off` says why it is told nothing any more.
    """

    id: str
    account: str
    session_id: str | None = None
    url: str
    events: tuple[str, ...] = ("*",)
    secret: str = Field(repr=False)
    off: str | None = None
    created_at: Timestamp

    @property
    def subscription(self) -> Subscription:
        return Subscription(hook_id=self.id, events=self.events)


class Cursor(Model):
    """How far a webhook has been told of a session: all events up to `seq` are done with. `attempts` is how
    often the next one has failed, `due_at` when it is tried again; `failing_since` is when the first of an
    unbroken row of failures was. Whoever delivers just now is the `holder`, until `held_until`.
    """

    session_id: str
    hook_id: str
    seq: int = 0
    attempts: int = 0
    due_at: Timestamp | None = None
    failing_since: Timestamp | None = None
    holder: str | None = None
    held_until: Timestamp | None = None


class Letter(Model):
    """An event that could not be delivered: its last failure, in words, was the `attempts`th."""

    hook_id: str
    session_id: str
    seq: int
    event_type: str
    attempts: int
    error: str
    died_at: Timestamp


@dataclass(frozen=True, slots=True)
class Errand:
    """Something to deliver: what is new of a session, or (`seq`) a dead letter of it, once."""

    hook_id: str
    session_id: str
    seq: int | None = None


Send = Callable[[Errand, int], None]
"""`send(errand, seconds)`: see that it is run, so many seconds from now. One that gets lost is made good for
by the sweep; one that comes twice, or late, does no harm."""


class Hooks(Protocol):
    """Webhooks and all that belongs to them. Durable, and safe to call from many threads."""

    def put(self, hook: Hook) -> None:
        """Keep a new webhook."""
        ...

    def get(self, hook_id: str) -> Hook | None:
        """One webhook."""
        ...

    def of_account(self, account: str) -> Sequence[Hook]:
        """The webhooks of an account, oldest first, without those of one session."""
        ...

    def subscriptions(self, account: str) -> Sequence[Subscription]:
        """What those of `of_account` are told of, in the same order, by one read."""
        ...

    def switch_off(self, hook_id: str, reason: str) -> None:
        """Tell a webhook nothing any more; the first reason stays. No change for one that is gone."""
        ...

    def drop(self, hook_id: str) -> None:
        """Delete a webhook and its dead letters. Idempotent."""
        ...

    def claim(
        self, session_id: str, hook_id: str, holder: str, now: datetime, until: datetime
    ) -> Cursor | None:
        """Be the one who delivers, until then: the cursor, a new one if there was none. None when somebody
        else is, or when the next try is not due yet.
        """
        ...

    def save(self, cursor: Cursor, holder: str) -> None:
        """Write a cursor that `holder` holds; one without a holder sets it free. Raises Stale when it is held
        by somebody else, or is gone.
        """
        ...

    def cursors(self, session_id: str) -> Sequence[Cursor]:
        """The cursors of a session, in any order."""
        ...

    def forget(self, session_id: str, hook_id: str) -> None:
        """Delete a cursor. Idempotent."""
        ...

    def due(self, now: datetime, limit: int) -> Sequence[tuple[str, str]]:
        """Pairs of session and webhook whose `due_at` has passed, most overdue first; some may be held."""
        ...

    def bury(self, letter: Letter) -> None:
        """Keep a dead letter for `LETTER_DAYS`, in place of an earlier one of the same event."""
        ...

    def letters(
        self, hook_id: str, after: tuple[str, int], limit: int, session_id: str | None = None
    ) -> Sequence[Letter]:
        """At most `limit` dead letters of a webhook, of one session or of all, by session and `seq`, those
        alone that come after the session and `seq` of `after`.
        """
        ...

    def unbury(self, hook_id: str, session_id: str, seq: int) -> None:
        """Delete a dead letter. Idempotent."""
        ...

    def purge(self, session_id: str, subscriptions: Sequence[Subscription]) -> None:
        """Delete what there is of a session: its cursors, its dead letters, the webhooks of its own among
        these. Idempotent.
        """
        ...
