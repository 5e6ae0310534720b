"""API keys in the SQLite file."""

import sqlite3
from datetime import datetime

from opensessions.access.keyring import LIVE_PER_NAME, REMEMBERED, Key, too_many
from opensessions.local.database import Database
from opensessions.models import timestamp


class SqliteKeyring:
    """A `keyring.Keyring`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, key: Key) -> None:
        values = key.model_dump(mode="json")
        names = ", ".join(_COLUMNS)
        with self._database.writing() as db:
            if key.created_at:
                past = timestamp(key.created_at - REMEMBERED)
                db.execute("DELETE FROM api_key WHERE revoked_at < ?", (past,))
            (good,) = db.execute(
                f"SELECT count(*) FROM api_key {_NAMESAKES}", (key.account, key.name)
            ).fetchone()
            if good >= LIVE_PER_NAME:
                raise too_many(key)
            db.execute(
                f"INSERT INTO api_key ({names}) VALUES ({', '.join('?' * len(_COLUMNS))})",
                [values[name] for name in _COLUMNS],
            )

    def find(self, key_hash: str) -> Key | None:
        return self._one("hash", key_hash)

    def get(self, key_id: str) -> Key | None:
        return self._one("id", key_id)

    def of_account(self, account: str) -> list[Key]:
        where = "WHERE account = ? AND revoked_at IS NULL ORDER BY created_at, id"
        with self._database.reading() as db:
            return [_key(row) for row in db.execute(f"{_SELECT} {where}", (account,))]

    def used(self, key: Key, at: datetime) -> None:
        sql = "UPDATE api_key SET last_used_at = max(coalesce(last_used_at, ''), ?) WHERE id = ?"
        with self._database.writing() as db:
            db.execute(sql, (timestamp(at), key.id))

    def revoke(self, key: Key, at: datetime) -> None:
        sql = "UPDATE api_key SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?"
        with self._database.writing() as db:
            db.execute(sql, (timestamp(at), key.id))

    def drop(self, key: Key) -> None:
        """Forget a key, which can be put again then."""
        with self._database.writing() as db:
            db.execute("DELETE FROM api_key WHERE id = ?", (key.id,))

    def _one(self, column: str, value: str) -> Key | None:
        with self._database.reading() as db:
            row = db.execute(f"{_SELECT} WHERE {column} = ?", (value,)).fetchone()
        return _key(row) if row else None


_COLUMNS = ("id", "hash", "account", "name", "scope", "created_at", "last_used_at", "revoked_at")
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM api_key"
_NAMESAKES = "WHERE account = ? AND name = ? AND revoked_at IS NULL"


def _key(row: sqlite3.Row | tuple[str | None, ...]) -> Key:
    return Key.model_validate(dict(zip(_COLUMNS, row, strict=True)))
