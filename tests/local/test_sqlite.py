"""What is SQLite's alone: the file, its versions, and a writer that is killed."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from opensessions.errors import StoreError
from opensessions.local import database
from opensessions.local.database import Database
from opensessions.local.sqlite import SqliteStore
from tests.contract.samples import START, append, create, save_version, say

WRITER = """
import sys
from pathlib import Path
from opensessions.local.database import Database
from opensessions.local.sqlite import SqliteStore
from tests.contract.samples import append, say
store = SqliteStore(Database(Path(sys.argv[1])))
session = store.get(sys.argv[2])
while True:
    session = say(store, append(store, session, 7), "hello")
    print(session.head.last_seq, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(Database(path))
    yield store
    store.close()


def test_a_writer_that_is_killed_leaves_whole_commits(path: Path, store: SqliteStore) -> None:
    """What it was told is stored is stored, and of the commit it died in all or nothing."""
    session = create(store)
    for kill_after in (1, 40, 15):
        command = [sys.executable, "-c", WRITER, str(path), session.id]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            told = [int(writer.stdout.readline()) for _ in range(kill_after)]
            os.kill(writer.pid, signal.SIGKILL)
        found = store.get(session.id)
        assert found and found.head.last_seq >= told[-1] and found.head.last_seq % 7 == 0
        last = found.head.last_seq
        assert [event.seq for event in store.events(session.id, 0, 99_999)] == list(range(1, last + 1))
        assert 0 <= last // 7 - len(store.messages(session.id, 99_999)) <= kill_after
        assert append(store, found, 7).head.last_seq == last + 7
        assert store.get(session.id) != found
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_file_is_the_owners_alone(path: Path) -> None:
    path.touch(mode=0o644)
    store = SqliteStore(Database(path))
    create(store)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    store.close()
    assert modes == {name: 0o600 for name in ("sessions.db", "sessions.db-wal", "sessions.db-shm")}


def test_commits_wait_for_the_disk(store: SqliteStore) -> None:
    with store._database.reading() as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION + 1}")
    with pytest.raises(StoreError, match=r"sessions\.db was written by a newer opensessions .* upgrade"):
        SqliteStore(Database(path))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_the_file_of_an_older_version_is_taken_along(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(database._STEPS[0])
        db.execute("PRAGMA user_version = 1")
    store = SqliteStore(Database(path))
    session = save_version(store, append(store, create(store)))
    store.close()
    store = SqliteStore(Database(path))
    assert store.get(session.id) == session
    assert [version.number for version in store.versions(session.id, 0, 9)] == [1]
    store.close()


def test_what_was_purged_is_not_in_the_files(path: Path, store: SqliteStore) -> None:
    session = say(store, append(store, create(store), 1, text="a secret event"), "a secret message")
    on_disk = lambda: b"".join(file.read_bytes() for file in path.parent.iterdir())  # noqa: E731
    assert b"a secret event" in on_disk() and b"a secret message" in on_disk()
    store.purge(session.id)
    assert b"secret" not in on_disk()


def test_a_new_file_can_be_opened_by_many_at_once(tmp_path: Path) -> None:
    barrier = Barrier(8)

    def open_store(path: Path) -> SqliteStore:
        barrier.wait()
        return SqliteStore(Database(path))

    with ThreadPoolExecutor(8) as threads:
        for number in range(20):
            stores = list(threads.map(open_store, [tmp_path / f"{number}.db"] * 8))
            made = [create(store) for store in stores]
            assert all(stores[0].get(session.id) == session for session in made)
            for store in stores:
                store.close()


def test_an_append_writes_the_head_and_the_events_alone(store: SqliteStore) -> None:
    session = create(store)
    statements: list[str] = []
    with store._database.reading() as db:
        db.set_trace_callback(statements.append)
    append(store, session, 2)
    with store._database.reading() as db:
        db.set_trace_callback(None)
    heads = [" ".join(statement.split()[:3]) for statement in statements]
    assert heads == ["BEGIN IMMEDIATE", "UPDATE head SET", *["INSERT INTO event"] * 2, "COMMIT"]


def test_a_closed_store_says_so(path: Path, store: SqliteStore) -> None:
    session = create(store)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.get(session.id)
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db"]


def test_a_reader_does_not_wait_for_a_writer(store: SqliteStore) -> None:
    session = create(store)
    with store._database.writing():
        assert store.get(session.id) == session


def test_what_expired_is_removed(store: SqliteStore) -> None:
    for minute in range(10):
        store.count("creates", 60, START.replace(minute=minute))
    with store._database.reading() as db:
        assert db.execute("SELECT count(*) FROM counter").fetchone() == (1,)
