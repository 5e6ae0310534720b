"""`GET /v1/sessions/{session_id}/events`: a session's events from any point on, for who may see them."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from fastapi import FastAPI
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.callers import Callers, Sessions
from gateway.hub import Delta, Hub, Watcher
from gateway.key_leases import KeyLeases
from gateway.leases import Leases
from gateway.sightings import operation, origin
from gateway.sse import PING, OpenStreams, Wire, frame, joined, retry
from opensessions.access.recording import Seen
from opensessions.errors import InvalidRequest, RateLimited
from opensessions.http import errors
from opensessions.http.audited import Audited
from opensessions.http.cors import Cors
from opensessions.http.faults import Faults
from opensessions.http.request_ids import RequestIds
from opensessions.models import Event, Session, Status

PATH = "/v1/sessions/{session_id}/events"

DELTAS_APART = 0.04
"""Seconds from one write of partial text to the next, so that no fast model keeps this process busy."""

_SEQ = re.compile(r"[0-9]{1,12}")


Render = Callable[[Event], bytes]
"""Makes the SSE frame of an event; pure."""


def event_frame(event: Event) -> bytes:
    """The frame of this API: the event's number and its JSON, without an event name, so that a browser's
    `onmessage` gets it.
    """
    return frame(to_json(event.frame(), inf_nan_mode="null"), number=event.seq)


def delta_frame(delta: Delta) -> bytes:
    return frame(to_json({"text": delta.text}), event="delta")


class EventStreams:
    """ASGI endpoint for `PATH`, for an app that answers domain errors, such as `streams_app`.

    After `retry:` come the events after `Last-Event-ID` (or else `?after=`), then live ones; `event: ping`
    after `heartbeat_seconds` of silence. After `session_ended` the stream closes, and who comes back with
    nothing left to get is answered 204. `?deltas=1` adds partial text. A session's token is taken from
    `?token=` too, and with `allow_query_key` the API key from `?api_key=`; a stream ends when the key or
    token that opened it does. Whoever comes when `watchers` watch the session already is answered 429. A
    stream is open in the context `watching(session_id)`.
    """

    def __init__(
        self,
        sessions: Sessions,
        hub: Hub,
        open_streams: OpenStreams,
        *,
        allow_query_key: bool,
        render: Render = event_frame,
        heartbeat_seconds: float = 10.0,
        retry_milliseconds: int = 1000,
        watchers: int = 600,
        watching: Callable[[str], AbstractContextManager[None]] = lambda session_id: nullcontext(),
    ) -> None:
        self._callers = Callers(sessions, allow_query_key=allow_query_key, allow_query_token=True)
        self._leases, self._key_leases = Leases(sessions.read, hub.bells), KeyLeases(sessions.good)
        self._hub, self._open_streams, self._render = hub, open_streams, render
        self._heartbeat, self._retry = heartbeat_seconds, retry(retry_milliseconds)
        self._most, self._watching = watchers, watching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if request.method != "GET":
            raise HTTPException(405, headers={"Allow": "GET"})
        caller = await self._callers.caller(request, "read")
        after, deltas = _after(request), _deltas(request)
        session = await self._callers.session(request, caller)
        if _over(session) and after >= session.head.last_seq:
            return await Response(status_code=204)(scope, receive, send)
        if self._hub.watching(session.id) >= self._most:
            raise RateLimited(f"This session has {self._most} streams open; try again in 5 s.", 5)
        leave = asyncio.Event()
        with (
            self._leases.held(caller, leave),
            self._key_leases.held(caller, leave),
            self._watching(session.id),
            self._hub.watch(session.id, after, session.head.last_seq, deltas=deltas) as watcher,
        ):
            pump = partial(self._pump, watcher)
            await self._open_streams.respond(receive, send, pump, leave)

    async def _pump(self, watcher: Watcher, wire: Wire) -> None:
        await wire.write(self._retry)
        over = False
        while not over:
            items = _until_end(await watcher.next(within=self._heartbeat))
            over = bool(items) and _ends(items[-1])
            for chunk in joined(map(self._frame, items)) if items else [PING]:
                await wire.write(chunk)
            if items and isinstance(items[-1], Delta):
                await asyncio.sleep(DELTAS_APART)  # what is said meanwhile comes in one piece

    def _frame(self, item: Event | Delta) -> bytes:
        return delta_frame(item) if isinstance(item, Delta) else self._render(item)


def streams_app(
    streams: EventStreams, *beside: BaseRoute, saw: Callable[[Seen], Awaitable[None]] | None = None
) -> ASGIApp:
    """The streams' route, those beside it and `/healthz`, with the errors and the cross-origin rules of the
    API. `saw` is told of requests by those who are known.
    """
    routes = [Route(PATH, streams), *beside, Route("/healthz", _healthy)]
    app = FastAPI(routes=routes, openapi_url=None, redirect_slashes=False)
    errors.install(app)
    if saw:
        app.add_middleware(Audited, saw=saw, named=operation, origin=origin)
    for middleware in (Faults, Cors, RequestIds):  # the last one is the outermost
        app.add_middleware(middleware)
    return app


async def _healthy(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _ends(item: Event | Delta) -> bool:
    return isinstance(item, Event) and item.type == "session_ended"


def _until_end(items: list[Event | Delta]) -> list[Event | Delta]:
    end = next((n for n, item in enumerate(items, 1) if _ends(item)), len(items))
    return items[:end]


def _over(session: Session) -> bool:
    return session.head.status is Status.ENDED


def _after(request: Request) -> int:
    """Where the client is. A browser that comes back says so in the header, and repeats the URL's `after`."""
    resumed = request.headers.get("last-event-id", "")
    name, text = ("Last-Event-ID", resumed) if resumed else ("after", request.query_params.get("after", "0"))
    if not _SEQ.fullmatch(text):
        raise InvalidRequest(f"{name} must be the number of an event, a whole number from 0 on.", name)
    return int(text)


def _deltas(request: Request) -> bool:
    wish = request.query_params.get("deltas", "0")
    if wish not in ("0", "1"):
        raise InvalidRequest("deltas must be 0 or 1.", "deltas")
    return wish == "1"
