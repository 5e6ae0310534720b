"""The ledger in the SQLite file."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from opensessions import codec
from opensessions.local.database import Database
from opensessions.models import timestamp
from opensessions.money.ledger import REMEMBERED_SECONDS, Allowance, Amounts, Call, Meter

_METER = "SELECT account, session_id, turn, user_id, period, used FROM meter "
_OPEN = "SELECT body FROM call WHERE session_id = ? AND settled_at IS NULL"


class SqliteLedger:
    """A `ledger.Ledger`."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock

    # ---- writing ----

    def reserve(self, call: Call) -> None:
        row = (call.session_id, call.id, timestamp(call.began_at), codec.call_text(call))
        with self._database.writing() as db:
            if not db.execute("INSERT OR IGNORE INTO call VALUES (?, ?, ?, NULL, ?)", row).rowcount:
                return
            for meter, bound in call.meters:
                held = _hold(db, meter, call.worst.nanodollars, call.worst.tokens)
                if not bound.holds(*held):
                    raise call.over_budget(meter)

    def settle(self, session_id: str, call_id: str, used: Amounts) -> list[tuple[Meter, Amounts]] | None:
        with self._database.writing() as db:
            found = db.execute(_OPEN + " AND id = ?", (session_id, call_id)).fetchone()
            return self._settle(db, codec.call(found[0]), used) if found else None

    def _settle(self, db: sqlite3.Connection, call: Call, used: Amounts) -> list[tuple[Meter, Amounts]]:
        now = self._clock().timestamp()
        db.execute("DELETE FROM call WHERE settled_at <= ?", (now - REMEMBERED_SECONDS,))
        row = (now, call.session_id, call.id)
        db.execute("UPDATE call SET settled_at = ?, body = NULL WHERE session_id = ? AND id = ?", row)
        for meter, _ in call.meters:
            _hold(db, meter, -call.worst.nanodollars, -call.worst.tokens)
        return [(meter, _use(db, meter, used)) for meter, _ in call.meters]

    def record(self, session_id: str, entry_id: str, meters: Sequence[Meter], amounts: Amounts) -> bool:
        with self._database.writing() as db:
            row = (session_id, entry_id)
            if not db.execute("INSERT OR IGNORE INTO entry VALUES (?, ?)", row).rowcount:
                return False
            for meter in meters:
                _use(db, meter, amounts)
        return True

    def put_allowance(self, account: str, user_id: str | None, allowance: Allowance) -> None:
        row = (codec.dumps([account, user_id]), codec.text(allowance))
        with self._database.writing() as db:
            db.execute("INSERT OR REPLACE INTO allowance VALUES (?, ?)", row)

    def purge(self, session_id: str) -> None:
        with self._database.writing() as db:
            for (body,) in db.execute(_OPEN, (session_id,)).fetchall():
                call = codec.call(body)
                self._settle(db, call, call.lost)
            for table in ("call", "entry", "meter"):
                db.execute(f"DELETE FROM {table} WHERE session_id = ?", (session_id,))

    # ---- reading ----

    def open_calls(self, session_id: str, began_before: datetime) -> list[Call]:
        sql = _OPEN + " AND began_at < ? ORDER BY began_at, id"
        return [codec.call(body) for (body,) in self._all(sql, session_id, timestamp(began_before))]

    def read(self, meter: Meter) -> Amounts:
        with self._database.reading() as db:
            return _used(db, meter)

    def turns(self, session_id: str) -> dict[int, Amounts]:
        found = self._meters("WHERE session_id = ? AND turn IS NOT NULL ORDER BY turn", session_id)
        return {meter.turn: used for meter, used in found if meter.turn is not None}

    def days(
        self, account: str, first: str, last: str, user_id: str | None = None
    ) -> list[tuple[Meter, Amounts]]:
        who, values = ("user_id IS NOT NULL", []) if user_id is None else ("user_id = ?", [user_id])
        return self._meters(f"{_DAYS} AND {who} ORDER BY period, user_id", account, first, last, *values)

    def totals(self, account: str, first: str, last: str) -> list[tuple[Meter, Amounts]]:
        return self._meters(f"{_DAYS} AND user_id IS NULL ORDER BY period", account, first, last)

    def allowance(self, account: str, user_id: str | None) -> Allowance:
        found = self._all("SELECT body FROM allowance WHERE key = ?", codec.dumps([account, user_id]))
        return Allowance.model_validate_json(found[0][0]) if found else Allowance()

    def _meters(self, where: str, *values: object) -> list[tuple[Meter, Amounts]]:
        """Those that something was used on."""
        found = [
            (Meter(*row), Amounts(**json.loads(used))) for *row, used in self._all(_METER + where, *values)
        ]
        return [(meter, used) for meter, used in found if used != Amounts()]

    def _all(self, sql: str, *values: object) -> list[Any]:
        with self._database.reading() as db:
            return db.execute(sql, values).fetchall()


_DAYS = "WHERE account = ? AND period BETWEEN ? AND ? AND length(period) = 10"


def _hold(db: sqlite3.Connection, meter: Meter, nanodollars: int, tokens: int) -> tuple[int, int]:
    """Change what is set aside or used on a meter. Returns how much it is then."""
    row = (meter.account, meter.session_id, meter.turn, meter.user_id, meter.period, nanodollars, tokens)
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in ("held_nanodollars", "held_tokens"))
    upsert = f"INSERT INTO meter VALUES (?, ?, ?, ?, ?, ?, ?, ?, '{{}}') ON CONFLICT DO UPDATE SET {added}"
    db.execute(upsert, (_key(meter), *row))
    sql = "SELECT held_nanodollars, held_tokens FROM meter WHERE key = ?"
    held: tuple[int, int] = db.execute(sql, (_key(meter),)).fetchone()
    return held


def _use(db: sqlite3.Connection, meter: Meter, amounts: Amounts) -> Amounts:
    """Add what was used. Returns all that was."""
    _hold(db, meter, amounts.nanodollars, amounts.tokens)
    used = _used(db, meter) + amounts
    db.execute("UPDATE meter SET used = ? WHERE key = ?", (codec.amounts_text(used), _key(meter)))
    return used


def _used(db: sqlite3.Connection, meter: Meter) -> Amounts:
    found = db.execute("SELECT used FROM meter WHERE key = ?", (_key(meter),)).fetchone()
    return Amounts(**json.loads(found[0])) if found else Amounts()


def _key(meter: Meter) -> str:
    return codec.dumps([meter.account, meter.session_id, meter.turn, meter.user_id, meter.period])
