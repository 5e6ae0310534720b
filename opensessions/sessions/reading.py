"""What may be seen of sessions, and by whom."""

from itertools import accumulate

from opensessions.access.admission import Admission
from opensessions.access.callers import Caller
from opensessions.access.keyring import Key
from opensessions.errors import NotFound
from opensessions.models import Event, Message, Page, Session, Status, Version
from opensessions.ports import SessionStore

RECENT = 100
"""How many messages and events the full session object holds."""
RECENT_BYTES = 512 * 1024
"""How much text its messages may have. Of an event it holds but a line."""


class Reading:
    """Sessions of all accounts, to look at. Thread-safe; every method is a plain, blocking call."""

    def __init__(self, store: SessionStore, admission: Admission) -> None:
        self._store, self.admission = store, admission

    def authenticate(self, secret: str) -> Caller:
        """Whose API key or session's token this is. Raises Unauthorized."""
        return self.admission.caller(secret)

    def good(self, key: Key) -> bool:
        """Whether a key still opens its account."""
        return self.admission.good(key)

    def read(self, account: str, session_id: str, user_id: str | None = None) -> Session:
        """A session. Raises NotFound when it is unknown, or another account's, or another user's than
        `user_id`.
        """
        session = self._store.get(session_id)
        if session is None or session.account != account or user_id not in (None, session.user_id):
            raise NotFound("Session not found")
        return session

    def page(
        self, account: str, user_id: str | None, status: Status | None, limit: int, cursor: str | None
    ) -> Page:
        """At most `limit` sessions, newest first. Raises InvalidRequest for a cursor that is not of this
        list.
        """
        kept: list[Session] = []
        while True:
            page = self._store.page(account, user_id, limit - len(kept), cursor)
            kept += [session for session in page.sessions if status in (None, session.head.status)]
            cursor = page.cursor
            if len(kept) >= limit or cursor is None:
                return Page(kept, cursor)

    def recent(self, session: Session, limit: int = RECENT) -> tuple[list[Message], list[Event]]:
        """The newest messages, as many as fit into `RECENT_BYTES` but at least one, and the newest events, at
        most `limit` of each, oldest first. The cost does not grow with the session's age.
        """
        messages = _fitting(self._store.messages(session.id, limit))
        return messages, self._store.latest_events(session.id, limit)

    def versions(self, session_id: str, after: int, limit: int) -> list[Version]:
        """At most `limit` versions with a number > `after`, in order."""
        return self._store.versions(session_id, after, limit)

    def version(self, session_id: str, number: int) -> Version:
        """One version. Raises NotFound."""
        found = self._store.version(session_id, number)
        if found is None:
            raise NotFound("Version not found")
        return found

    def events(self, session_id: str, after: int, limit: int) -> list[Event]:
        """At most `limit` events with `seq` > `after`, in order, each once."""
        return self._store.events(session_id, after, limit)


def _fitting(messages: list[Message]) -> list[Message]:
    sizes = accumulate(len(message.content.encode()) for message in reversed(messages))
    count = sum(size <= RECENT_BYTES for size in sizes)
    return messages[-max(count, 1) :]
