import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from opensessions.http import api
from opensessions.sessions.service import Quota
from tests.fakes import World, open_account, world

Dump = Callable[[], list[str]]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    """A service whose quotas are out of the way."""
    made = world(tmp_path, quota=Quota(live=1000, creates=10_000))
    yield made
    made.store.close()  # type: ignore[attr-defined]


@pytest.fixture
def keyless(here: World) -> Iterator[TestClient]:
    """A caller without a key."""
    with TestClient(api.create_app(here.service), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(here: World) -> Iterator[TestClient]:
    """A caller of the account "acme"."""
    key = open_account(here.keyring)
    with TestClient(api.create_app(here.service), headers={"X-API-Key": key}) as client:
        yield client


@pytest.fixture
def other(here: World) -> Iterator[TestClient]:
    """A caller of another account."""
    key = open_account(here.keyring, "globex")
    with TestClient(api.create_app(here.service), headers={"X-API-Key": key}) as client:
        yield client


@pytest.fixture
def dump(here: World) -> Dump:
    """Everything that the store holds, as text, but what is noted of each call: who made it, by which key."""
    noted = ('INSERT INTO "api_key"', 'INSERT INTO "audit"')

    def read() -> list[str]:
        db = sqlite3.connect(here.folder / "sessions.db")
        try:
            return [line for line in db.iterdump() if not line.startswith(noted)]
        finally:
            db.close()

    return read
