import sys
from collections.abc import Iterator

import pytest

from tests.rehearsal.rehearsal import Rehearsal


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """The deployed system, which the end-to-end tests take for a server."""
    running = Rehearsal(tmp_path_factory.mktemp("rehearsal"))
    print(f"\nseconds: {running.deployment.times}", file=sys.__stderr__)
    yield running
    running.stop()
