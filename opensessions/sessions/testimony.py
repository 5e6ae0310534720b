"""The sandbox's side: who a token belongs to, what a sandbox is to do, and what it says.

All of it is testimony: only the types that a sandbox may say are taken (`events.SandboxEvent`), they go to
the session of the token alone, and money, the sandbox's state and the session's end come from elsewhere.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from opensessions import traces
from opensessions.access import tokens
from opensessions.access.admission import Admission
from opensessions.errors import EventGap, Unauthorized
from opensessions.events import (
    Ack,
    Assign,
    Error,
    EventBatch,
    HistoryMessage,
    InboxItem,
    Level,
    Prepare,
    PreviewReady,
    Result,
)
from opensessions.logbook import concerns
from opensessions.models import Changes, Session, Status, Version
from opensessions.money.metering import Metering
from opensessions.notices import AnyEvent
from opensessions.pool.spares import Spare
from opensessions.pool.unassigned import Unassigned
from opensessions.ports import BlobStore, Later, SessionStore
from opensessions.sessions import halting, lifecycle, tickets
from opensessions.sessions.draft import Draft, decided
from opensessions.sessions.keeping import Keeper
from opensessions.sessions.sleeping import Sleeping
from opensessions.sessions.turns import accounted

EVENT_BYTES = 256 * 1024
"""A larger event is cut; the whole of it goes to the blob store."""
_HISTORY = 100


@dataclass(frozen=True, slots=True)
class Recorded:
    """The answer to a batch, and the session that it changed."""

    ack: Ack
    session_id: str
    last_seq: int


class Testimony(Sleeping):
    """What the gateway asks for on behalf of sandboxes. Thread-safe and blocking, like the service."""

    def __init__(
        self,
        store: SessionStore,
        blobs: BlobStore,
        *,
        clock: Callable[[], datetime],
        preview_url: Callable[[str, int | str], str],
        wake: Callable[[str], None],
        later: Later,
        metering: Metering,
        admission: Admission,
        max_live: int | None = None,
        heartbeat_seconds: int = 15,
        unassigned: Unassigned,
    ) -> None:
        keeper = Keeper(blobs, clock)
        super().__init__(
            store, keeper, clock=clock, wake=wake, later=later, max_live=max_live, metering=metering
        )
        self._blobs, self._preview_url, self.admission = blobs, preview_url, admission
        self._heartbeat = timedelta(seconds=heartbeat_seconds)
        self.unassigned = unassigned

    def boot(self, ticket: str, address: str, nonce: str | None = None) -> str:
        """Swap the boot ticket of a launch, shown by the sandbox at `address`, for a new worker's token.

        A ticket is good once, within `tickets.BOOT_TIME` of the launch. Shown again with the same `nonce`,
        256 random bits in hex which the worker keeps to itself, it is answered with the same token. With
        another nonce, or with none, it ends the sandbox, because one of the two who had it is a thief.
        Raises Unauthorized.
        """
        token = decided(lambda: self._boot(ticket, address, nonce))
        if token is None:
            raise Unauthorized("The boot ticket is not known (any more).")
        return token

    def inbox(self, session: Session, after: int, limit: int = 100) -> list[tuple[int, InboxItem]]:
        """What the sandbox is to do: the items after `after` of its present launch, `assign` filled in."""
        items = self._store.inbox(session.sandbox_id, max(after, session.assign_seq - 1), limit)
        return [(seq, self._filled(session, i) if isinstance(i, Assign) else i) for seq, i in items]

    def speaker(self, token: str) -> Session | Spare | None:
        """The live session whose worker holds this token, or the spare, as long as no session has it."""
        spoke = self.identify(token, "worker") or self.unassigned.spare(token)
        return spoke or self.identify(token, "worker")  # a session took it between the two looks

    def prepare(self, spare: Spare) -> Prepare:
        """What a spare is told."""
        return self.unassigned.prepare(spare)

    def holds(self, spare: Spare) -> bool:
        """Whether no session has the spare yet, and it is not discarded."""
        return self.unassigned.holds(spare)

    def record_events(self, token: str, batch: EventBatch) -> Recorded:
        """Store what a sandbox says, exactly once: a batch that arrives again is answered as done. Of what a
        spare says nothing is stored but that it is ready; a session that takes it goes on from there.

        Raises Unauthorized for a token that is unknown or of a sandbox that ended, EventGap when events are
        missing before `batch.first_seq`. Then nothing was stored.
        """
        with suppress(Unauthorized):
            return self._recorded(token, batch)
        if ack := self.unassigned.heard(token, batch):
            return Recorded(ack, tokens.sandbox_of(token) or "", 0)
        return self._recorded(token, batch)  # a session took it between the two looks

    def _recorded(self, token: str, batch: EventBatch) -> Recorded:
        while True:
            session = decided(lambda: self._record_part(token, batch))
            done = session.head.agent_seq
            self._wake(session.id)
            if done >= batch.first_seq + len(batch.events) - 1:
                return Recorded(Ack(acked=done, expected=done + 1), session.id, session.head.last_seq)

    def notice(self, session_id: str, message: str, code: str) -> None:
        """Tell a session's watchers what the gateway saw, such as a refused host. No change once it has
        ended.
        """

        def decide() -> None:
            session = self._store.get(session_id)
            if session is not None and session.live:
                draft = Draft(session, self._clock())
                draft.say(Error(message=message, code=code), "warning")
                self._store.commit(session, draft.session, draft.changes())

        decided(decide)
        self._wake(session_id)

    def _boot(self, ticket: str, address: str, nonce: str | None) -> str | None:
        sandbox_id, now = tokens.sandbox_of(ticket), self._clock()
        session = self._store.find(sandbox_id) if sandbox_id else None
        if session is None:
            return self.unassigned.boot(ticket, address, nonce)
        if not session.live:
            return None
        concerns(session.id)
        try:
            bought = tickets.buy(ticket, nonce, session.tokens, session.launched_at, now)
        except tickets.Stolen:
            self._store.commit(session, *self._stolen(session, now))
            self._wake(session.id)
            return None
        if bought and bought.hashes != session.tokens:
            after = {"tokens": dict(bought.hashes), "address": address}
            self._store.commit(session, session.model_copy(update=after))
        return bought.token if bought else None

    def _stolen(self, session: Session, now: datetime) -> tuple[Session, Changes]:
        draft = Draft(lifecycle.stopped(session, Status.ERROR, now, recheck_seconds=0), now)
        message = (
            "The sandbox's boot ticket was shown twice, so it may have been stolen, and the sandbox was "
            "stopped. Send a message to start it again."
        )
        draft.say(Error(message=message, code="boot_ticket_reused"), "error")
        return draft.session, draft.changes()

    def _record_part(self, token: str, batch: EventBatch) -> Session:
        """Store as much of a batch as fits into one commit."""
        session, now = self.identify(token, "worker"), self._clock()
        if session is None:
            raise Unauthorized("The sandbox's token is not known (any more).")
        known = session.head.agent_seq
        if batch.first_seq > known + 1:
            raise EventGap(known + 1, batch.first_seq)
        fresh = batch.events[known + 1 - batch.first_seq :]
        if not fresh and session.head.heard_at and now - session.head.heard_at < self._heartbeat:
            return session
        part = self._fitting([self._bounded(session, event) for event in fresh])
        before, part = accounted(session, part, self._store, self.metering)
        draft = Draft(lifecycle.heard(before, part, now), now)
        for event in part:
            self._say(draft, event)
        halting.go_on(draft, part)
        draft.advance(agent_seq=known + len(part))
        stored = self._store.commit(session, draft.session, draft.changes())
        traces.heard(session, stored, part, now, self._clock())
        return stored

    def _say(self, draft: Draft, event: AnyEvent) -> None:
        if isinstance(event, PreviewReady):
            url = self._preview_url(draft.session.sandbox_id, event.port)
            event = event.model_copy(update={"url": url})
        draft.say(event, _level(event))
        if (text := lifecycle.final_text(event)) is not None:
            draft.message(
                f"msg_{draft.session.id.removeprefix('session_')}{draft.seq:08d}", "assistant", text
            )

    def _fitting(self, events: Sequence[AnyEvent]) -> Sequence[AnyEvent]:
        size = 0
        for n, event in enumerate(events):
            size += len(event.model_dump_json())
            if n and size > EVENT_BYTES:
                return events[:n]
        return events

    def _bounded(self, session: Session, event: AnyEvent) -> AnyEvent:
        text = event.model_dump_json()
        clean = tokens.redacted(text)
        if clean != text:
            event = type(event).model_validate_json(clean)
        whole = clean.encode()
        if len(whole) <= EVENT_BYTES:
            return event
        key = f"sessions/{session.id}/events/{tokens.sha256(clean)}.json"
        self._blobs.put(key, whole)
        return type(event).model_validate(_cut(json.loads(clean)) | {"truncated": True, "blob": key})

    def _filled(self, session: Session, assign: Assign) -> Assign:
        config = self._store.config(session.id)
        return assign.model_copy(
            update={
                "system_prompt": config.system_prompt,
                "skills": config.skills,
                "tools": list(config.allowed_tools),
                "mcp_servers": config.mcp_servers,
                "cwd": config.cwd,
                "model": config.model,
                "max_turns": config.max_turns,
                "start_command": config.start_command,
                "preview_url": self._preview_url(session.sandbox_id, "{port}"),
                "history": self._history(session, assign.message_id),
                "beginning": self._keeper.beginning(session, self._gone_back_to(session)),
                "workspace_bytes": session.limits.workspace_bytes,
            }
        )

    def _gone_back_to(self, session: Session) -> Version | None:
        """The version that a session has gone back to, as long as no archive is of it."""
        if not session.archives or session.archives[-1].version == session.version:
            return None
        return self._store.version(session.id, session.version)

    def _history(self, session: Session, before: str | None) -> list[HistoryMessage]:
        history: list[HistoryMessage] = []
        for message in self._store.messages(session.id, _HISTORY):
            if message.id == before:
                break
            history.append(HistoryMessage(role=message.role, content=message.content))
        return history


def _level(event: AnyEvent) -> Level:
    if isinstance(event, Error):
        return "error"
    return "warning" if isinstance(event, Result) and event.is_error else "info"


def _cut(value: Any, keep: int = 2000, items: int = 50) -> Any:
    """JSON of the same shape, its long texts and lists shortened with a marker."""
    if isinstance(value, str) and len(value) > keep:
        return f"{value[:keep]}… [{len(value) - keep} characters cut]"
    if isinstance(value, list):
        return [_cut(item, keep) for item in value[:items]]
    if isinstance(value, dict):
        return {key[:200]: _cut(item, keep) for key, item in list(value.items())[:items]}
    return value
