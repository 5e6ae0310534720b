"""Where the contract suite runs. An engine is an empty place for one store, which can be opened again."""

import os
import socket
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from opensessions.access.audit import Audit
from opensessions.access.keyring import Keyring
from opensessions.access.passes import Passes
from opensessions.aws.audit import DynamoAudit
from opensessions.aws.dynamodb import DynamoStore
from opensessions.aws.hooks import DynamoHooks
from opensessions.aws.keyring import DynamoKeyring
from opensessions.aws.ledger import DynamoLedger
from opensessions.aws.passes import DynamoPasses
from opensessions.aws.pool import DynamoSpares
from opensessions.aws.table import INDEXES, create_table
from opensessions.local.audit import SqliteAudit
from opensessions.local.database import Database
from opensessions.local.hooks import SqliteHooks
from opensessions.local.keyring import SqliteKeyring
from opensessions.local.ledger import SqliteLedger
from opensessions.local.passes import SqlitePasses
from opensessions.local.pool import SqliteSpares
from opensessions.local.sqlite import SqliteStore
from opensessions.money.ledger import Ledger
from opensessions.pool.spares import Spares
from opensessions.ports import SessionStore
from opensessions.webhooks.hooks import Hooks
from tests.contract.dying import DyingClient, DyingDatabase, Life
from tests.contract.samples import Clock

Dump = dict[str, list[str]]


class Engine(Protocol):
    clock: Clock

    def open(self) -> SessionStore:
        """The store; each call opens it anew, as a process does that was started again."""
        ...

    def ledger(self) -> Ledger:
        """The book of what was used, opened anew."""
        ...

    def dying_ledger(self, after: int) -> Ledger:
        """That of a process which dies after so many statements or requests."""
        ...

    def hooks(self) -> Hooks:
        """What keeps webhooks beside the store."""
        ...

    def passes(self) -> Passes:
        """What keeps passes beside the store."""
        ...

    def keyring(self) -> Keyring:
        """What keeps API keys beside the store."""
        ...

    def spares(self) -> Spares:
        """The pool beside the store."""
        ...

    def audit(self) -> Audit:
        """The record of who did what."""
        ...

    def dump(self) -> Dump:
        """All that is stored, raw, by kind: `head`, `event`, …"""
        ...

    def cost(self, store: SessionStore, action: Callable[[], object]) -> int:
        """What an action on the store makes the engine do, in a unit of its own."""
        ...


class SqliteEngine:
    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self._path = path
        self._opened: list[SqliteStore] = []

    def open(self) -> SqliteStore:
        self._opened.append(SqliteStore(Database(self._path), self.clock))
        return self._opened[-1]

    def ledger(self) -> SqliteLedger:
        return SqliteLedger(self.open()._database, self.clock)

    def dying_ledger(self, after: int) -> SqliteLedger:
        return SqliteLedger(DyingDatabase(self.open()._database, Life(after)), self.clock)  # type: ignore[arg-type]

    def hooks(self) -> SqliteHooks:
        return SqliteHooks(self.open()._database, self.clock)

    def spares(self) -> SqliteSpares:
        return SqliteSpares(self.open()._database)

    def passes(self) -> SqlitePasses:
        return SqlitePasses(self.open()._database)

    def keyring(self) -> SqliteKeyring:
        return SqliteKeyring(self.open()._database)

    def audit(self) -> SqliteAudit:
        return SqliteAudit(self.open()._database)

    def close(self) -> None:
        for store in self._opened:
            store.close()

    def dump(self) -> Dump:
        with closing(sqlite3.connect(self._path)) as db:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: sorted(map(repr, db.execute(f"SELECT * FROM {name}"))) for name in tables}

    def cost(self, store: SessionStore, action: Callable[[], object]) -> int:
        """Steps of SQLite's virtual machine: one for each row that it looks at, and more."""
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1

        assert isinstance(store, SqliteStore)
        with store._database.reading() as connection:  # the one that the action is going to be lent
            connection.set_progress_handler(count, 1)
        action()
        with store._database.reading() as connection:
            connection.set_progress_handler(None, 0)
        return steps


