"""ASGI applications as Lambda handlers."""

import asyncio
from typing import Any

from mangum import Mangum
from starlette.types import ASGIApp


def handler_of(app: ASGIApp) -> Mangum:
    """What answers API Gateway's events, and those that the gateway makes, by `app`.

    Mangum asks for the thread's event loop; from Python 3.14 on there is none unless somebody made it.
    """
    asyncio.set_event_loop(asyncio.new_event_loop())
    served: Any = app
    return Mangum(served, lifespan="off")
