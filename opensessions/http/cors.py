"""Cross-origin access for browsers: every origin, no cookies; the key in a header is what lets one in."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALLOW_HEADERS = "Content-Type, X-API-Key, Authorization, Idempotency-Key, Last-Event-ID, Range, If-Range"
ALLOW_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
EXPOSE_HEADERS = "X-Request-Id, Retry-After, Content-Range, Content-Disposition, ETag"
MAX_AGE = "7200"


class Cors:
    """ASGI middleware: answers every OPTIONS itself, without a key, and reflects the origin on all answers.

    It belongs outside of whatever answers errors, so that a page can read those too. Any ASGI app will do.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        origin = Headers(scope=scope).get("origin")

        async def send_shared(message: Message) -> None:
            if message["type"] == "http.response.start":
                _share(MutableHeaders(scope=message), origin)
            await send(message)

        app = _preflight if scope["method"] == "OPTIONS" else self.app
        await app(scope, receive, send_shared)


def _share(headers: MutableHeaders, origin: str | None) -> None:
    headers.add_vary_header("Origin")
    if origin is not None:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = EXPOSE_HEADERS


async def _preflight(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {
        "Access-Control-Allow-Headers": ALLOW_HEADERS,
        "Access-Control-Allow-Methods": ALLOW_METHODS,
        "Access-Control-Max-Age": MAX_AGE,
        "Allow": ALLOW_METHODS,
    }
    await Response(status_code=204, headers=headers)(scope, receive, send)
