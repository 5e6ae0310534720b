from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.gateway.dataplane.stage import LOOPS, Stage


@pytest.fixture(params=sorted(LOOPS))
def loop_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stages(loop_name: str) -> Iterator[Callable[..., Stage]]:
    """Makes stages with limits of the test's own."""
    with ExitStack() as stack:

        def make(**options: Any) -> Stage:
            return stack.enter_context(Stage(loop_name, **options))

        yield make


@pytest.fixture
def stage(stages: Callable[..., Stage]) -> Stage:
    return stages()
