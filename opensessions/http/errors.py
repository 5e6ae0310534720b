"""Every failure as one JSON shape: `{"error": {"type", "message", "request_id"}}`, with `field` when a part
of the request is to blame.
"""

import logging
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from opensessions.errors import (
    Conflict,
    EventGap,
    Forbidden,
    InvalidRequest,
    LaunchFailed,
    NotFound,
    OpenSessionsError,
    OverBudget,
    RateLimited,
    TooLarge,
    Unauthorized,
)
from opensessions.http.findings import sentence

log = logging.getLogger(__name__)


class Kind(NamedTuple):
    status: int
    type: str


INTERNAL = Kind(500, "internal_error")

KINDS: dict[type[OpenSessionsError], Kind] = {
    InvalidRequest: Kind(400, "invalid_request"),
    Unauthorized: Kind(401, "unauthorized"),
    OverBudget: Kind(402, "budget_exceeded"),
    Forbidden: Kind(403, "forbidden"),
    NotFound: Kind(404, "not_found"),
    Conflict: Kind(409, "conflict"),
    TooLarge: Kind(413, "too_large"),
    RateLimited: Kind(429, "rate_limited"),
    LaunchFailed: INTERNAL,
}

TYPES = {kind.status: kind.type for kind in KINDS.values()}


class FieldTooLarge(TooLarge):
    """A part of the body, named by `field`, is over its bound."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


def answer(
    status: int,
    kind: str,
    message: str,
    request_id: str,
    *,
    field: str | None = None,
    headers: dict[str, str] | None = None,
    **beside: Any,
) -> JSONResponse:
    """One failure; `beside` stands next to `error` in the body."""
    error = {"type": kind, "message": message, "request_id": request_id}
    if field is not None:
        error["field"] = field
    return JSONResponse({"error": error, **beside}, status, headers)


def internal_error(request_id: str) -> JSONResponse:
    """What a caller may know about a fault of ours."""
    message = "Something went wrong on our side. Try again; if it stays, report the request id."
    return answer(*INTERNAL, message, request_id)


def install(app: FastAPI) -> None:
    """Answer all expected failures of an app; the unexpected ones are left to `Faults`."""
    app.add_exception_handler(OpenSessionsError, _domain)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _framework)


def kind_of(error: OpenSessionsError) -> Kind | None:
    """The row of `KINDS` for an error, or for the nearest class that it derives from."""
    return next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), None)


async def _domain(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OpenSessionsError)
    kind = kind_of(error)
    if kind is None:
        raise error
    if kind is INTERNAL:
        log.error("Request %s failed: %s", request.state.request_id, error)
    beside: dict[str, Any] = {"expected": error.expected} if isinstance(error, EventGap) else {}
    return answer(
        *kind,
        str(error),
        request.state.request_id,
        field=getattr(error, "field", None),
        headers=_headers(error),
        **beside,
    )


def _headers(error: OpenSessionsError) -> dict[str, str]:
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": 'Bearer realm="opensessions"'}
    if isinstance(error, RateLimited):
        return {"Retry-After": str(max(1, error.retry_after))}
    # The rest of an oversized body is not worth reading.
    return {"Connection": "close"} if isinstance(error, TooLarge) else {}


async def _parameters(request: Request, error: Exception) -> JSONResponse:
    """A query parameter or header that FastAPI refused."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    return answer(400, TYPES[400], sentence(first, field), request.state.request_id, field=field)


async def _framework(request: Request, error: Exception) -> JSONResponse:
    """An unknown route, a wrong method, and whatever else the framework refuses."""
    assert isinstance(error, HTTPException)
    kind = TYPES.get(error.status_code, TYPES[400] if error.status_code < 500 else TYPES[500])
    message = {
        404: "No such route. The API is described at /docs.",
        405: f"{request.method} is not possible here. The API is described at /docs.",
    }.get(error.status_code, f"The request failed: {error.detail}.")
    headers = dict(error.headers or {})
    return answer(error.status_code, kind, message, request.state.request_id, headers=headers)
