"""The public API: parse, ask the service, show."""

import json
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse

from opensessions.errors import InvalidRequest
from opensessions.http import (
    audit,
    bounds,
    docs,
    errors,
    history,
    model_key,
    session_tokens,
    templates,
    usage,
    views,
    webhooks,
)
from opensessions.http.audited import Audited, in_threads, operation
from opensessions.http.bodies import Body
from opensessions.http.cors import Cors
from opensessions.http.faults import Faults
from opensessions.http.openapi import answers, body, document
from opensessions.http.parameters import (
    Account,
    After,
    Ask,
    Cursor,
    EventCount,
    IdempotencyKey,
    PageSize,
    Purge,
    Reader,
    SessionId,
    UserId,
    WithStatus,
    Writer,
)
from opensessions.http.request_ids import RequestIds
from opensessions.http.requests import Interruption, NewMessage, NewSession
from opensessions.http.session_tokens import WithToken, issued
from opensessions.http.strict_json import parse
from opensessions.http.traced import Traced
from opensessions.http.webhook_shapes import created
from opensessions.http.whole import whole
from opensessions.models import Event, Status
from opensessions.sessions.service import Service

LARGEST_PAGE = 4 * 2**20
"""Bytes of events in one page: what a function can return, with room to spare."""

router = APIRouter(redirect_slashes=False)


class Api(FastAPI):
    """FastAPI with our own OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = document(self.routes)
        return self.openapi_schema


def create_app(service: Service) -> FastAPI:
    """The API as an ASGI app: everything of it but the event stream, which holds connections open."""
    app = Api(title="opensessions", openapi_url=None, redirect_slashes=False)
    app.state.service = service
    for part in (audit, bounds, history, model_key, session_tokens, templates, usage, webhooks):
        app.include_router(part.router)
    app.include_router(router)
    errors.install(app)
    app.add_middleware(Audited, saw=in_threads(service.admission.recording.saw), named=operation)
    for middleware in (Faults, Cors, Traced, RequestIds):  # the last one is the outermost
        app.add_middleware(middleware)
    return app


@router.post(
    "/v1/sessions",
    **body("NewSession"),
    **answers("CreatedSession", 400, 401, 402, 404, 409, 413, 429, status=201),
)
def create_session(
    request: Request,
    service: Ask,
    account: Account,
    raw: Body,
    key: IdempotencyKey = None,
    token: WithToken = None,
) -> JSONResponse:
    """Start a session: a sandbox, and in it an agent with this prompt. Does not wait for either."""
    wanted = NewSession.read(parse(raw)).to_model()
    session = service.create(account, wanted, key)
    shown = whole(service, session)
    if token and session.head.status is not Status.ENDED:
        shown["token"] = issued(request, service.admission.issue(session, token))
    if wanted.hook and (hook := service.webhooks.of_session(session)):
        shown["webhook"] = created(hook)
    return JSONResponse(shown, 201, {"Location": f"sessions/{session.id}"})


@router.get("/v1/sessions", **answers("SessionList", 400, 401))
def list_sessions(
    service: Ask,
    account: Account,
    user_id: UserId = None,
    status: WithStatus = None,
    limit: PageSize = 20,
    cursor: Cursor = None,
) -> JSONResponse:
    """Sessions, newest first, each without its messages and events."""
    page = service.page(account, user_id, status, limit, cursor)
    data = [views.listed(each, service.preview_url(each.sandbox_id, 3000)) for each in page.sessions]
    return JSONResponse({"data": data, "has_more": page.cursor is not None, "next_cursor": page.cursor})


@router.get("/v1/sessions/{session_id}", **answers("Session", 400, 401, 404))
def get_session(service: Ask, caller: Reader, session_id: SessionId, user_id: UserId = None) -> JSONResponse:
    """A session with its newest messages and events."""
    return JSONResponse(whole(service, service.read(caller.account, session_id, user_id)))


@router.post(
    "/v1/sessions/{session_id}/messages",
    **body("NewMessage"),
    **answers("Session", 400, 401, 402, 404, 409, 413, 429),
)
def send_message(
    service: Ask, caller: Writer, session_id: SessionId, raw: Body, key: IdempotencyKey = None
) -> JSONResponse:
    """Tell the agent more. It waits while a turn runs; a session in `error` runs again."""
    new = NewMessage.read(parse(raw))
    return JSONResponse(
        whole(service, service.send(caller.account, session_id, new.user_id, new.message, key))
    )


@router.post(
    "/v1/sessions/{session_id}/interrupt",
    **body("Interruption", required=False),
    **answers("Session", 400, 401, 404, 409, 413),
)
def interrupt_session(
    service: Ask, caller: Writer, session_id: SessionId, raw: Body, user_id: UserId = None
) -> JSONResponse:
    """Stop the running turn and keep the session. Nothing runs: nothing happens."""
    named = Interruption.read(parse(raw)).user_id if raw else None
    if None not in (named, user_id) and named != user_id:
        raise InvalidRequest("user_id in the query is not the one in the body", "user_id")
    return JSONResponse(whole(service, service.interrupt(caller.account, session_id, named or user_id)))


@router.get("/v1/sessions/{session_id}/events/page", **answers("EventPage", 400, 401, 404))
def page_events(
    service: Ask,
    caller: Reader,
    session_id: SessionId,
    user_id: UserId = None,
    after: After = 0,
    limit: EventCount = 100,
) -> JSONResponse:
    """Events as JSON, oldest first. To go on, pass the `seq` of the last one as `after`."""
    session = service.read(caller.account, session_id, user_id)
    data = _fitting(service.events(session_id, after, limit))
    last_seq = max([session.head.last_seq, *(frame["seq"] for frame in data)])
    has_more = bool(data) and data[-1]["seq"] < last_seq
    return JSONResponse({"data": data, "has_more": has_more, "last_seq": last_seq})


@router.delete("/v1/sessions/{session_id}", **answers("Ended", 400, 401, 404))
def end_session(
    service: Ask, account: Account, session_id: SessionId, user_id: UserId = None, purge: Purge = False
) -> JSONResponse:
    """End a session and kill its sandbox. Again: the same answer. With `purge` all of it is deleted too,
    messages, events, files and archives, at once and for good; it is not found afterwards.
    """
    if purge:
        service.purge(account, session_id, user_id)
        return JSONResponse(views.Purged(id=session_id).json_object())
    session = service.end(account, session_id, user_id)
    return JSONResponse(views.Ended(id=session.id).json_object())


@router.get("/healthz", **answers("Health"))
async def health() -> JSONResponse:
    """The server answers."""
    return JSONResponse(views.Health().json_object())


@router.get("/openapi.json", include_in_schema=False)
def read_openapi(request: Request) -> JSONResponse:
    return JSONResponse(_described(request))


@router.get("/docs", include_in_schema=False)
def read_docs(request: Request) -> HTMLResponse:
    return HTMLResponse(docs.page(_described(request)), headers=docs.HEADERS)


def _described(request: Request) -> dict[str, Any]:
    """The document, with the address under which it was asked for, stage and all."""
    return {**request.app.openapi(), "servers": [{"url": str(request.base_url).rstrip("/")}]}


def _fitting(events: Sequence[Event]) -> list[dict[str, Any]]:
    """The frames of as many events as one answer holds, at least one."""
    frames: list[dict[str, Any]] = []
    size = 0
    for event in events:
        frame = event.frame()
        size += len(json.dumps(frame))
        if frames and size > LARGEST_PAGE:
            break
        frames.append(frame)
    return frames
