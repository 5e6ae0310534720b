"""Sessions and what belongs to them, for the contract suite."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from opensessions.models import (
    Changes,
    Event,
    Head,
    Message,
    SandboxStatus,
    Session,
    Status,
    Version,
    timestamp,
)
from opensessions.ports import SessionStore

START = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
_numbers = itertools.count(1)


class Clock:
    """Stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


def new(**fields: Any) -> Session:
    """A session that is not stored yet, unlike every other."""
    number = next(_numbers)
    defaults = {
        "id": f"session_{number:032x}",
        "account": "acme",
        "user_id": "user-1",
        "sandbox_id": f"sb-{number:032x}",
        "title": "Build a todo app",
        "launched_at": START,
        "created_at": START,
        "head": Head(updated_at=START),
    }
    return Session(**{**defaults, **fields})


def create(store: SessionStore, max_live: int | None = None, **fields: Any) -> Session:
    return store.commit(None, new(**fields), max_live=max_live)


def with_head(session: Session, **fields: Any) -> Session:
    return session.model_copy(update={"head": session.head.model_copy(update=fields)})


def event(seq: int, **payload: Any) -> Event:
    return Event(seq, f"evt_{seq:032x}", "assistant", "info", timestamp(START), {"n": seq, **payload})


def events(session: Session, count: int, **payload: Any) -> tuple[Event, ...]:
    """The next ones."""
    first = session.head.last_seq + 1
    return tuple(event(seq, **payload) for seq in range(first, first + count))


def append(store: SessionStore, session: Session, count: int = 1, **payload: Any) -> Session:
    batch = events(session, count, **payload)
    after = with_head(session, last_seq=batch[-1].seq, agent_seq=session.head.agent_seq + count)
    return store.commit(session, after, Changes(events=batch))


def say(store: SessionStore, session: Session, *contents: str) -> Session:
    said = tuple(
        Message(id=f"msg_{next(_numbers):032x}", role="user", content=content, created_at=START)
        for content in contents
    )
    return store.commit(session, session, Changes(messages=said))


def version(number: int, **fields: Any) -> Version:
    return Version(**{"number": number, "title": "Blue", "commit": "ab" * 20, "created_at": START, **fields})


def save_version(store: SessionStore, session: Session, **fields: Any) -> Session:
    """The next one."""
    number = session.versions + 1
    after = session.model_copy(update={"version": number, "versions": number})
    return store.commit(session, after, Changes(versions=(version(number, **fields),)))


def end(store: SessionStore, session: Session) -> Session:
    after = with_head(session, status=Status.ENDED, sandbox_status=SandboxStatus.STOPPED)
    return store.commit(session, after)


def seqs(found: list[Event]) -> list[int]:
    return [event.seq for event in found]
