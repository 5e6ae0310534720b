"""How a session changes: pure functions from one state to the next.

    running ──turn over──> ready ──message──> running
       │                     │
       └──────failure────────┴──> error ──message──> running        every state ──DELETE──> ended

The sandbox comes and goes below that: starting → running → (unused for a while) hibernated → starting …;
one that is lost comes back (`comeback`) or, where nothing is to be done, sleeps. Each of its states has a
deadline (`Deadlines`); `missed` tells which one has passed, as a sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from opensessions.errors import Conflict
from opensessions.events import Error, Restored, Result, TurnComplete
from opensessions.models import SandboxStatus, Session, Status
from opensessions.notices import AnyEvent

_NEXT = {
    Status.RUNNING: {Status.RUNNING, Status.READY, Status.ERROR, Status.ENDED},
    Status.READY: {Status.RUNNING, Status.READY, Status.ERROR, Status.ENDED},
    Status.ERROR: {Status.RUNNING, Status.ERROR, Status.ENDED},
    Status.ENDED: {Status.ENDED},
}
_ARTIFACTS = 100

HALT = timedelta(seconds=45)
"""After so long a sandbox that was told to stop working is stopped."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """In seconds. `start`: from launch to the sandbox's first word. `silence`: between two signs of life.
    `lifetime`: of one launch, whatever it says. `hibernation`: from the word to the archive. `retention`: of
    a session that has ended (None: it is kept)."""

    start: int = 120
    silence: int = 75
    lifetime: int = 8 * 3600
    hibernation: int = 900
    retention: int | None = None


def move(session: Session, status: Status, sandbox: SandboxStatus | None = None) -> Session:
    """The session in another status. Raises Conflict when the way there is not legal."""
    if status not in _NEXT[session.head.status]:
        raise Conflict(f"The session is {session.head.status}; it cannot become {status}.")
    head = {"status": status} | ({"sandbox_status": sandbox} if sandbox else {})
    return session.model_copy(update={"head": session.head.model_copy(update=head)})


def launched(session: Session, hashes: dict[str, str], now: datetime) -> Session:
    """The session with a sandbox about to be launched anew, which numbers its events from 1. Without hashes
    it is wanted, but on nobody's way yet.
    """
    fresh = {
        "sandbox_status": SandboxStatus.STARTING,
        "agent_seq": 0,
        "heard_at": None,
        "active_at": now,
        "turn_at": None,
        "updated_at": now,
    }
    return session.model_copy(
        update={
            "launch": session.launch + 1,
            "launched_at": now,
            "tokens": hashes,
            "address": None,
            "hibernating": None,
            "halting_at": None,
            "ran_until": None,
            "pooled": False,
            "head": session.head.model_copy(update=fresh),
        }
    )


def begun(session: Session) -> Session:
    """The session whose next sandbox begins with the next inbox item, and owes no answer to any before."""
    head = session.head.model_copy(update={"answered_seq": session.head.inbox_seq})
    begins = {"assign_seq": session.head.inbox_seq + 1, "lacked": (), "head": head}
    return session.model_copy(update=begins)


def heard(session: Session, said: Sequence[AnyEvent], now: datetime) -> Session:
    """The session after its sandbox said these things. What a sandbox says moves its own session alone."""
    head = session.head.model_copy(
        update={"heard_at": now, "updated_at": now, "sandbox_status": SandboxStatus.RUNNING}
    )
    session = turn_begun(session.model_copy(update={"head": head}), now)
    for event in said:
        if isinstance(event, TurnComplete):
            session = _turn_over(session, event, now)
        elif isinstance(event, Restored):
            at = event.version if event.version <= session.versions else session.version
            back = session.model_copy(update={"version": at})
            session = _answered(back, event.inbox_seq, Status.READY, now)
        elif isinstance(event, Error) and event.code == "hibernate_failed":
            session = session.model_copy(update={"hibernating": None})
    return session


def turn_begun(session: Session, now: datetime) -> Session:
    """The session whose running turn, if its clock does not run yet, began now: its sandbox is there."""
    there = session.head.sandbox_status is SandboxStatus.RUNNING and session.head.status is Status.RUNNING
    if not there or session.head.turn_at is not None:
        return session
    head = session.head.model_copy(update={"turn_at": now})
    session = session.model_copy(update={"head": head})
    end = _turn_end(session)
    return session if end is None else session.model_copy(update={"due_at": min(session.due_at or end, end)})


def closes_turn(session: Session, seq: int) -> bool:
    """Whether the answer to inbox item `seq` ends a turn that was not over before."""
    return session.head.answered_seq < min(seq, session.head.inbox_seq)


def _turn_over(session: Session, turn: TurnComplete, now: datetime) -> Session:
    merged = {item.path: item for item in (*session.artifacts, *turn.artifacts)}
    session = session.model_copy(
        update={
            "turns": session.turns + closes_turn(session, turn.inbox_seq),
            "framework": turn.framework or session.framework,
            "artifacts": tuple(merged.values())[-_ARTIFACTS:],
        }
    )
    return _answered(session, turn.inbox_seq, Status.ERROR if turn.reason == "error" else Status.READY, now)


def _answered(session: Session, seq: int, over: Status, now: datetime) -> Session:
    """The session after the turn that inbox item `seq` asked for."""
    known = min(seq, session.head.inbox_seq)
    answered: dict[str, object] = {"answered_seq": max(session.head.answered_seq, known), "active_at": now}
    if closes_turn(session, seq):
        answered["turn_at"] = None
    head = session.head.model_copy(update=answered)
    session = session.model_copy(update={"losses": 0, "head": head})
    last = seq >= session.head.asked_seq
    over_now = move(session, over) if last and session.head.status is Status.RUNNING else session
    return turn_begun(over_now, now)


def final_text(event: AnyEvent) -> str | None:
    """The words with which the agent closed a turn, if this event holds them."""
    if isinstance(event, Result) and not event.is_error and event.result:
        return event.result
    return None


def stopped(session: Session, status: Status, now: datetime, recheck_seconds: int = 60) -> Session:
    """The session without its sandbox: its tokens are dead; the sweep looks once more that nothing runs."""
    return _without_sandbox(session, move(session, status, SandboxStatus.STOPPED), now, recheck_seconds)


def asleep(session: Session, now: datetime) -> Session:
    """The session without its sandbox, to be woken when somebody wants it."""
    status = Status.ERROR if session.head.status is Status.ERROR else Status.READY
    return _without_sandbox(session, move(session, status, SandboxStatus.HIBERNATED), now, 60)


def has_sandbox(session: Session) -> bool:
    """Whether the present launch of a live session was begun: it was not only wanted, and there was room."""
    return session.live and bool(session.tokens) and session.launch not in session.lacked


def gone_by(session: Session, deadlines: Deadlines, now: datetime) -> datetime:
    """When a sandbox that is found to be gone was gone at the latest: nobody may have looked for long."""
    silence = timedelta(seconds=deadlines.silence)
    seen = session.head.heard_at or session.launched_at + timedelta(seconds=deadlines.start)
    return min(now, seen + silence)


def _without_sandbox(before: Session, after: Session, now: datetime, recheck_seconds: int) -> Session:
    head = after.head.model_copy(update={"updated_at": now, "turn_at": None})
    gone = {"head": head, "tokens": {}, "hibernating": None, "halting_at": None}
    due = now + timedelta(seconds=recheck_seconds)
    until = now if has_sandbox(before) else before.ran_until
    return after.model_copy(update={**gone, "ran_until": until, "due_at": due})


def idle(session: Session, deadlines: Deadlines, now: datetime) -> bool:
    """Whether a session is to sleep: nothing runs, and nobody has used it for as long as its limit says. Near
    the end of its sandbox's lifetime it sleeps in any case, so that the next use gets a new one.
    """
    allowed = session.limits.idle_seconds
    if session.hibernating is not None or not may_sleep(session):
        return False
    if now > _bedtime(session, deadlines):
        return True
    return allowed is not None and now - _used(session) > timedelta(seconds=allowed)


def _bedtime(session: Session, deadlines: Deadlines) -> datetime:
    left = min(deadlines.hibernation, deadlines.lifetime // 10)
    return session.launched_at + timedelta(seconds=deadlines.lifetime - left)


def may_sleep(session: Session) -> bool:
    """Whether the sandbox runs and its agent has nothing to do."""
    runs = session.head.sandbox_status is SandboxStatus.RUNNING
    return runs and session.head.status in (Status.READY, Status.ERROR)


def _used(session: Session) -> datetime:
    return session.head.active_at or session.launched_at


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


def expiry(session: Session) -> datetime | None:
    """When a session ends for good, if it does not before. None: never, or it has."""
    if session.limits.lifetime_seconds is None or session.head.status is Status.ENDED:
        return None
    return session.created_at + timedelta(seconds=session.limits.lifetime_seconds)


def overtime(session: Session, now: datetime) -> bool:
    """Whether the running turn has taken longer than it may."""
    end = _turn_end(session)
    return end is not None and now > end


def _turn_end(session: Session) -> datetime | None:
    allowed, begun = session.limits.turn_seconds, session.head.turn_at
    runs = session.live and session.head.status is Status.RUNNING
    return begun + timedelta(seconds=allowed) if runs and allowed is not None and begun else None


def next_look(session: Session, deadlines: Deadlines) -> datetime:
    """When the nearest deadline of a live session passes."""
    end = session.launched_at + timedelta(seconds=deadlines.lifetime)
    end = min(end, expiry(session) or end, _turn_end(session) or end)
    if session.halting_at is not None:
        end = min(end, session.halting_at + HALT)
    if may_sleep(session):
        end = min(end, _bedtime(session, deadlines))
    if may_sleep(session) and session.limits.idle_seconds is not None:
        end = min(end, _used(session) + timedelta(seconds=session.limits.idle_seconds))
    if session.head.sandbox_status is SandboxStatus.STARTING:
        # A sandbox that starts and falls silent is to be noticed as soon as any other.
        return min(end, session.launched_at + timedelta(seconds=min(deadlines.start, deadlines.silence)))
    return min(end, (session.head.heard_at or session.launched_at) + timedelta(seconds=deadlines.silence))


def overslept(session: Session, deadlines: Deadlines, now: datetime) -> bool:
    """Whether the sandbox was told to make ready for sleep so long ago that it will not."""
    return session.hibernating is not None and now - _used(session) > timedelta(seconds=deadlines.hibernation)


def forgotten_at(session: Session, deadlines: Deadlines) -> datetime | None:
    """When all of an ended session is deleted; None: it is kept."""
    if session.head.status is not Status.ENDED or deadlines.retention is None:
        return None
    return session.head.updated_at + timedelta(seconds=deadlines.retention)
