"""What is put on the record."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opensessions.access.callers import Caller
from opensessions.access.keyring import Key, key_id
from opensessions.access.passes import Pass
from opensessions.access.recording import Recording, Seen, entry
from opensessions.local.audit import SqliteAudit
from opensessions.local.database import Database
from opensessions.local.keyring import SqliteKeyring

NOW = datetime(2026, 11, 24, 12, 0, 59, 999_000, tzinfo=UTC)
SESSION = "session_" + "1" * 32
KEY = Key(id=key_id("a" * 64), hash="a" * 64, account="acme", name="ci", scope="write", created_at=NOW)
BY_KEY = Caller("acme", "write", KEY)
PASS = Pass(session_id=SESSION, scope="read", number=0, expires_at=NOW)
BY_TOKEN = Caller("acme", "read", session_pass=PASS)


def seen(caller: Caller = BY_KEY, method: str = "POST", result: int = 200, target: str = SESSION) -> Seen:
    return Seen(caller, method, "action", target, "u1", "192.0.2.1", result)


@pytest.mark.parametrize(
    ("request_", "recorded"),
    [
        (seen(), True),
        (seen(result=201), True),
        (seen(result=500), True),
        (seen(result=404), True),
        (seen(method="GET"), False),
        (seen(method="GET", result=404), False),
        (seen(method="GET", result=403), True),
        (seen(method="GET", result=401), True),
        (seen(BY_TOKEN, "GET"), True),
        (seen(BY_TOKEN, "HEAD"), True),
    ],
)
def test_what_changes_something_is_refused_or_is_read_by_a_token_is_recorded(
    request_: Seen, recorded: bool
) -> None:
    assert (entry(request_, NOW) is not None) == recorded


@pytest.mark.parametrize(
    ("request_", "once"),
    [
        (seen(), False),
        (seen(result=500), False),
        (seen(BY_TOKEN), False),
        (seen(result=404), True),
        (seen(result=401), True),
        (seen(BY_TOKEN, "GET"), True),
    ],
)
def test_what_may_come_often_makes_one_entry_a_minute(request_: Seen, once: bool) -> None:
    first, second = entry(request_, NOW), entry(request_, NOW - timedelta(seconds=59))
    later = entry(request_, NOW + timedelta(milliseconds=1))
    assert first and second and later
    assert (first.position == second.position) == once
    assert first.position != later.position
    assert first.at == (NOW.replace(second=0, microsecond=0) if once else NOW)


def test_entries_of_others_are_others() -> None:
    other = Caller("acme", "read", session_pass=PASS.model_copy(update={"expires_at": NOW + timedelta(1)}))
    made = [
        entry(each, NOW)
        for each in (
            seen(BY_TOKEN, "GET"),
            seen(other, "GET"),
            seen(BY_TOKEN, "GET", target="x"),
            seen(BY_TOKEN, "GET", 404),
            seen(BY_KEY, "GET", 403),
        )
    ]
    assert len({each.position for each in made if each}) == 5


def test_a_key_is_written_down_as_used_once_an_hour(tmp_path: Path) -> None:
    database, now = Database(tmp_path / "db"), NOW
    keyring = SqliteKeyring(database)
    keyring.put(KEY)
    recording = Recording(SqliteAudit(database), keyring, lambda: now)
    uses = []
    for minutes in (0, 59, 60, 119, 121):
        now = NOW + timedelta(minutes=minutes)
        key = keyring.find(KEY.hash)
        recording.saw(seen(Caller("acme", "write", key), "GET"))
        recording.saw(seen(Caller("acme", "write", KEY), "GET", 401))
        found = keyring.find(KEY.hash)
        assert found and found.last_used_at
        uses.append((found.last_used_at - NOW) // timedelta(minutes=1))
    assert uses == [0, 0, 60, 60, 121]
    database.close()


def test_what_is_known_to_be_written_is_not_written_again(tmp_path: Path) -> None:
    class Counting(SqliteAudit):
        added = 0

        def add(self, entry: object) -> None:
            self.added += 1

    database = Database(tmp_path / "db")
    audit = Counting(database)
    recording = Recording(audit, SqliteKeyring(database), lambda: NOW)
    for _ in range(5):
        recording.saw(seen(BY_TOKEN, "GET"))
        recording.saw(seen())
    assert audit.added == 1 + 5
    database.close()
