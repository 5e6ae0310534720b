"""The SQLite file of the local store: its schema, and who may use which connection when."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from opensessions.errors import StoreError

PATIENCE = 30.0
"""Seconds to wait for another process that writes."""

_STEPS = (
    """
CREATE TABLE session (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, user_id TEXT NOT NULL, sandbox_id TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL, due_at TEXT, body TEXT NOT NULL);
CREATE INDEX session_by_account ON session (account, created_at, id);
CREATE INDEX session_by_user ON session (account, user_id, created_at, id);
CREATE INDEX session_due ON session (due_at, id) WHERE due_at IS NOT NULL;
CREATE TABLE head (session_id TEXT PRIMARY KEY, rev INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE config (session_id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE event (session_id TEXT, seq INTEGER, body TEXT NOT NULL, PRIMARY KEY (session_id, seq));
CREATE TABLE message (number INTEGER PRIMARY KEY, session_id TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX message_of_session ON message (session_id, number);
CREATE TABLE inbox (sandbox_id TEXT, seq INTEGER, body TEXT NOT NULL, PRIMARY KEY (sandbox_id, seq));
CREATE TABLE claim (
    account TEXT, key TEXT, fingerprint TEXT NOT NULL, session_id TEXT NOT NULL, expires_at REAL NOT NULL,
    PRIMARY KEY (account, key));
CREATE INDEX claim_expiry ON claim (expires_at);
CREATE TABLE counter (
    key TEXT, window_seconds INTEGER, ends_at REAL, n INTEGER NOT NULL,
    PRIMARY KEY (key, window_seconds, ends_at));
CREATE INDEX counter_expiry ON counter (ends_at);
CREATE TABLE live (account TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE api_key (hash TEXT PRIMARY KEY, account TEXT NOT NULL);
""",
    """
CREATE TABLE version (
    session_id TEXT, number INTEGER, body TEXT NOT NULL, PRIMARY KEY (session_id, number));
CREATE TABLE template (
    account TEXT, id TEXT, created_at TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (account, id));
""",
    """
CREATE TABLE pass (
    session_id TEXT, hash TEXT, expires_at TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (session_id, hash));
CREATE INDEX pass_expiry ON pass (expires_at);
CREATE TABLE meter (
    key TEXT PRIMARY KEY, account TEXT NOT NULL, session_id TEXT, turn INTEGER, user_id TEXT, period TEXT,
    held_nanodollars INTEGER NOT NULL, held_tokens INTEGER NOT NULL, used TEXT NOT NULL);
CREATE INDEX meter_of_session ON meter (session_id, turn) WHERE session_id IS NOT NULL;
CREATE INDEX meter_of_period ON meter (account, period, user_id) WHERE period IS NOT NULL;
CREATE TABLE call (
    session_id TEXT, id TEXT, began_at TEXT NOT NULL, settled_at REAL, body TEXT,
    PRIMARY KEY (session_id, id));
CREATE INDEX call_open ON call (session_id, began_at) WHERE settled_at IS NULL;
CREATE INDEX call_settled ON call (settled_at) WHERE settled_at IS NOT NULL;
CREATE TABLE entry (session_id TEXT, id TEXT, PRIMARY KEY (session_id, id));
CREATE TABLE allowance (key TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE hook (id TEXT PRIMARY KEY, account TEXT, created_at TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX hook_by_account ON hook (account, created_at, id) WHERE account IS NOT NULL;
CREATE TABLE cursor (
    session_id TEXT, hook_id TEXT, due_at TEXT, held INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (session_id, hook_id));
CREATE INDEX cursor_due ON cursor (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE letter (
    hook_id TEXT, session_id TEXT, seq INTEGER, expires_at TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (hook_id, session_id, seq));
CREATE INDEX letter_of_session ON letter (session_id);
CREATE INDEX letter_expiry ON letter (expires_at);
CREATE TABLE spare (
    slot INTEGER PRIMARY KEY, sandbox_id TEXT NOT NULL UNIQUE, rev INTEGER NOT NULL, body TEXT NOT NULL);
ALTER TABLE api_key ADD COLUMN id TEXT;
ALTER TABLE api_key ADD COLUMN name TEXT NOT NULL DEFAULT 'server';
ALTER TABLE api_key ADD COLUMN scope TEXT NOT NULL DEFAULT 'admin';
ALTER TABLE api_key ADD COLUMN created_at TEXT;
ALTER TABLE api_key ADD COLUMN last_used_at TEXT;
ALTER TABLE api_key ADD COLUMN revoked_at TEXT;
UPDATE api_key SET id = 'key_' || lower(hex(randomblob(16)));
CREATE UNIQUE INDEX api_key_id ON api_key (id);
CREATE INDEX api_key_by_account ON api_key (account, created_at) WHERE revoked_at IS NULL;
CREATE TABLE audit (
    account TEXT, at TEXT, id TEXT, body TEXT NOT NULL, PRIMARY KEY (account, at, id)) WITHOUT ROWID;
CREATE INDEX audit_by_time ON audit (at);
""",
)
"""From nothing to the present schema; a file has taken as many of these as its `user_version` says."""

SCHEMA_VERSION = len(_STEPS)


class Database:
    """Durable on return (WAL with synchronous=FULL), readable by its owner alone; what is deleted is
    overwritten. Creates the file; its folder must exist. Raises StoreError for the file of a newer version.

    One for a process: the session store and all that is kept beside it share it.

    A connection is lent to one thread at a time and kept for the next one: readers need not wait for a
    writer's fsync, as they would with a single connection, and threads that come and go leave none behind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._pool = Lock()
        self._writer = Lock()
        with suppress(FileExistsError):
            path.touch(mode=0o600, exist_ok=False)
        path.chmod(0o600)
        try:
            self._switch_to_wal()
            self._create_schema()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Idempotent. What other threads are still doing ends well; what they begin after it fails."""
        with self._pool:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """For one statement: each sees a state of its own."""
        connection = self._take()
        try:
            yield connection
        finally:
            self._give_back(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is alone from its start, and undone by any exception."""
        with self._writer, self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def forget(self) -> None:
        """Leave nothing of what was deleted in the file's log either, unless somebody is still reading it."""
        with self.reading() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _take(self) -> sqlite3.Connection:
        with self._pool:
            if self._closed:
                raise StoreError(f"The store {self._path} is closed.")
            if self._idle:
                return self._idle.pop()
        connection = sqlite3.connect(
            self._path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._pool:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _switch_to_wal(self) -> None:
        """Once for a file. Of several who do it at once SQLite lets some fail without waiting its timeout."""
        deadline = time.monotonic() + PATIENCE
        with self.reading() as connection:
            while True:
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                    return
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                        raise
                time.sleep(0.01)

    def _create_schema(self) -> None:
        with self.writing() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"{self._path} was written by a newer opensessions (schema {version}, this one knows "
                    f"{SCHEMA_VERSION}): upgrade opensessions, or choose another data folder."
                )
            for step in _STEPS[version:]:
                for statement in step.split(";"):
                    connection.execute(statement)
            if version < SCHEMA_VERSION:
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
