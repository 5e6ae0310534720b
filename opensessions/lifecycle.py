"""How a session changes: pure functions from one state to the next.

    running ──turn over──> ready ──message──> running
       │                     │
       └──────failure────────┴──> error ──message──> running        every state ──DELETE──> ended

Each state of the sandbox has a deadline (`Deadlines`); `missed` tells which one has passed, as a sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from opensessions.errors import Conflict
from opensessions.events import Result, TurnComplete
from opensessions.models import SandboxStatus, Session, Status
from opensessions.notices import AnyEvent

_NEXT = {
    Status.RUNNING: {Status.RUNNING, Status.READY, Status.ERROR, Status.ENDED},
    Status.READY: {Status.RUNNING, Status.READY, Status.ERROR, Status.ENDED},
    Status.ERROR: {Status.RUNNING, Status.ERROR, Status.ENDED},
    Status.ENDED: {Status.ENDED},
}
_ARTIFACTS = 100


@dataclass(frozen=True, slots=True)
class Deadlines:
    """In seconds. `start`: from launch to the sandbox's first word. `silence`: between two signs of life.
    `lifetime`: of one launch, whatever it says."""

    start: int = 120
    silence: int = 75
    lifetime: int = 8 * 3600


def move(session: Session, status: Status, sandbox: SandboxStatus | None = None) -> Session:
    """The session in another status. Raises Conflict when the way there is not legal."""
    if status not in _NEXT[session.head.status]:
        raise Conflict(f"The session is {session.head.status}; it cannot become {status}.")
    head = {"status": status} | ({"sandbox_status": sandbox} if sandbox else {})
    return session.model_copy(update={"head": session.head.model_copy(update=head)})


def launched(session: Session, hashes: dict[str, str], now: datetime) -> Session:
    """The session with a sandbox about to be launched anew, which numbers its events from 1."""
    fresh = {"sandbox_status": SandboxStatus.STARTING, "agent_seq": 0, "heard_at": None, "updated_at": now}
    return session.model_copy(
        update={
            "launch": session.launch + 1,
            "launched_at": now,
            "tokens": hashes,
            "address": None,
            "head": session.head.model_copy(update=fresh),
        }
    )


def heard(session: Session, said: Sequence[AnyEvent], now: datetime) -> Session:
    """The session after its sandbox said these things. What a sandbox says moves its own session alone."""
    head = session.head.model_copy(
        update={"heard_at": now, "updated_at": now, "sandbox_status": SandboxStatus.RUNNING}
    )
    session = session.model_copy(update={"head": head})
    for event in said:
        if isinstance(event, TurnComplete):
            session = _turn_over(session, event)
    return session


def _turn_over(session: Session, turn: TurnComplete) -> Session:
    last = turn.inbox_seq >= session.head.asked_seq
    over = Status.ERROR if turn.reason == "error" else Status.READY
    merged = {item.path: item for item in (*session.artifacts, *turn.artifacts)}
    session = session.model_copy(
        update={
            "framework": turn.framework or session.framework,
            "artifacts": tuple(merged.values())[-_ARTIFACTS:],
        }
    )
    return move(session, over) if last and session.head.status is Status.RUNNING else session


def final_text(event: AnyEvent) -> str | None:
    """The words with which the agent closed a turn, if this event holds them."""
    if isinstance(event, Result) and not event.is_error and event.result:
        return event.result
    return None


def stopped(session: Session, status: Status, now: datetime, recheck_seconds: int = 60) -> Session:
    """The session without its sandbox: its tokens are dead; the sweep looks once more that nothing runs."""
    session = move(session, status, SandboxStatus.STOPPED)
    head = session.head.model_copy(update={"updated_at": now})
    due = now + timedelta(seconds=recheck_seconds)
    return session.model_copy(update={"head": head, "tokens": {}, "due_at": due})


def missed(session: Session, deadlines: Deadlines, now: datetime) -> str | None:
    """Which deadline a live session has missed, in words; None when it is in time."""
    head, age = session.head, (now - session.launched_at).total_seconds()
    if age > deadlines.lifetime:
        return f"The sandbox reached its lifetime of {deadlines.lifetime} s and was stopped."
    if head.sandbox_status is SandboxStatus.STARTING:
        late = age > deadlines.start
        return f"The sandbox did not start within {deadlines.start} s." if late else None
    silent = (now - (head.heard_at or session.launched_at)).total_seconds()
    if silent > deadlines.silence:
        return f"The sandbox gave no sign of life for {deadlines.silence} s and was stopped."
    return None


def next_look(session: Session, deadlines: Deadlines) -> datetime:
    """When the nearest deadline of a live session passes."""
    end = session.launched_at + timedelta(seconds=deadlines.lifetime)
    if session.head.sandbox_status is SandboxStatus.STARTING:
        # A sandbox that starts and falls silent is to be noticed as soon as any other.
        return min(end, session.launched_at + timedelta(seconds=min(deadlines.start, deadlines.silence)))
    return min(end, (session.head.heard_at or session.launched_at) + timedelta(seconds=deadlines.silence))
