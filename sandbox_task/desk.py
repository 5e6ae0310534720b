"""What the worker lends to those who work in it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2

from sandbox_task.outbox import Put, State
from sandbox_task.settings import Paths
from sandbox_task.surroundings import Surroundings


@dataclass(frozen=True)
class Desk:
    """`put` takes events, `tell` what the worker does; `stop` ends it. `client` is the gateway's, `token` the
    worker's own, `own` are the worker's ports.
    """

    around: Surroundings
    paths: Paths
    client: httpx2.AsyncClient
    token: str = field(repr=False)
    own: set[int]
    put: Put
    tell: Callable[[State], None]
    stop: Callable[[], None]
