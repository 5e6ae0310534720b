from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not harm it."""
    running = Server(tmp_path_factory.mktemp("server")).start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server for one test alone."""
    running = Server(tmp_path).start()
    yield running
    if running.process.poll() is None:
        running.stop()
    running.keep_secrets()
