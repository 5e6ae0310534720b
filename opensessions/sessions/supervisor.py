"""Starting sandboxes, ending them, and noticing when one is gone, silent or late."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from opensessions import traces
from opensessions.access import tokens
from opensessions.errors import LaunchFailed, NoCapacity
from opensessions.events import Error, Hibernate
from opensessions.logbook import about, concerns
from opensessions.models import SandboxStatus, Session, Status
from opensessions.money.metering import Metering
from opensessions.notices import SessionEnded
from opensessions.pool.pooling import Pooling
from opensessions.ports import Later, Launch, SandboxRuntime, SessionStore
from opensessions.sessions import halting, lifecycle, revival
from opensessions.sessions.draft import Draft, decided
from opensessions.sessions.keeping import Keeper, folder
from opensessions.sessions.lifecycle import Deadlines
from opensessions.troubles import apart
from opensessions.webhooks.dispatch import Dispatch

log = logging.getLogger(__name__)

PATIENCE = (5, 15, 30, 60, 60)
"""Seconds to wait for capacity, try by try. After the last one the session is in `error`."""

MOST_LOSSES = 2
"""How many sandboxes in a row a session may lose, no turn getting over in between, and still come back."""


class Supervisor:
    """Keeps what runs and what the store says the same, with the store as the truth.

    A session without a live sandbox is committed first and its sandbox stopped after; a crash between the
    two is mended by the sweep, which looks once more a minute later. `wake` is told the id of each changed
    session.
    """

    def __init__(
        self,
        store: SessionStore,
        runtime: SandboxRuntime,
        keeper: Keeper,
        *,
        clock: Callable[[], datetime],
        wake: Callable[[str], None],
        deadlines: Deadlines,
        later: Later,
        dispatch: Dispatch,
        metering: Metering,
        pool: Pooling,
    ) -> None:
        self._store, self._runtime, self._keeper, self._later = store, runtime, keeper, later
        self._dispatch, self.pool = dispatch, pool
        self._clock, self._wake, self._deadlines, self._metering = clock, wake, deadlines, metering

    def watched(self, session: Session) -> Session:
        """The session with the date of its next look."""
        if session.live:
            return session.model_copy(update={"due_at": lifecycle.next_look(session, self._deadlines)})
        dates = [date for date in (session.due_at, lifecycle.expiry(session)) if date is not None]
        return session.model_copy(update={"due_at": min(dates, default=None)})

    def launch(self, session: Session, token: str) -> Session:
        """Start the sandbox of a session that was committed as starting; a refusal puts the session in
        `error`, at once or, for want of capacity, after the tries of `PATIENCE`.
        """
        concerns(session.id)
        self._wake(session.id)
        try:
            if session.launch > 1:
                self._runtime.stop(session.sandbox_id)  # what may be left of an earlier one
            with traces.span("launch", session.id, traces.trace_of(session)):
                self._runtime.launch(Launch(session.sandbox_id, session.launch, token))
        except NoCapacity as lack:
            return self._lacking(session, str(lack))
        except LaunchFailed as failure:
            return self._refused(session, str(failure))
        return session

    def relaunch(self, sandbox_id: str, launch: int) -> None:
        """Try again what was put off, or stop what should be asleep by now. Late and repeated calls change
        nothing.
        """

        halted = self._store.find(sandbox_id)
        if halted is not None and halted.launch == launch and halted.halting_at is not None:
            if halting.late(halted, self._clock()):
                self._put_down(halted)
            return

        def decide() -> tuple[Session, str] | None:
            before = self._store.find(sandbox_id)
            starting = before is not None and before.head.sandbox_status is SandboxStatus.STARTING
            if before is None or not starting or before.launch != launch:
                return None
            if lifecycle.has_sandbox(before):
                self._metering.ran(before, self._clock())
            token = tokens.worker_token(sandbox_id)
            again = lifecycle.launched(before, tokens.token_hashes(token), self._clock())
            return self._store.commit(before, self.watched(again)), token

        if begun := decided(decide):
            self.launch(*begun)

    def end(self, session_id: str) -> Session:
        """End a session for good and its sandbox with it; on return nothing of it runs. Again: no change."""
        return self._end(session_id, "deleted")

    def _end(self, session_id: str, reason: str) -> Session:
        ended = self._close(session_id, Status.ENDED, SessionEnded(reason=reason))
        self._runtime.stop(ended.sandbox_id)
        self._metering.ran(ended)
        return ended

    def sandbox_stopped(
        self, sandbox_id: str, launch: int, reason: str, *, lacking: bool = False, refused: bool = False
    ) -> None:
        """A sandbox ended by itself: its session comes back from the last archive, or sleeps when nothing was
        to be done. For one that did not begin, `lacking` capacity or `refused`, it is as if its launch had
        been refused so. Late, repeated and foreign reports change nothing.
        """
        session = self._store.find(sandbox_id)
        if session is None and not self.pool.lost(sandbox_id):
            session = self._store.find(sandbox_id)  # which took it meanwhile
        if session:
            concerns(session.id)
        if not session or not session.live or session.launch != launch or session.put_off:
            return
        starting = session.head.sandbox_status is SandboxStatus.STARTING
        if lacking and starting:
            self._lacking(session, reason)
        elif refused and starting:
            self._refused(session, reason)
        else:
            self._lost(session, reason, "sandbox_stopped")

    def purge(self, session_id: str) -> None:
        """End a session and delete all that was ever kept of it. Idempotent; cut short, it can be done
        again.
        """
        with suppress(LookupError):  # somebody else has just purged it
            self._metering.close(self.end(session_id))
        self._keeper.drop(folder(session_id))
        if session := self._store.get(session_id):
            self._dispatch.purge(session)
        self._metering.purge(session_id)
        self._store.purge(session_id)

    def hibernate(self, session: Session) -> Session:
        """Tell the sandbox of a session to make ready for sleep. Raises Stale."""
        draft = Draft(session, self._clock())
        draft.send(Hibernate())
        draft.advance(active_at=self._clock())
        asked = draft.session.model_copy(update={"hibernating": draft.session.head.inbox_seq})
        return self._store.commit(session, self.watched(asked), draft.changes())

    def reap(self) -> list[str]:
        """Stop every running sandbox that no session wants (any more) and that is no spare; their ids."""
        running = self._runtime.running()
        spare = self.pool.ids()  # before the sessions, which take sandboxes from there
        return [id for id in running if id not in spare and self._reaped(id)]

    def _reaped(self, sandbox_id: str) -> bool:
        session = self._store.find(sandbox_id)
        if session is not None and session.live:
            return False
        with about(session.id if session else ""):
            log.warning("sandbox %s runs without a live session; it is stopped", sandbox_id)
            self._runtime.stop(sandbox_id)
        return True

    def waiting(self) -> float:
        """For how many seconds the longest launch under way has taken; 0 when there is none. Looks at those
        alone that are due soonest, so its cost does not grow with the number of sessions.
        """
        now = self._clock()
        soon = self._store.due(now + timedelta(seconds=self._deadlines.start), limit=25)
        looked = [session for session in map(self._store.get, soon) if session]
        starting = [s for s in looked if s.head.sandbox_status is SandboxStatus.STARTING]
        return max(((now - session.launched_at).total_seconds() for session in starting), default=0.0)

    def sweep(self, until: datetime | None = None) -> None:
        """Act on ends of sandboxes whose report got lost, and on deadlines that have passed. An `until` in
        the far future looks at all live sessions at once.
        """
        with apart("what ended lately"):
            for end in self._runtime.ended():
                with apart(end.sandbox_id):
                    why = {"lacking": end.lacking, "refused": end.refused}
                    self.sandbox_stopped(end.sandbox_id, end.number, end.reason, **why)
        with apart("the pool"):
            self.pool.sweep()
        with apart("what is to be delivered"):
            self._dispatch.sweep()
        for session_id in self._store.due(until or self._clock(), limit=100):
            with apart(f"session {session_id}"):
                if session := self._store.get(session_id):
                    self._look(session)

    def _look(self, session: Session) -> None:
        concerns(session.id)
        now, expiry = self._clock(), lifecycle.expiry(session)
        if expiry is not None and expiry <= now:
            self._end(session.id, "lifetime")
        elif not session.live:
            self._look_back(session, now)
        elif halting.late(session, now):
            self._put_down(session)
        elif missed := lifecycle.missed(session, self._deadlines, now):
            self._lost(session, missed, "deadline_missed")
        elif not session.tokens:  # it is wanted, and whoever was to launch it has not
            self._look_again(session, now)
            self._runtime.stop(session.sandbox_id)  # what is left of the one before
            self._later(session.sandbox_id, session.launch, 0)
        elif not session.put_off and not self._runtime.alive(session.sandbox_id):
            self._lost(session, "The sandbox is gone.", "sandbox_lost")
        elif lifecycle.overtime(session, now):
            self._overtime(session, now)
        elif lifecycle.idle(session, self._deadlines, now):
            self.hibernate(session)
            self._wake(session.id)
        elif lifecycle.overslept(session, self._deadlines, now):
            self._look_again(session.model_copy(update={"hibernating": None}), now, before=session)
        else:
            self._look_again(session, now)

    def _look_again(self, session: Session, now: datetime, before: Session | None = None) -> None:
        self._metering.give_up_lost(session)
        self._dispatch.behind(session)
        later = max(lifecycle.next_look(session, self._deadlines), now + timedelta(seconds=1))
        self._store.commit(before or session, session.model_copy(update={"due_at": later}))

    def _look_back(self, session: Session, now: datetime) -> None:
        """See that of a session without a sandbox only what it keeps is left; in the end, not even that."""
        self._runtime.stop(session.sandbox_id)
        self._metering.ran(session)
        end = lifecycle.forgotten_at(session, self._deadlines) or lifecycle.expiry(session)
        if end is not None and end <= now:
            self.purge(session.id)
            return
        left = self._keeper.unkept(session)
        if self._store.get(session.id) != session:  # it was woken, and some of that may be new
            return
        self._keeper.let_go(session.id, left)
        if not self._metering.give_up_lost(session):
            end = now + timedelta(seconds=60)
        if self._dispatch.behind(session):
            end = now + timedelta(seconds=60)
        self._store.commit(session, session.model_copy(update={"due_at": end}))

    def _overtime(self, session: Session, now: datetime) -> None:
        """Interrupt a turn that has taken too long, once; one that goes on all the same ends with its
        sandbox.
        """
        if halting.interrupted_at(session) is not None:
            self._look_again(session, now)
            return
        draft = Draft(session, now)
        halting.interrupt(draft, now)
        self._store.commit(session, self.watched(draft.session), draft.changes())
        self._wake(session.id)

    def _put_down(self, session: Session) -> None:
        """Send a session to sleep whose sandbox would not: what its running turn did is lost."""
        self._lost(session, halting.too_late(session), "halted", resting=True)

    def _unanswered(self, session: Session) -> list[revival.Ask]:
        since = max(session.head.answered_seq, session.assign_seq - 1)
        return revival.unanswered(self._store.inbox(session.sandbox_id, since, 200))

    def _lost(self, session: Session, reason: str, code: str, resting: bool = False) -> None:
        log.warning("session %s lost its sandbox: %s", session.id, reason)
        if lifecycle.has_sandbox(session):
            self._metering.ran(session, lifecycle.gone_by(session, self._deadlines, self._clock()))

        def decide() -> Session | None:
            now = self._store.get(session.id)
            if now is None or not now.live or now.launch != session.launch:
                return None
            asks = [] if resting else self._unanswered(now)
            draft = revival.lost(now, asks, reason, self._clock())
            after = self.watched(draft.session) if draft.session.live else draft.session
            return self._store.commit(now, after, draft.changes())

        resting = resting or session.halting_at is not None
        if session.losses >= MOST_LOSSES and not resting:
            self._fail(session, f"{reason} It was lost {MOST_LOSSES + 1} times in a row.", code)
            return
        if (saved := decided(decide)) is None:  # another report of it was first
            return
        self._runtime.stop(session.sandbox_id)
        self._wake(session.id)
        if saved.live:
            self._later(saved.sandbox_id, saved.launch, 0)

    def _refused(self, session: Session, reason: str) -> Session:
        last = Error(message=reason, code="launch_failed")
        return self._close(session.id, Status.ERROR, last, launch=session.launch)

    def _lacking(self, session: Session, reason: str) -> Session:
        """Put the launch off, as long as there is patience."""
        if len(session.lacked) == len(PATIENCE):
            return self._refused(session, reason)
        seconds = PATIENCE[len(session.lacked)]
        self._later(session.sandbox_id, session.launch, seconds)

        def decide() -> Session:
            now = self._store.get(session.id) or session
            if not now.live or now.launch != session.launch or now.put_off:
                return now
            draft = Draft(now.model_copy(update={"lacked": (*now.lacked, now.launch)}), self._clock())
            message = f"{reason} It is tried again in {seconds} s."
            draft.say(Error(message=message, code="no_capacity"), "warning")
            return self._store.commit(now, draft.session, draft.changes())

        waiting = decided(decide)
        self._wake(session.id)
        return waiting

    def _fail(self, session: Session, reason: str, code: str) -> None:
        log.warning("session %s failed: %s", session.id, reason)
        hint = f"{reason} Send a message to start it again."
        self._close(session.id, Status.ERROR, Error(message=hint, code=code), launch=session.launch)
        self._runtime.stop(session.sandbox_id)

    def _close(
        self, session_id: str, status: Status, last: Error | SessionEnded, launch: int | None = None
    ) -> Session:
        """Commit a session as without sandbox, once: not when it is there already or another launch runs."""

        def decide() -> Session:
            session = self._store.get(session_id)
            if session is None:
                raise LookupError(session_id)
            other = launch is not None and (session.launch != launch or not session.live)
            if session.head.status is Status.ENDED or other:
                return session
            now = self._clock()
            draft = Draft(lifecycle.stopped(session, status, now), now)
            draft.say(last, "error" if isinstance(last, Error) else "info")
            return self._store.commit(session, draft.session, draft.changes())

        closed = decided(decide)
        self._wake(session_id)
        return closed
