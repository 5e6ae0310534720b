"""How a session is stopped when a budget is used up: its turn is interrupted, then it goes to sleep, and all
that is kept of it stays.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from opensessions import lifecycle
from opensessions.draft import Draft
from opensessions.events import Hibernate, Interrupt, TurnStarted
from opensessions.models import Session, Status
from opensessions.notices import AnyEvent

PATIENCE = timedelta(seconds=45)
"""After so long a sandbox that should be asleep is stopped."""


def begin(draft: Draft, now: datetime) -> None:
    """Tell a live session to stop; any other, and one that was told, stays as it is."""
    session = draft.session
    if not session.live or session.halting_at is not None:
        return
    if session.head.status is Status.RUNNING:
        draft.send(Interrupt())
    due_at = min(session.due_at or now + PATIENCE, now + PATIENCE)
    draft.session = draft.session.model_copy(update={"halting_at": now, "due_at": due_at})
    _sleep(draft)


def go_on(draft: Draft, said: Sequence[AnyEvent]) -> None:
    """Tell a session that is to stop the next step, after its sandbox said something: the turns that wait
    are interrupted as they begin.
    """
    if draft.session.halting_at is None:
        return
    if any(isinstance(event, TurnStarted) for event in said) and draft.session.head.status is Status.RUNNING:
        draft.send(Interrupt())
    _sleep(draft)


def late(session: Session, now: datetime) -> bool:
    """Whether a session should be asleep by now, and is not."""
    return session.live and session.halting_at is not None and now - session.halting_at >= PATIENCE


def _sleep(draft: Draft) -> None:
    session = draft.session
    if session.hibernating is None and lifecycle.may_sleep(session):
        draft.send(Hibernate())
        asked = {"hibernating": draft.session.head.inbox_seq}
        draft.session = draft.session.model_copy(update=asked)
