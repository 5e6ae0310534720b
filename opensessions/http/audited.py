"""Every request of somebody who is known is seen here, once it is clear how it is answered."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opensessions.access.callers import Caller
from opensessions.access.recording import Seen

log = logging.getLogger(__name__)

_TARGETS = ("session_id", "webhook_id", "template_id", "user_id")
_TRUE = ("1", "true", "yes", "on")
LONGEST = 256


class Audited:
    """ASGI middleware inside `Faults`: tells `saw` of each request whose state has a `caller`, before its
    answer begins. The answer does not depend on it. `named` says what a request is called, `origin` where it
    came from.
    """

    def __init__(
        self,
        app: ASGIApp,
        saw: Callable[[Seen], Awaitable[None]],
        named: Callable[[Request], str],
        origin: Callable[[Request], str | None] = lambda request: request.client and request.client.host,
    ) -> None:
        self.app = app
        self._saw, self._named, self._origin = saw, named, origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request, started = Request(scope), False

        async def watched(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start" and not started:
                started = True
                await self._look(request, message["status"], Headers(raw=message["headers"]))
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:
            if not started:
                await self._look(request, 500, {})
            raise

    async def _look(self, request: Request, status: int, headers: Mapping[str, str]) -> None:
        caller: Caller | None = getattr(request.state, "caller", None)
        if caller is None:
            return
        seen = Seen(
            caller=caller,
            method=request.method,
            action=self._named(request),
            target=_target(request, headers),
            user_id=_user_id(request),
            ip=self._origin(request),
            result=status,
        )
        try:
            await self._saw(seen)
        except Exception:
            log.exception("Request %s is not on the record", request.state.request_id)


def in_threads(saw: Callable[[Seen], None]) -> Callable[[Seen], Awaitable[None]]:
    """The same for who blocks."""

    async def told(seen: Seen) -> None:
        await run_in_threadpool(saw, seen)

    return told


def operation(request: Request) -> str:
    """What the API calls it, as in its description."""
    name = str(getattr(request.scope.get("route"), "name", request.method))
    purges = name == "end_session" and request.query_params.get("purge", "").lower() in _TRUE
    return "purge_session" if purges else name


def _target(request: Request, headers: Mapping[str, str]) -> str | None:
    """The id in the path, or that of what was made."""
    named = (request.path_params.get(name) for name in _TARGETS)
    made: str = headers.get("location", "").rpartition("/")[2]
    return next((value[:LONGEST] for value in named if value), made or None)


def _user_id(request: Request) -> str | None:
    """The user who was named, in the query or in the body."""
    said: Any = request.query_params.get("user_id")
    if said is None and (raw := getattr(request.state, "body", None)):
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return None
        if isinstance(body, dict):
            said = body.get("user_id", body.get("userId"))
    return said[:LONGEST] if isinstance(said, str) and said else None
