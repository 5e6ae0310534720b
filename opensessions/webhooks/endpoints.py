"""What callers may do with webhooks."""

import base64
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from opensessions.errors import Conflict, NotFound
from opensessions.models import NewHook, Session
from opensessions.webhooks.destinations import Destinations
from opensessions.webhooks.hooks import Errand, Hook, Hooks, Letter, Send

MOST = 10
"""Webhooks of an account, without those of single sessions."""
AT_ONCE = 100
"""Dead letters that one call delivers again."""
_SECRET_BYTES = 32


class Webhooks:
    """Webhooks of all accounts. Thread-safe and blocking."""

    def __init__(
        self,
        hooks: Hooks,
        destinations: Destinations,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        send: Send,
    ) -> None:
        self._hooks, self._destinations = hooks, destinations
        self._clock, self._new_id, self._send = clock, new_id, send

    def create(self, account: str, url: str, events: Sequence[str]) -> Hook:
        """A webhook for the sessions that are created from now on. Raises InvalidRequest for a URL that may
        not be one's, and Conflict when the account has `MOST` already.
        """
        hook = self._new(account, url, events)
        if len(self._hooks.subscriptions(account)) >= MOST:
            raise Conflict(f"The account has {MOST} webhooks already; delete one first.")
        self._hooks.put(hook)
        return hook

    def subscribed(self, session: Session, wanted: NewHook | None) -> tuple[Session, Hook | None]:
        """A new session with its account's webhooks, and with one of its own if it is wanted; that is kept
        already. Raises InvalidRequest.
        """
        hooks = tuple(self._hooks.subscriptions(session.account))
        if wanted is None:
            return session.model_copy(update={"hooks": hooks}), None
        own = self._new(session.account, wanted.url, wanted.events, "webhook.url")
        own = own.model_copy(update={"session_id": session.id})
        self._hooks.put(own)
        return session.model_copy(update={"hooks": (*hooks, own.subscription)}), own

    def drop(self, own: Hook | None) -> None:
        """Take back the webhook of a session that did not come to be."""
        if own:
            self._hooks.drop(own.id)

    def of_session(self, session: Session) -> Hook | None:
        """A session's own webhook."""
        last = self._hooks.get(session.hooks[-1].hook_id) if session.hooks else None
        return last if last and last.session_id == session.id else None

    def list(self, account: str) -> Sequence[Hook]:
        """The account's webhooks, oldest first, without those of single sessions."""
        return self._hooks.of_account(account)

    def get(self, account: str, hook_id: str) -> Hook:
        """One webhook. Raises NotFound, also for another account's."""
        hook = self._hooks.get(hook_id)
        if hook is None or hook.account != account:
            raise NotFound("Webhook not found")
        return hook

    def delete(self, account: str, hook_id: str) -> None:
        """Tell a webhook nothing any more, and forget what it was not told. Raises NotFound."""
        self._hooks.drop(self.get(account, hook_id).id)

    def dead(self, account: str, hook_id: str, after: tuple[str, int], limit: int) -> Sequence[Letter]:
        """At most `limit` deliveries that failed for good, by session and `seq`, after this one. Raises
        NotFound.
        """
        return self._hooks.letters(self.get(account, hook_id).id, after, limit)

    def redeliver(
        self, account: str, hook_id: str, session_id: str | None = None, seq: int | None = None
    ) -> int:
        """Have dead deliveries tried once more each: one, those of a session, or any; `AT_ONCE` at most.
        Returns how many. Raises NotFound, and Conflict for a webhook that is off.
        """
        hook = self.get(account, hook_id)
        if hook.off:
            raise Conflict(f"The webhook is off: {hook.off} Make a new one.")
        after = (session_id or "", seq - 1 if seq else 0)
        found = self._hooks.letters(hook.id, after, 1 if seq else AT_ONCE, session_id)
        wanted = [letter for letter in found if seq in (None, letter.seq)]
        if seq is not None and not wanted:
            raise NotFound("There is no dead delivery of this event")
        for letter in wanted:
            self._send(Errand(hook.id, letter.session_id, letter.seq), 0)
        return len(wanted)

    def _new(self, account: str, url: str, events: Sequence[str], field: str = "url") -> Hook:
        self._destinations.parse(url, field)
        return Hook(
            id=f"whk_{self._new_id()}",
            account=account,
            url=url,
            events=tuple(dict.fromkeys(events)),
            secret="whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode(),
            created_at=self._clock(),
        )
