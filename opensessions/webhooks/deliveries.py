"""Delivering to webhooks: a session's events one after the other, each until it is taken or dead."""

import hashlib
import json
import logging
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from opensessions.errors import Stale
from opensessions.models import Event, Session
from opensessions.ports import SessionStore
from opensessions.webhooks.hooks import Cursor, Errand, Hook, Hooks, Letter, Send

log = logging.getLogger(__name__)

RETRIES = (5, 300, 1800, 2 * 3600, 5 * 3600, 6 * 3600, 10 * 3600)
"""Seconds from one try of an event to the next: eight tries within a day."""
DAY = timedelta(hours=24)
"""For how long a receiver may fail without a break. What comes after an event that died so gets two tries,
until one succeeds: a receiver that is gone is not to hold a session's events for weeks.
"""
LEASE = timedelta(seconds=90)
RUN = timedelta(seconds=15)
"""No delivery begins later than this in a run; each takes ten seconds at most."""
LONGEST_WAIT = 900
"""Seconds that an errand is put off for at most. What waits longer is the sweep's to find."""
GONE = "The receiver answered 410."
_PAGE = 25


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a delivery: `error` is None when it was taken. `gone`: the receiver wants no more."""

    error: str | None
    gone: bool = False


Post = Callable[[Hook, str, str], Outcome]
"""`post(hook, delivery_id, body)`: sign and post it, once."""


class Deliveries:
    """Runs errands, in any number of processes at once: a pair of webhook and session is one run's at a time.
    Blocking and thread-safe. `send` puts errands off.
    """

    def __init__(
        self,
        store: SessionStore,
        hooks: Hooks,
        post: Post,
        *,
        clock: Callable[[], datetime],
        send: Send,
        retries: Sequence[int] = RETRIES,
    ) -> None:
        self._store, self._hooks, self._post = store, hooks, post
        self._clock, self._send, self._retries = clock, send, retries

    def run(self, errand: Errand) -> None:
        """Deliver what there is to deliver, or the one dead letter. Repeated and late errands do no harm."""
        if errand.seq is not None:
            self._once_more(errand.hook_id, errand.session_id, errand.seq)
            return
        end = self._clock() + RUN
        try:
            while self._follow(errand, end):
                pass
        except Stale:
            log.info("webhook %s of %s went on elsewhere", errand.hook_id, errand.session_id)

    def _follow(self, errand: Errand, end: datetime) -> bool:
        """One turn as the holder of the cursor. Whether to look once more: whoever stored an event while the
        cursor was held was told that somebody is at it.
        """
        now, holder = self._clock(), secrets.token_hex(16)
        cursor = self._hooks.claim(errand.session_id, errand.hook_id, holder, now, now + LEASE)
        if cursor is None:
            return False
        if self._store.get(errand.session_id) is None:
            self._hooks.forget(errand.session_id, errand.hook_id)
            return False
        cursor = self._advanced(cursor, holder, end)
        self._hooks.save(cursor.model_copy(update={"holder": None, "held_until": None}), holder)
        return self._goes_on(errand, cursor, end)

    def _goes_on(self, errand: Errand, cursor: Cursor, end: datetime) -> bool:
        if cursor.due_at is not None:
            wait = (cursor.due_at - self._clock()).total_seconds()
            if wait <= LONGEST_WAIT:
                self._send(errand, max(math.ceil(wait), 0))
            return False
        if not self._store.events(errand.session_id, cursor.seq, 1):
            return False
        if self._clock() < end:
            return True
        self._send(errand, 0)
        return False

    def _advanced(self, cursor: Cursor, holder: str, end: datetime) -> Cursor:
        """The cursor after as many events as there is time for, or up to one that is to be tried again."""
        while events := self._store.events(cursor.session_id, cursor.seq, _PAGE):
            session, hook = self._store.get(cursor.session_id), self._hooks.get(cursor.hook_id)
            if session is None or hook is None or hook.off:
                return _past(cursor, events[-1].seq if session is None else session.head.last_seq)
            for event in events:
                if not hook.subscription.wants(event.type):
                    cursor = _past(cursor, event.seq)
                    continue
                if self._clock() >= end:
                    return cursor
                cursor = self._tried(cursor, hook, session, event)
                if cursor.seq != event.seq:
                    return cursor
                self._hooks.save(cursor, holder)
        return cursor

    def _tried(self, cursor: Cursor, hook: Hook, session: Session, event: Event) -> Cursor:
        outcome = self._post(hook, delivery_id(hook.id, session.id, event.seq), body(session, event))
        if outcome.gone:
            self._hooks.switch_off(hook.id, GONE)
            return _past(cursor, session.head.last_seq)
        if outcome.error is None:
            return _past(cursor, event.seq).model_copy(update={"failing_since": None})
        return self._failed(cursor, event, outcome.error)

    def _failed(self, cursor: Cursor, event: Event, error: str) -> Cursor:
        """The cursor of an event that is tried again later, or past one that is dead."""
        now, attempts = self._clock(), cursor.attempts + 1
        log.warning(
            "webhook %s of %s: event %s failed, try %s: %s",
            *(cursor.hook_id, cursor.session_id, event.seq, attempts, error),
        )
        since = cursor.failing_since or now
        if attempts <= len(self._retries):
            due = now + timedelta(seconds=self._retries[attempts - 1])
            if attempts < 2 or due <= since + DAY:
                failing = {"attempts": attempts, "due_at": due, "failing_since": since}
                return cursor.model_copy(update=failing)
        names = {"hook_id": cursor.hook_id, "session_id": cursor.session_id, "seq": event.seq}
        self._hooks.bury(Letter(**names, event_type=event.type, attempts=attempts, error=error, died_at=now))
        return _past(cursor, event.seq).model_copy(update={"failing_since": since})

    def _once_more(self, hook_id: str, session_id: str, seq: int) -> None:
        """Try a dead letter, once: it is gone, or still dead."""
        letters = self._hooks.letters(hook_id, (session_id, seq - 1), 1)
        letter = next((each for each in letters if (each.session_id, each.seq) == (session_id, seq)), None)
        hook, session = self._hooks.get(hook_id), self._store.get(session_id)
        if letter is None or hook is None or session is None or hook.off:
            return
        for event in self._store.events(session_id, seq - 1, 1):
            self._again(letter, hook, session, event)

    def _again(self, letter: Letter, hook: Hook, session: Session, event: Event) -> None:
        outcome = self._post(hook, delivery_id(hook.id, session.id, event.seq), body(session, event))
        if outcome.error is None:
            self._hooks.unbury(hook.id, session.id, event.seq)
            return
        if outcome.gone:
            self._hooks.switch_off(hook.id, GONE)
        more = {"attempts": letter.attempts + 1, "error": outcome.error, "died_at": self._clock()}
        self._hooks.bury(letter.model_copy(update=more))


def _past(cursor: Cursor, seq: int) -> Cursor:
    return cursor.model_copy(update={"seq": max(seq, cursor.seq), "attempts": 0, "due_at": None})


def delivery_id(hook_id: str, session_id: str, seq: int) -> str:
    """The `webhook-id`: the same for every try of an event."""
    return f"msg_{hashlib.sha256(f'{hook_id}#{session_id}#{seq}'.encode()).hexdigest()[:32]}"


def body(session: Session, event: Event) -> str:
    """What is posted: that something happened, and to whom, but not what was said."""
    data = {
        "session_id": session.id,
        "user_id": session.user_id,
        "seq": event.seq,
        "event_type": event.type,
        "status": session.head.status,
        "metadata": session.metadata,
    }
    whole = {"type": f"session.{event.type}", "timestamp": event.created_at, "data": data}
    return json.dumps(whole, separators=(",", ":"))
