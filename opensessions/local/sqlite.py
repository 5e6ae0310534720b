"""The session store of one machine, in its SQLite file."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from opensessions import codec, commits
from opensessions.errors import AlreadyClaimed, NotFound, Stale
from opensessions.events import InboxItem, inbox_item
from opensessions.local.database import Database
from opensessions.local.pool import take
from opensessions.models import (
    NOTHING,
    AgentConfig,
    Changes,
    Claim,
    Event,
    Message,
    Page,
    Session,
    Template,
    Version,
    timestamp,
)

CLAIM_SECONDS = 24 * 3600
_OF_SESSION = ("head", "config", "event", "message", "version", "pass", "cursor")
_SESSION = "SELECT s.body, h.body FROM session s JOIN head h ON h.session_id = s.id "


class SqliteStore:
    """A `ports.SessionStore`, in a database that it may share. `stored` is told of each session to whose log
    events were added, and of the events.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        stored: Callable[[Session, Sequence[Event]], None] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._stored = stored

    def close(self) -> None:
        """Close the database, for all that share it. Idempotent."""
        self._database.close()

    # ---- writing ----

    def commit(
        self,
        before: Session | None,
        after: Session,
        changes: Changes = NOTHING,
        *,
        max_live: int | None = None,
    ) -> Session:
        saved = commits.checked(before, after, changes)
        with self._database.writing() as db:
            if changes.spare:
                take(db, changes.spare)
            if before is None:
                _insert(db, saved)
            else:
                _update(db, before, saved)
            if changes.claim:
                self._claim(db, changes.claim)
            _count_live(db, before, saved, max_live)
            _add(db, saved, changes)
        if self._stored and changes.events:
            self._stored(saved, changes.events)
        return saved

    def _claim(self, db: sqlite3.Connection, claim: Claim) -> None:
        now = self._clock().timestamp()
        db.execute("DELETE FROM claim WHERE expires_at <= ?", (now,))
        row = (claim.account, claim.key, claim.fingerprint, claim.session_id, now + CLAIM_SECONDS)
        if not db.execute("INSERT OR IGNORE INTO claim VALUES (?, ?, ?, ?, ?)", row).rowcount:
            raise AlreadyClaimed(f"The idempotency key of {claim.session_id} is in use.")

    def count(self, key: str, window_seconds: int, now: datetime) -> int:
        moment = now.timestamp()
        row = (key, window_seconds, (moment // window_seconds + 1) * window_seconds)
        with self._database.writing() as db:
            db.execute("DELETE FROM counter WHERE ends_at <= ?", (moment,))
            db.execute("INSERT INTO counter VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1", row)
            where = "key = ? AND window_seconds = ? AND ends_at = ?"
            (n,) = db.execute(f"SELECT n FROM counter WHERE {where}", row).fetchone()
        return int(n)

    def purge(self, session_id: str) -> None:
        with self._database.writing() as db:
            row = db.execute(_SESSION + "WHERE s.id = ?", (session_id,)).fetchone()
            if row is None:
                return
            session = _session(row)
            for table in _OF_SESSION:
                db.execute(f"DELETE FROM {table} WHERE session_id = ?", (session.id,))
            db.execute("DELETE FROM inbox WHERE sandbox_id = ?", (session.sandbox_id,))
            db.execute("DELETE FROM session WHERE id = ?", (session.id,))
            db.execute("UPDATE live SET n = n - ? WHERE account = ?", (int(session.live), session.account))
        self._database.forget()

    def put_template(self, template: Template) -> None:
        row = (template.account, template.id, timestamp(template.created_at))
        body = codec.fitting(codec.text(template), "the template")
        with self._database.writing() as db:
            db.execute("INSERT OR REPLACE INTO template VALUES (?, ?, ?, ?)", (*row, body))

    def drop_template(self, account: str, template_id: str) -> None:
        with self._database.writing() as db:
            db.execute("DELETE FROM template WHERE account = ? AND id = ?", (account, template_id))

    # ---- reading ----

    def get(self, session_id: str) -> Session | None:
        return self._session("WHERE s.id = ?", session_id)

    def find(self, sandbox_id: str) -> Session | None:
        return self._session("WHERE s.sandbox_id = ?", sandbox_id)

    def config(self, session_id: str) -> AgentConfig:
        rows = self._all("SELECT body FROM config WHERE session_id = ?", session_id)
        if not rows:
            raise NotFound("Session not found")
        return AgentConfig.model_validate_json(rows[0][0])

    def events(self, session_id: str, after: int, limit: int) -> list[Event]:
        sql = "SELECT body FROM event WHERE session_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        return [codec.event(json.loads(body)) for (body,) in self._all(sql, session_id, after, limit)]

    def latest_events(self, session_id: str, limit: int) -> list[Event]:
        sql = "SELECT body FROM event WHERE session_id = ? ORDER BY seq DESC LIMIT ?"
        return [codec.event(json.loads(body)) for (body,) in reversed(self._all(sql, session_id, limit))]

    def messages(self, session_id: str, limit: int) -> list[Message]:
        sql = "SELECT body FROM message WHERE session_id = ? ORDER BY number DESC LIMIT ?"
        return [Message.model_validate_json(body) for (body,) in reversed(self._all(sql, session_id, limit))]

    def inbox(self, sandbox_id: str, after: int, limit: int) -> list[tuple[int, InboxItem]]:
        sql = "SELECT seq, body FROM inbox WHERE sandbox_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        rows = self._all(sql, sandbox_id, after, limit)
        return [(seq, inbox_item.validate_json(body)) for seq, body in rows]

    def versions(self, session_id: str, after: int, limit: int) -> list[Version]:
        sql = "SELECT body FROM version WHERE session_id = ? AND number > ? ORDER BY number LIMIT ?"
        return [Version.model_validate_json(body) for (body,) in self._all(sql, session_id, after, limit)]

    def version(self, session_id: str, number: int) -> Version | None:
        rows = self._all("SELECT body FROM version WHERE session_id = ? AND number = ?", session_id, number)
        return Version.model_validate_json(rows[0][0]) if rows else None

    def page(self, account: str, user_id: str | None, limit: int, cursor: str | None) -> Page:
        where, values = "WHERE s.account = ?", [account]
        if user_id is not None:
            where, values = where + " AND s.user_id = ?", [*values, user_id]
        if cursor is not None:
            where += " AND (s.created_at, s.id) < (?, ?)"
            values += codec.cursor_position(account, user_id, cursor)
        where += " ORDER BY s.created_at DESC, s.id DESC LIMIT ?"
        rows = self._all(_SESSION + where, *values, limit + 1)
        sessions = [_session(row) for row in rows[:limit]]
        if len(rows) <= limit:
            return Page(sessions)
        return Page(sessions, codec.cursor(account, user_id, codec.position(sessions[-1])))

    def claimed(self, account: str, key: str) -> Claim | None:
        sql = "SELECT fingerprint, session_id FROM claim WHERE account = ? AND key = ? AND expires_at > ?"
        rows = self._all(sql, account, key, self._clock().timestamp())
        return Claim(account, key, *rows[0]) if rows else None

    def due(self, now: datetime, limit: int) -> list[str]:
        sql = "SELECT id FROM session WHERE due_at <= ? ORDER BY due_at, id LIMIT ?"
        return [id for (id,) in self._all(sql, timestamp(now), limit)]

    def template(self, account: str, template_id: str) -> Template | None:
        rows = self._all("SELECT body FROM template WHERE account = ? AND id = ?", account, template_id)
        return Template.model_validate_json(rows[0][0]) if rows else None

    def templates(self, account: str) -> list[Template]:
        sql = "SELECT body FROM template WHERE account = ? ORDER BY created_at, id"
        return [Template.model_validate_json(body) for (body,) in self._all(sql, account)]

    def _session(self, where: str, value: str) -> Session | None:
        rows = self._all(_SESSION + where, value)
        return _session(rows[0]) if rows else None

    def _all(self, sql: str, *values: object) -> list[Any]:
        with self._database.reading() as db:
            return db.execute(sql, values).fetchall()


def _session(row: tuple[str, str]) -> Session:
    return codec.session(row[0], json.loads(row[1]))


def _insert(db: sqlite3.Connection, saved: Session) -> None:
    taken = "SELECT 1 FROM session WHERE id = ? OR sandbox_id = ?"
    if db.execute(taken, (saved.id, saved.sandbox_id)).fetchone():
        raise Stale(f"{saved.id} exists already.")
    row = (saved.id, saved.account, saved.user_id, saved.sandbox_id, timestamp(saved.created_at))
    body = codec.fitting(codec.meta_text(saved), "the session")
    db.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, _due(saved), body))
    db.execute("INSERT INTO head VALUES (?, ?, ?)", (saved.id, saved.head.rev, codec.text(saved.head)))


