"""What the worker lends to those who work in it."""

from collections.abc import Callable
from dataclasses import dataclass

import httpx2

from sandbox_task.outbox import Put, State
from sandbox_task.settings import Paths
from sandbox_task.surroundings import Surroundings


@dataclass(frozen=True)
class Desk:
    """`put` takes events, `tell` what the worker does; `stop` ends it. `client` is the gateway's, `own` are
    the worker's ports.
    """

    around: Surroundings
    paths: Paths
    client: httpx2.AsyncClient
    own: set[int]
    put: Put
    tell: Callable[[State], None]
    stop: Callable[[], None]
