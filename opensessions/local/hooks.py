"""Webhooks on one machine: in the SQLite file, beside the sessions."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from opensessions import codec
from opensessions.errors import Stale
from opensessions.local.database import Database
from opensessions.models import Subscription, timestamp
from opensessions.webhooks.hooks import LETTER_DAYS, Cursor, Hook, Letter


class SqliteHooks:
    """A `hooks.Hooks`."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database, self._clock = database, clock

    def put(self, hook: Hook) -> None:
        own = hook.session_id is not None
        row = (hook.id, None if own else hook.account, timestamp(hook.created_at), codec.text(hook))
        with self._database.writing() as db:
            db.execute("INSERT INTO hook VALUES (?, ?, ?, ?)", row)

    def get(self, hook_id: str) -> Hook | None:
        with self._database.reading() as db:
            return _hook(db, hook_id)

    def of_account(self, account: str) -> list[Hook]:
        sql = "SELECT body FROM hook WHERE account = ? ORDER BY created_at, id"
        with self._database.reading() as db:
            return [Hook.model_validate_json(body) for (body,) in db.execute(sql, (account,))]

    def subscriptions(self, account: str) -> list[Subscription]:
        return [hook.subscription for hook in self.of_account(account)]

    def switch_off(self, hook_id: str, reason: str) -> None:
        with self._database.writing() as db:
            hook = _hook(db, hook_id)
            if hook and not hook.off:
                body = codec.text(hook.model_copy(update={"off": reason}))
                db.execute("UPDATE hook SET body = ? WHERE id = ?", (body, hook_id))

    def drop(self, hook_id: str) -> None:
        with self._database.writing() as db:
            db.execute("DELETE FROM hook WHERE id = ?", (hook_id,))
            db.execute("DELETE FROM letter WHERE hook_id = ?", (hook_id,))

    def claim(
        self, session_id: str, hook_id: str, holder: str, now: datetime, until: datetime
    ) -> Cursor | None:
        with self._database.writing() as db:
            cursor = _cursor(db, session_id, hook_id) or Cursor(session_id=session_id, hook_id=hook_id)
            held = cursor.held_until is not None and cursor.held_until > now
            if held or (cursor.due_at is not None and cursor.due_at > now):
                return None
            claimed = cursor.model_copy(update={"holder": holder, "held_until": until})
            _write(db, claimed)
        return claimed

    def save(self, cursor: Cursor, holder: str) -> None:
        with self._database.writing() as db:
            stored = _cursor(db, cursor.session_id, cursor.hook_id)
            if stored is None or stored.holder != holder:
                raise Stale(f"Somebody else delivers {cursor.session_id} to {cursor.hook_id}.")
            _write(db, cursor)

    def set_free(self) -> None:
        """Take all cursors from their holders: for a server that begins, when none can be left of another."""
        with self._database.writing() as db:
            for (body,) in db.execute("SELECT body FROM cursor WHERE held = 1").fetchall():
                free = {"holder": None, "held_until": None}
                _write(db, Cursor.model_validate_json(body).model_copy(update=free))

    def cursors(self, session_id: str) -> list[Cursor]:
        sql = "SELECT body FROM cursor WHERE session_id = ?"
        with self._database.reading() as db:
            return [Cursor.model_validate_json(body) for (body,) in db.execute(sql, (session_id,))]

    def forget(self, session_id: str, hook_id: str) -> None:
        with self._database.writing() as db:
            db.execute("DELETE FROM cursor WHERE session_id = ? AND hook_id = ?", (session_id, hook_id))

    def due(self, now: datetime, limit: int) -> list[tuple[str, str]]:
        sql = "SELECT session_id, hook_id FROM cursor WHERE due_at <= ? ORDER BY due_at LIMIT ?"
        with self._database.reading() as db:
            return db.execute(sql, (timestamp(now), limit)).fetchall()

    def bury(self, letter: Letter) -> None:
        key = (letter.hook_id, letter.session_id, letter.seq)
        expires = timestamp(letter.died_at + timedelta(days=LETTER_DAYS))
        with self._database.writing() as db:
            db.execute("DELETE FROM letter WHERE expires_at <= ?", (timestamp(self._clock()),))
            db.execute(
                "INSERT OR REPLACE INTO letter VALUES (?, ?, ?, ?, ?)", (*key, expires, codec.text(letter))
            )

    def letters(
        self, hook_id: str, after: tuple[str, int], limit: int, session_id: str | None = None
    ) -> Sequence[Letter]:
        where, values = "hook_id = ? AND (session_id, seq) > (?, ?) AND expires_at > ?", [hook_id, *after]
        values.append(timestamp(self._clock()))
        if session_id is not None:
            where, values = f"{where} AND session_id = ?", [*values, session_id]
        sql = f"SELECT body FROM letter WHERE {where} ORDER BY session_id, seq LIMIT ?"
        with self._database.reading() as db:
            return [Letter.model_validate_json(body) for (body,) in db.execute(sql, (*values, limit))]

    def unbury(self, hook_id: str, session_id: str, seq: int) -> None:
        sql = "DELETE FROM letter WHERE hook_id = ? AND session_id = ? AND seq = ?"
        with self._database.writing() as db:
            db.execute(sql, (hook_id, session_id, seq))

    def purge(self, session_id: str, subscriptions: Sequence[Subscription]) -> None:
        with self._database.writing() as db:
            db.execute("DELETE FROM cursor WHERE session_id = ?", (session_id,))
            db.execute("DELETE FROM letter WHERE session_id = ?", (session_id,))
            for subscription in subscriptions:
                hook = _hook(db, subscription.hook_id)
                if hook and hook.session_id == session_id:
                    db.execute("DELETE FROM hook WHERE id = ?", (hook.id,))


def _hook(db: sqlite3.Connection, hook_id: str) -> Hook | None:
    row = db.execute("SELECT body FROM hook WHERE id = ?", (hook_id,)).fetchone()
    return Hook.model_validate_json(row[0]) if row else None


def _cursor(db: sqlite3.Connection, session_id: str, hook_id: str) -> Cursor | None:
    sql = "SELECT body FROM cursor WHERE session_id = ? AND hook_id = ?"
    row = db.execute(sql, (session_id, hook_id)).fetchone()
    return Cursor.model_validate_json(row[0]) if row else None


def _write(db: sqlite3.Connection, cursor: Cursor) -> None:
    due = timestamp(cursor.due_at) if cursor.due_at else None
    row = (cursor.session_id, cursor.hook_id, due, cursor.holder is not None, codec.text(cursor))
    db.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?, ?)", row)
