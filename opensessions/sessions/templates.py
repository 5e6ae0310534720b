"""Templates: prepared workspaces, made of a session's, and what a new session takes from one or from another
session.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from opensessions.errors import Conflict, NotFound
from opensessions.events import Save
from opensessions.models import (
    Archive,
    Origin,
    SandboxStatus,
    Session,
    Template,
    TemplateStatus,
    Version,
)
from opensessions.ports import SessionStore
from opensessions.sessions.draft import Draft, decided
from opensessions.sessions.keeping import Keeper, needed, place

PREPARATION = timedelta(minutes=20)
"""How long making a template may take; later it has failed."""
INHERITED = 50
"""How many versions, the newest, a branch can go back to from its parent's."""


def folder(template_id: str) -> str:
    """The prefix of a template's blobs."""
    return f"templates/{template_id}"


def copied(keeper: Keeper, template: Template, session: Session, archive: Archive) -> Template:
    """The template, ready, with a copy of a session's archive as its own."""
    keeper.copy(place(session.id, archive.id), f"{folder(template.id)}/archive")
    fresh = archive.model_copy(update={"fresh": True, "commit": None, "version": 0})
    return template.model_copy(update={"status": TemplateStatus.READY, "archive": fresh})


class Templates:
    """An account's templates. Thread-safe; every method is a plain, blocking call."""

    def __init__(
        self,
        store: SessionStore,
        keeper: Keeper,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        wake: Callable[[str], None],
    ) -> None:
        self._store, self._keeper = store, keeper
        self._clock, self._new_id, self._wake = clock, new_id, wake

    def create(self, session: Session, name: str) -> Template:
        """Make a template of a session: at once of a sleeping one; of one that is awake, as soon as its
        sandbox has packed everything. Raises Conflict when there is nothing to make it of.
        """
        template = Template(
            id=f"tpl_{self._new_id()}",
            account=session.account,
            name=name,
            session_id=session.id,
            status=TemplateStatus.PREPARING,
            created_at=self._clock(),
        )
        newest = session.archives[-1] if session.archives else None
        if not session.live and (newest is None or newest.kind != "full"):
            raise Conflict("Of this session not all is kept; wake it by a message first.")
        self._store.put_template(template)  # first, so that a copy that is cut short can be deleted
        try:
            return self._prepared(template, session, newest)
        except Conflict:
            self._store.drop_template(template.account, template.id)
            raise

    def get(self, account: str, template_id: str) -> Template:
        """A template. Raises NotFound."""
        template = self._store.template(account, template_id)
        if template is None:
            raise NotFound("Template not found")
        return self._in_time(template)

    def list(self, account: str) -> list[Template]:
        """All templates of an account, oldest first."""
        return [self._in_time(template) for template in self._store.templates(account)]

    def delete(self, account: str, template_id: str) -> None:
        """Delete a template and what it holds; sessions that began with it stay. Raises NotFound."""
        self.get(account, template_id)
        self._keeper.drop(folder(template_id))
        self._store.drop_template(account, template_id)

    def branch(self, parent: Session, child: Session, origin: Origin) -> tuple[Session, tuple[Version, ...]]:
        """`child` with a copy of what `parent` had after a version, and the versions up to it. Raises
        NotFound and Conflict; then nothing was copied.
        """
        version = self._version(parent, origin.version) if origin.version is not None else None
        taken = needed(parent.archives)
        if not taken:
            raise Conflict("Nothing of that session is kept yet; its first turn is not over.")
        last = version.number if version else parent.versions
        newest = self._store.versions(parent.id, max(0, last - INHERITED), INHERITED)
        ours = (each for each in newest if each.number <= last)
        versions = tuple(each.model_copy(update={"turn": None}) for each in ours)
        for archive in taken:
            self._keeper.copy(place(parent.id, archive.id), place(child.id, archive.id))
        self._keeper.copy_diffs(parent.id, child.id)
        if version:
            back = {"commit": version.commit, "claude_session_id": version.claude_session_id}
            taken = (*taken[:-1], taken[-1].model_copy(update=back))
        at = version.number if version else parent.version
        return child.model_copy(update={"archives": taken, "version": at, "versions": last}), versions

    def start(self, account: str, child: Session, template_id: str) -> Session:
        """`child` with a copy of a template's workspace. Raises NotFound and Conflict; then nothing was
        copied.
        """
        template = self.get(account, template_id)
        if template.status is not TemplateStatus.READY or template.archive is None:
            raise Conflict(f"The template is {template.status}; it can be used once it is ready.")
        self._keeper.copy(f"{folder(template.id)}/archive", place(child.id, template.archive.id))
        return child.model_copy(update={"archives": (template.archive,)})

    def _prepared(self, template: Template, session: Session, newest: Archive | None) -> Template:
        if session.live or newest is None:
            self._ask(session.id)
            return template
        ready = copied(self._keeper, template, session, newest)
        self._store.put_template(ready)
        return ready

    def _version(self, session: Session, number: int) -> Version:
        found = self._store.version(session.id, number)
        if found is None:
            raise NotFound("Version not found")
        return found

    def _ask(self, session_id: str) -> None:
        def decide() -> None:
            session = self._store.get(session_id)
            if session is None or session.head.sandbox_status not in (
                SandboxStatus.STARTING,
                SandboxStatus.RUNNING,
            ):
                raise Conflict("The session fell asleep just now; try again.")
            draft = Draft(session, self._clock())
            draft.send(Save())
            self._store.commit(session, draft.session, draft.changes())

        decided(decide)
        self._wake(session_id)

    def _in_time(self, template: Template) -> Template:
        late = self._clock() - template.created_at > PREPARATION
        if template.status is TemplateStatus.PREPARING and late:
            return template.model_copy(update={"status": TemplateStatus.FAILED})
        return template
