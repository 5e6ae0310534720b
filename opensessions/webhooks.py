"""What callers may do with webhooks."""

import base64
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from opensessions.destinations import Destinations
from opensessions.errors import Conflict, NotFound
from opensessions.hooks import Errand, Hook, Hooks, Letter, Send
from opensessions.models import Subscription

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

    def create_for(self, account: str, session_id: str, url: str, events: Sequence[str]) -> Hook:
        """A webhook for one session alone, which goes with it. Raises InvalidRequest."""
        hook = self._new(account, url, events).model_copy(update={"session_id": session_id})
        self._hooks.put(hook)
        return hook

    def drop(self, hook: Hook) -> None:
        """Take back one whose session did not come to be."""
        self._hooks.drop(hook.id)

    def subscribed(self, account: str) -> tuple[Subscription, ...]:
        """What a new session's webhooks are told of, but for its own."""
        return tuple(self._hooks.subscriptions(account))

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

    def _new(self, account: str, url: str, events: Sequence[str]) -> Hook:
        self._destinations.parse(url)
        return Hook(
            id=f"whk_{self._new_id()}",
            account=account,
            url=url,
            events=tuple(dict.fromkeys(events)),
            secret="whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode(),
            created_at=self._clock(),
        )
