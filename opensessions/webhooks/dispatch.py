"""Who notices that a webhook is to be told something: at once when an event is stored, else the sweep."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from opensessions.models import Event, Session
from opensessions.webhooks.hooks import Errand, Hooks, Send

log = logging.getLogger(__name__)

_AT_ONCE = 500


class Dispatch:
    """Sends errands. Nothing is written down before one is sent: a session whose webhooks are behind stays
    under the sweep's eyes, and a delivery that failed is found by its date.
    """

    def __init__(self, hooks: Hooks, *, clock: Callable[[], datetime], send: Send) -> None:
        self._hooks, self._clock, self.send = hooks, clock, send

    def stored(self, session: Session, events: Sequence[Event]) -> None:
        """These events are in the session's log now. Never raises: what is not sent, the sweep finds."""
        for subscription in session.hooks:
            if any(subscription.wants(event.type) for event in events):
                try:
                    self.send(Errand(subscription.hook_id, session.id), 0)
                except Exception:
                    log.exception("a delivery of %s is left to the sweep", session.id)

    def behind(self, session: Session) -> bool:
        """Whether a webhook has not been told of all of a session, and nobody has put it off; then it is
        now.
        """
        if not session.hooks:
            return False
        told = {cursor.hook_id: cursor for cursor in self._hooks.cursors(session.id)}
        late = [
            subscription.hook_id
            for subscription in session.hooks
            if (cursor := told.get(subscription.hook_id)) is None
            or (cursor.seq < session.head.last_seq and cursor.due_at is None)
        ]
        for hook_id in late:
            self.send(Errand(hook_id, session.id), 0)
        return bool(late)

    def sweep(self) -> None:
        """Send what was put off, and is due."""
        for session_id, hook_id in self._hooks.due(self._clock(), _AT_ONCE):
            self.send(Errand(hook_id, session_id), 0)

    def purge(self, session: Session) -> None:
        """Forget a session that is deleted. Idempotent."""
        if session.hooks:
            self._hooks.purge(session.id, session.hooks)
