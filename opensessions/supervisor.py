"""Starting sandboxes, ending them, and noticing when one is gone, silent or late."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from opensessions import lifecycle
from opensessions.draft import Draft, decided
from opensessions.errors import LaunchFailed, Stale
from opensessions.events import Error, SessionEnded
from opensessions.lifecycle import Deadlines
from opensessions.models import Session, Status
from opensessions.ports import Launch, SandboxRuntime, SessionStore

log = logging.getLogger(__name__)


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
        *,
        clock: Callable[[], datetime],
        wake: Callable[[str], None],
        deadlines: Deadlines,
    ) -> None:
        self._store, self._runtime = store, runtime
        self._clock, self._wake, self._deadlines = clock, wake, deadlines

    def watched(self, session: Session) -> Session:
        """The session with the date of its next look."""
        return session.model_copy(update={"due_at": lifecycle.next_look(session, self._deadlines)})

    def launch(self, session: Session, token: str) -> Session:
        """Start the sandbox of a session that was committed as starting; a refusal puts the session in
        `error`.
        """
        self._wake(session.id)
        try:
            self._runtime.launch(Launch(session.sandbox_id, session.launch, token))
        except LaunchFailed as failure:
            return self._close(session.id, Status.ERROR, Error(message=str(failure), code="launch_failed"))
        return session

    def end(self, session_id: str) -> Session:
        """End a session for good and its sandbox with it; on return nothing of it runs. Again: no change."""
        ended = self._close(session_id, Status.ENDED, SessionEnded(reason="deleted"))
        self._runtime.stop(ended.sandbox_id)
        return ended

    def sandbox_stopped(self, sandbox_id: str, launch: int, reason: str) -> None:
        """A sandbox ended by itself. Late, repeated and foreign reports change nothing."""
        session = self._store.find(sandbox_id)
        if session and session.live and session.launch == launch:
            self._fail(session, reason, "sandbox_stopped")

    def sweep(self, until: datetime | None = None) -> None:
        """Act on deadlines that have passed. An `until` in the far future looks at all live sessions at
        once.
        """
        for session_id in self._store.due(until or self._clock(), limit=100):
            session = self._store.get(session_id)
            if session is None:
                continue
            try:
                self._look(session)
            except Stale:
                log.info("session %s changed under the sweep; it is looked at again", session_id)

    def _look(self, session: Session) -> None:
        now = self._clock()
        if not session.live:
            self._runtime.stop(session.sandbox_id)
            self._store.commit(session, session.model_copy(update={"due_at": None}))
        elif missed := lifecycle.missed(session, self._deadlines, now):
            self._fail(session, missed, "deadline_missed")
        elif not self._runtime.alive(session.sandbox_id):
            self._fail(session, "The sandbox is gone; what ran in it was lost.", "sandbox_lost")
        else:
            later = max(lifecycle.next_look(session, self._deadlines), now + timedelta(seconds=1))
            self._store.commit(session, session.model_copy(update={"due_at": later}))

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