class Client:
    """A DynamoDB client that counts what passes. `lock` is for moto, whose transactions do not keep threads
    apart.
    """

    def __init__(self, client: Any, lock: bool = False) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.items = 0
        self._client = client
        self._lock = RLock() if lock else None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(**arguments: Any) -> Any:
            answer = self._call(method, arguments)
            self.requests.append((name, arguments))
            self.items += answer.get("ScannedCount", 1) + len(arguments.get("TransactItems", ()))
            return answer

        return call if name.islower() and not name.startswith("get_waiter") else method

    def _call(self, method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if not self._lock:
            return method(**arguments)
        with self._lock:
            return method(**arguments)


class DynamoEngine:
    def __init__(self, client: Any, lock: bool = False) -> None:
        self.clock = Clock()
        self.client = Client(client, lock)
        self.table = f"sessions-{uuid.uuid4()}"
        create_table(client, self.table)

    def open(self) -> DynamoStore:
        return DynamoStore(self.table, self.client, self.clock)  # type: ignore[arg-type]

    def ledger(self) -> DynamoLedger:
        return DynamoLedger(self.table, self.client, self.clock)  # type: ignore[arg-type]

    def dying_ledger(self, after: int) -> DynamoLedger:
        return DynamoLedger(self.table, DyingClient(self.client, Life(after)), self.clock)  # type: ignore[arg-type]

    def hooks(self) -> DynamoHooks:
        return DynamoHooks(self.table, self.client, self.clock)  # type: ignore[arg-type]

    def spares(self) -> DynamoSpares:
        return DynamoSpares(self.table, self.client)  # type: ignore[arg-type]

    def passes(self) -> DynamoPasses:
        return DynamoPasses(self.table, self.client)  # type: ignore[arg-type]

    def keyring(self) -> DynamoKeyring:
        return DynamoKeyring(self.table, self.client)  # type: ignore[arg-type]

    def audit(self) -> DynamoAudit:
        return DynamoAudit(self.table, self.client, self.clock)  # type: ignore[arg-type]

    def close(self) -> None:
        self.client.delete_table(TableName=self.table)

    def dump(self) -> Dump:
        dump: Dump = {}
        for item in self._scan():
            dump.setdefault(_kind(item), []).append(repr(sorted(item.items())))
        for index in INDEXES:
            dump[index] = [repr(sorted(item.items())) for item in self._scan(IndexName=index)]
        return {kind: sorted(items) for kind, items in dump.items()}

    def cost(self, store: SessionStore, action: Callable[[], object]) -> int:
        """Requests, and items that were read or written."""
        before = len(self.client.requests) + self.client.items
        action()
        return len(self.client.requests) + self.client.items - before

    def _scan(self, **options: Any) -> Iterator[dict[str, Any]]:
        while True:
            answer = self.client.scan(TableName=self.table, **options)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            options["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _kind(item: dict[str, Any]) -> str:
    kind = item["sk"]["S"].partition("#")[0]
    return {"EV": "event", "HEAD": "head"}.get(kind, f"{item['pk']['S'].partition('#')[0]} {kind}")


def client(endpoint: str | None = None) -> Any:
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(max_pool_connections=50),
    )


@contextmanager
def dynamodb_local(folder: str, data: Path) -> Iterator[Any]:
    """Amazon's DynamoDB Local, from a folder that holds its jar; needs Java."""
    jar = ["java", "-Djava.library.path=./DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar"]
    port = _free_port()
    with _server([*jar, "-port", str(port), "-sharedDb", "-dbPath", str(data)], folder, port, {}) as client:
        yield client


@contextmanager
def ministack(program: str, data: Path) -> Iterator[Any]:
    port = _free_port()
    with _server([program], data, port, {"GATEWAY_PORT": str(port)}) as client:
        yield client


@contextmanager
def _server(command: list[str], folder: str | Path, port: int, env: dict[str, str]) -> Iterator[Any]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **env}, stdout=quiet, stderr=quiet)
    try:
        made = client(f"http://127.0.0.1:{port}")
        _wait_until_answering(made, process)
        with closing(made):
            yield made
    finally:
        process.kill()
        process.wait()


def _wait_until_answering(client: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            client.list_tables()
            return
        except (BotoCoreError, ClientError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
