"""The app on the internal listener: all that a sandbox can ask for, apart from the egress proxy."""

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from gateway.boot import Boot
from gateway.inbox import Inbox
from gateway.paces import Slowed
from gateway.relay import Relay
from opensessions.http import errors
from opensessions.http.faults import Faults
from opensessions.http.request_ids import RequestIds

MODEL_PATHS = ("/v1/messages", "/v1/messages/count_tokens")


def sandbox_app(boot: Boot, inbox: Inbox, relay: Relay, model: ASGIApp, *more: BaseRoute) -> ASGIApp:
    """Boot, the inbox, the event relay and the model, by exact path, and `more`; everything else is 404.

    It is never served on a public listener, where even a valid token must open nothing.
    """
    routes = [
        boot.route(),
        inbox.route(),
        relay.route(),
        *(Route(path, model) for path in MODEL_PATHS),
        *more,
    ]
    app = FastAPI(routes=list(routes), redirect_slashes=False, openapi_url=None)
    errors.install(app)
    for middleware in (Faults, Slowed, RequestIds):  # the last one is the outermost
        app.add_middleware(middleware)
    return app
