"""The audit record in the SQLite file."""

from datetime import datetime

from opensessions import codec
from opensessions.access.audit import KEPT, Entry, Record, position_of, recorded
from opensessions.local.database import Database
from opensessions.models import timestamp


class SqliteAudit:
    """An `audit.Audit`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, entry: Entry) -> None:
        row = (entry.account, timestamp(entry.at), entry.id, codec.text(entry))
        with self._database.writing() as db:
            db.execute("DELETE FROM audit WHERE at < ?", (timestamp(entry.at - KEPT),))
            db.execute("INSERT OR IGNORE INTO audit VALUES (?, ?, ?, ?)", row)

    def page(self, account: str, since: datetime, until: datetime, limit: int, cursor: str | None) -> Record:
        before = position_of(account, cursor) if cursor else timestamp(until)
        at, _, entry_id = before.partition("#")
        sql = (
            "SELECT body FROM audit WHERE account = ? AND at >= ? AND at < ? AND (at, id) < (?, ?) "
            "ORDER BY at DESC, id DESC LIMIT ?"
        )
        values = (account, timestamp(since), timestamp(until), at, entry_id, limit + 1)
        with self._database.reading() as db:
            found = [Entry.model_validate_json(body) for (body,) in db.execute(sql, values)]
        return recorded(account, found, limit)
