"""What a process stores with that dies: before a statement or request, or when it was done."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opensessions.local.database import Database


class Killed(Exception):
    pass


class Life:
    """Of so many steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed


class DyingClient:
    """A DynamoDB client. Each request takes two steps: one to arrive, one for its answer to come back."""

    def __init__(self, client: Any, life: Life) -> None:
        self._client, self._life = client, life

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(**arguments: Any) -> Any:
            self._life.step()
            answer = method(**arguments)
            self._life.step()
            return answer

        return call


class DyingDatabase:
    """A step for each statement, and one for the news that a transaction was committed."""

    def __init__(self, database: Database, life: Life) -> None:
        self._database, self._life = database, life

    @contextmanager
    def writing(self) -> Iterator[Any]:
        with self._database.writing() as db:
            yield _Connection(db, self._life)
        self._life.step()

    @contextmanager
    def reading(self) -> Iterator[Any]:
        with self._database.reading() as db:
            yield _Connection(db, self._life)


class _Connection:
    def __init__(self, db: sqlite3.Connection, life: Life) -> None:
        self._db, self._life = db, life

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        self._life.step()
        return self._db.execute(*arguments)
