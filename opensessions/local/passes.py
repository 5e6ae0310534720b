"""Passes in the SQLite file."""

from datetime import timedelta

from opensessions import codec
from opensessions.access.passes import SECONDS, Pass
from opensessions.local.database import Database
from opensessions.models import timestamp


class SqlitePasses:
    """A `passes.Passes`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, token_hash: str, new: Pass) -> None:
        row = (new.session_id, token_hash, timestamp(new.expires_at), codec.text(new))
        expired = timestamp(new.expires_at - timedelta(seconds=SECONDS[-1]))
        with self._database.writing() as db:
            db.execute("DELETE FROM pass WHERE expires_at < ?", (expired,))
            db.execute("INSERT INTO pass VALUES (?, ?, ?, ?)", row)

    def get(self, session_id: str, token_hash: str) -> Pass | None:
        with self._database.reading() as db:
            return _pass(db.execute("SELECT body" + _ONE, (session_id, token_hash)).fetchone())

    def take(self, session_id: str, token_hash: str) -> Pass | None:
        with self._database.writing() as db:
            found = db.execute("SELECT body" + _ONE, (session_id, token_hash)).fetchone()
            db.execute("DELETE" + _ONE, (session_id, token_hash))
        return _pass(found)


_ONE = " FROM pass WHERE session_id = ? AND hash = ?"


def _pass(row: tuple[str] | None) -> Pass | None:
    return Pass.model_validate_json(row[0]) if row else None