def _update(db: sqlite3.Connection, before: Session, saved: Session) -> None:
    head = (saved.head.rev, codec.text(saved.head), saved.id, before.head.rev)
    if not db.execute("UPDATE head SET rev = ?, body = ? WHERE session_id = ? AND rev = ?", head).rowcount:
        raise Stale(f"{saved.id} was changed by another writer since it was read.")
    if before.model_copy(update={"head": saved.head}) != saved:
        body = codec.fitting(codec.meta_text(saved), "the session")
        db.execute("UPDATE session SET due_at = ?, body = ? WHERE id = ?", (_due(saved), body, saved.id))


def _due(session: Session) -> str | None:
    return timestamp(session.due_at) if session.due_at else None


def _count_live(db: sqlite3.Connection, before: Session | None, saved: Session, max_live: int | None) -> None:
    step = saved.live - (before is not None and before.live)
    if not step:
        return
    db.execute("INSERT OR IGNORE INTO live VALUES (?, 0)", (saved.account,))
    db.execute("UPDATE live SET n = n + ? WHERE account = ?", (step, saved.account))
    (n,) = db.execute("SELECT n FROM live WHERE account = ?", (saved.account,)).fetchone()
    if step > 0 and max_live is not None and n > max_live:
        raise commits.over_quota(max_live)


def _add(db: sqlite3.Connection, saved: Session, changes: Changes) -> None:
    for event in changes.events:
        body = codec.fitting(codec.dumps(codec.event_fields(event)), f"event {event.seq}")
        db.execute("INSERT INTO event VALUES (?, ?, ?)", (saved.id, event.seq, body))
    for message in changes.messages:
        body = codec.fitting(codec.text(message), "the message")
        db.execute("INSERT INTO message (session_id, body) VALUES (?, ?)", (saved.id, body))
    for number, item in changes.inbox:
        body = codec.fitting(codec.text(item), f"inbox item {number}")
        db.execute("INSERT INTO inbox VALUES (?, ?, ?)", (saved.sandbox_id, number, body))
    for version in changes.versions:
        body = codec.fitting(codec.text(version), f"version {version.number}")
        db.execute("INSERT INTO version VALUES (?, ?, ?)", (saved.id, version.number, body))
    if changes.config:
        body = codec.fitting(codec.text(changes.config), "the configuration")
        db.execute("INSERT OR REPLACE INTO config VALUES (?, ?)", (saved.id, body))
