from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import World, world


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    """A service over SQLite and a runtime that only remembers."""
    made = world(tmp_path)
    yield made
    made.store.close()  # type: ignore[attr-defined]
