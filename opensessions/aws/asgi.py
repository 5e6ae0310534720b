"""ASGI applications as Lambda handlers."""

import asyncio
from typing import Any

from mangum import Mangum
from starlette.types import ASGIApp, Receive, Scope, Send


def handler_of(app: ASGIApp) -> Mangum:
    """What answers API Gateway's events, and those that the gateway makes, by `app`.

    Mangum asks for the thread's event loop; from Python 3.14 on there is none unless somebody made it.
    """
    asyncio.set_event_loop(asyncio.new_event_loop())
    served: Any = _below_stage(app)
    return Mangum(served, lifespan="off")


def _below_stage(app: ASGIApp) -> ASGIApp:
    """The app, told what of an address is before its paths: API Gateway takes the stage off."""

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        event = scope["aws.event"]
        whole, path = event["requestContext"].get("path", ""), event.get("path", "")
        if path and whole.endswith(path):
            stage = whole.removesuffix(path)
            scope = {**scope, "root_path": stage, "path": stage + scope["path"]}
        await app(scope, receive, send)

    return below
