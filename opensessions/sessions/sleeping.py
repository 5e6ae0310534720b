"""How a session falls asleep and is woken by a visitor: what the gateway reports of archives and of use."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from opensessions.access.bearers import bearer
from opensessions.archives import Archived, Kept, Turn
from opensessions.errors import Conflict, Unauthorized
from opensessions.models import SandboxStatus, Session, Status, TemplateStatus, Version
from opensessions.money.metering import Metering
from opensessions.notices import Hibernated, VersionSaved, Woken
from opensessions.ports import Later, SessionStore
from opensessions.sessions import lifecycle, revival, titles
from opensessions.sessions.draft import Draft, decided
from opensessions.sessions.keeping import Keeper, kept
from opensessions.sessions.templates import copied
from opensessions.sessions.turns import turn_of

_USE = timedelta(seconds=30)
"""How much of a session's use may go unrecorded, so that a busy preview costs a write now and then alone."""


class Sleeping:
    """Thread-safe and blocking. `later` has the sandbox of a woken session launched, `max_live` is the
    account's quota of live sessions.
    """

    def __init__(
        self,
        store: SessionStore,
        keeper: Keeper,
        *,
        clock: Callable[[], datetime],
        wake: Callable[[str], None],
        later: Later,
        max_live: int | None,
        metering: Metering,
    ) -> None:
        self._store, self._keeper, self._clock, self.metering = store, keeper, clock, metering
        self._wake, self._later, self._max_live = wake, later, max_live

    def identify(self, token: str, kind: str) -> Session | None:
        """The live session whose sandbox holds this token, of this kind: "worker", "model" or "egress"."""
        return bearer(self._store, token, kind)

    def archived(self, token: str, archive_id: str, archived: Archived) -> Kept:
        """Keep an archive whose parts are all there; after a turn it is a version, and the one that was asked
        for at bedtime ends the sandbox. Again: the same answer, and no change.

        Raises Unauthorized, and Conflict when a part is missing or the workspace is too large; then the
        session keeps what it had.
        """
        session, answer = decided(lambda: self._keep(token, archive_id, archived))
        self._wake(session.id)
        if archived.kind == "full":
            self._fill_templates(session, archive_id)
        return answer

    def wanted(self, session_id: str) -> None:
        """Somebody visits: a sleeping session gets a sandbox, any other stays as it is.

        Raises RateLimited.
        """

        def decide() -> Session | None:
            before = self._store.get(session_id)
            if before is None or before.head.sandbox_status is not SandboxStatus.HIBERNATED:
                return None
            now = self._clock()
            self.metering.ran(before)
            draft = Draft(lifecycle.launched(lifecycle.begun(before), {}, now), now)
            draft.say(Woken(reason="preview"))
            revival.begin(draft)
            soon = draft.session.model_copy(update={"due_at": now + timedelta(seconds=60)})
            return self._store.commit(before, soon, draft.changes(), max_live=self._max_live)

        if woken := decided(decide):
            self._later(woken.sandbox_id, woken.launch, 0)
            self._wake(session_id)

    def used(self, session_ids: Sequence[str]) -> None:
        """Somebody watches these sessions or visits their previews, so they do not fall asleep yet."""
        for session_id in session_ids:
            with suppress(Conflict):
                decided(lambda session_id=session_id: self._use(session_id))  # type: ignore[misc]

    def _use(self, session_id: str) -> None:
        session, now = self._store.get(session_id), self._clock()
        if session is None or not session.live or session.hibernating is not None:
            return
        if session.head.active_at is None or now - session.head.active_at > _USE:
            head = session.head.model_copy(update={"active_at": now})
            self._store.commit(session, session.model_copy(update={"head": head}))

    def _keep(self, token: str, archive_id: str, archived: Archived) -> tuple[Session, Kept]:
        session, now = self.identify(token, "worker"), self._clock()
        if session is None:
            raise Unauthorized("The sandbox's token is not known (any more).")
        if known := next((archive for archive in session.archives if archive.id == archive_id), None):
            made = any(turn.commit for turn in archived.turns)
            return session, Kept(version=known.version if made else None)
        versions = self._versions(session, archived, now)
        after = session
        if versions:
            newest = versions[-1].number
            after = session.model_copy(update={"version": newest, "versions": newest})
        archive = self._keeper.checked(after, archive_id, archived)
        self.metering.stored(session, now)
        keeps = kept((*session.archives, archive))
        after = after.model_copy(update={"archives": keeps, "stored_at": now})
        left = self._keeper.unkept(after)  # before the commit: a sandbox makes the next archive after it
        stop = _bedtime(session, archived)
        if archived.inbox_seq == session.hibernating:  # the sandbox ends, or goes on
            after = after.model_copy(update={"hibernating": None})
        if stop:
            after = lifecycle.asleep(after.model_copy(update={"losses": 0}), now)
        draft = Draft(after, now)
        for version in versions:
            number, changed = version.number, version.changed
            draft.say(VersionSaved(version=number, title=version.title, files_changed=changed))
        if stop:
            draft.say(Hibernated())
        saved = self._store.commit(session, draft.session, draft.changes(versions=versions))
        self._keeper.let_go(session.id, left)
        self.metering.ran(saved)
        return saved, Kept(version=versions[-1].number if versions else None, stop=stop)

    def _versions(self, session: Session, archived: Archived, now: datetime) -> tuple[Version, ...]:
        """The versions that an archive makes, one for each turn, with their diffs kept."""
        versions: list[Version] = []
        for turn in archived.turns:
            if turn.commit is not None:
                version = _version(session, versions, turn, turn.commit, now)
                self._keeper.keep_diff(session.id, version.number, turn.diff)
                versions.append(version)
        return tuple(versions)

    def _fill_templates(self, session: Session, archive_id: str) -> None:
        archive = next((each for each in session.archives if each.id == archive_id), None)
        if archive is None:
            return
        for template in self._store.templates(session.account):
            if template.session_id == session.id and template.status is TemplateStatus.PREPARING:
                self._store.put_template(copied(self._keeper, template, session, archive))


def _version(session: Session, before: Sequence[Version], turn: Turn, commit: str, now: datetime) -> Version:
    return Version(
        number=session.versions + len(before) + 1,
        parent=before[-1].number if before else session.version,
        title=titles.title(turn.text) if turn.text else session.title,
        message_id=turn.message_id,
        files=tuple(turn.files[:100]),
        changed=turn.changed,
        commit=commit,
        claude_session_id=turn.claude_session_id,
        turn=turn_of(session, turn.message_id),
        created_at=now,
    )


def _bedtime(session: Session, archived: Archived) -> bool:
    """Whether this is the archive that the session was to make before it sleeps, and nothing came between."""
    asked = session.hibernating
    if asked is None or archived.kind != "full" or archived.inbox_seq != asked:
        return False
    return session.head.inbox_seq == asked and session.head.status is not Status.RUNNING
