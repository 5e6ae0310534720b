"""The pool in the SQLite file."""

import sqlite3

from opensessions import codec
from opensessions.errors import SpareGone, Stale
from opensessions.local.database import Database
from opensessions.pool.spares import Spare


class SqliteSpares:
    """A `pool.Spares`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Spare]:
        return self._found("ORDER BY slot")

    def find(self, sandbox_id: str) -> Spare | None:
        return next(iter(self._found("WHERE sandbox_id = ?", sandbox_id)), None)

    def at(self, slot: int) -> Spare | None:
        return next(iter(self._found("WHERE slot = ?", slot)), None)

    def add(self, new: Spare) -> None:
        row = (new.slot, new.sandbox_id, new.rev, codec.text(new))
        with self._database.writing() as db:
            if not db.execute("INSERT OR IGNORE INTO spare VALUES (?, ?, ?, ?)", row).rowcount:
                raise Stale(f"Slot {new.slot} of the pool is taken.")

    def change(self, before: Spare, after: Spare) -> Spare:
        saved = after.model_copy(update={"rev": before.rev + 1})
        row = (saved.rev, codec.text(saved), before.slot, before.sandbox_id, before.rev)
        sql = "UPDATE spare SET rev = ?, body = ? WHERE slot = ? AND sandbox_id = ? AND rev = ?"
        with self._database.writing() as db:
            if not db.execute(sql, row).rowcount:
                raise Stale(f"{before.sandbox_id} was changed, or has left the pool.")
        return saved

    def drop(self, spare: Spare) -> bool:
        sql = "DELETE FROM spare WHERE slot = ? AND sandbox_id = ?"
        with self._database.writing() as db:
            return bool(db.execute(sql, (spare.slot, spare.sandbox_id)).rowcount)

    def _found(self, which: str, *values: object) -> list[Spare]:
        with self._database.reading() as db:
            rows = db.execute(f"SELECT body FROM spare {which}", values).fetchall()
        return [Spare.model_validate_json(body) for (body,) in rows]


def take(db: sqlite3.Connection, spare: Spare) -> None:
    """Empty a spare's slot, within a transaction. Raises SpareGone."""
    sql = "DELETE FROM spare WHERE slot = ? AND sandbox_id = ? AND rev = ?"
    if not db.execute(sql, (spare.slot, spare.sandbox_id, spare.rev)).rowcount:
        raise SpareGone(f"{spare.sandbox_id} has left the pool.")
