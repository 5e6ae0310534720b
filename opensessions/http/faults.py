"""The last line: an exception that nobody foresaw."""

import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opensessions.http.errors import internal_error

log = logging.getLogger(__name__)


class Faults:
    """ASGI middleware inside `RequestIds`: logs what reaches it with the request's id, and answers 500
    without a detail.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id: str = scope["state"]["request_id"]
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            log.info("Request %s: the client went away.", request_id)
        except Exception:
            log.exception("Request %s failed: %s %s", request_id, scope["method"], scope["path"])
            if started:
                raise
            await internal_error(request_id)(scope, receive, watched)
