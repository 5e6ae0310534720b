"""A span for each request to the API, below the one that its caller sends along."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opensessions import traces
from opensessions.logbook import session_in


class Traced:
    """ASGI middleware; does nothing while nobody listens."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not traces.wanted():
            return await self.app(scope, receive, send)
        session_id = session_in(scope["path"])
        route = scope["path"].replace(session_id, "{session_id}") if session_id else scope["path"]
        above = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        asked = {"http.request.method": scope["method"], "url.path": scope["path"]}
        with traces.span(f"{scope['method']} {route}", session_id, above, asked, serving=True) as known:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    known["http.response.status_code"] = message["status"]
                await send(message)

            await self.app(scope, receive, told)
