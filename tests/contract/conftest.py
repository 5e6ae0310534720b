import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from opensessions.money.ledger import Ledger
from opensessions.ports import SessionStore
from tests.contract import engines
from tests.contract.engines import DynamoEngine, Engine, SqliteEngine

SERVERS = {
    "dynamodb-local": ("OPENSESSIONS_DYNAMODB_LOCAL", engines.dynamodb_local),
    "ministack": ("OPENSESSIONS_MINISTACK", engines.ministack),
}
"""Asked for by an environment variable with the place where the program is."""

ASKED = [name for name, (variable, _) in SERVERS.items() if os.environ.get(variable)]


@pytest.fixture(scope="session")
def moto_client() -> Any:
    return engines.client()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A client for each server that was asked for."""
    with ExitStack() as stack:
        clients = {}
        for name in ASKED:
            variable, start = SERVERS[name]
            place = str(Path(os.environ[variable]).absolute())
            clients[name] = stack.enter_context(start(place, tmp_path_factory.mktemp(name)))
        yield clients


@pytest.fixture(params=["sqlite", "moto", *ASKED])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty engine, each in turn."""
    if request.param == "sqlite":
        yield from _closed(SqliteEngine(tmp_path / "sessions.db"))
    elif request.param == "moto":
        with mock_aws():
            yield from _closed(DynamoEngine(request.getfixturevalue("moto_client"), lock=True))
    else:
        yield from _closed(DynamoEngine(request.getfixturevalue("servers")[request.param]))


def _closed(engine: SqliteEngine | DynamoEngine) -> Iterator[Engine]:
    yield engine
    engine.close()


@pytest.fixture
def store(engine: Engine) -> SessionStore:
    return engine.open()


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    return engine.ledger()
