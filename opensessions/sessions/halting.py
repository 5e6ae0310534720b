"""How a session is stopped when a budget is used up: its turn is interrupted, then it goes to sleep, and all
that is kept of it stays. How one turn of it is, when that takes too long.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from opensessions.events import Hibernate, Interrupt, TurnStarted
from opensessions.models import Session, Status
from opensessions.notices import AnyEvent, LimitReached
from opensessions.sessions import lifecycle
from opensessions.sessions.draft import Draft
from opensessions.sessions.lifecycle import HALT

_TURN = "turn_seconds"


def begin(draft: Draft, now: datetime) -> None:
    """Tell a live session to stop; any other, and one that was told, stays as it is."""
    session = draft.session
    if not session.live or session.halting_at is not None:
        return
    if session.head.status is Status.RUNNING:
        draft.send(Interrupt())
    due_at = min(session.due_at or now + HALT, now + HALT)
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


def interrupt(draft: Draft, now: datetime) -> None:
    """Stop a turn that has taken too long; its session goes on."""
    allowed = draft.session.limits.turn_seconds or 0
    message = f"The turn took longer than the {allowed} s that it may; it is interrupted."
    draft.say(LimitReached(limit="turn_seconds", allowed=allowed, message=message), "warning")
    draft.send(Interrupt())
    told = {**draft.session.told, _TURN: math.ceil(now.timestamp())}
    draft.session = draft.session.model_copy(update={"told": told})


def interrupted_at(session: Session) -> datetime | None:
    """When the running turn was interrupted because it has taken too long."""
    told, begun = session.told.get(_TURN), session.head.turn_at
    return datetime.fromtimestamp(told, UTC) if told and begun and told >= begun.timestamp() else None


def late(session: Session, now: datetime) -> bool:
    """Whether a session should have stopped working by now, and has not."""
    since = session.halting_at or interrupted_at(session)
    return session.live and since is not None and now - since >= HALT


def too_late(session: Session) -> str:
    """Why it is stopped then."""
    why = "A budget is used up" if session.halting_at else "The turn took too long"
    return f"{why}, and {HALT.seconds} s later the sandbox was still at work, so it was stopped."


def _sleep(draft: Draft) -> None:
    session = draft.session
    if session.hibernating is None and lifecycle.may_sleep(session):
        draft.send(Hibernate())
        asked = {"hibernating": draft.session.head.inbox_seq}
        draft.session = draft.session.model_copy(update=asked)
