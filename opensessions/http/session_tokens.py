"""Tokens of one session, for those who must not hold the account's key."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from opensessions import models
from opensessions.access.admission import TOKEN_SECONDS, Issued
from opensessions.access.passes import QUERY
from opensessions.errors import Conflict
from opensessions.http.bodies import Body
from opensessions.http.openapi import answers, body, problems
from opensessions.http.parameters import Account, Ask, SessionId, UserId
from opensessions.http.requests import NewToken
from opensessions.http.strict_json import parse
from opensessions.models import Session
from opensessions.sessions.service import Service

router = APIRouter(redirect_slashes=False)

WithToken = Annotated[
    Literal["read", "write"] | None,
    Query(description="Put a token of this scope for the new session into the answer, as `token`."),
]


@router.post(
    "/v1/sessions/{session_id}/tokens",
    **body("NewToken"),
    **answers("NewlyIssued", 400, 401, 404, 409, 413, status=201),
)
def create_token(
    request: Request, service: Ask, account: Account, session_id: SessionId, raw: Body
) -> JSONResponse:
    """A token that opens this session alone: for a browser, say, which is not to hold your API key. It can be
    read here only. With the scope `preview`, an address that opens a private preview, once and soon.
    """
    wanted = NewToken.read(parse(raw))
    session = service.read(account, session_id, wanted.user_id)
    if wanted.scope == "preview":
        return JSONResponse(_to_preview(service, session, wanted.port), 201)
    return JSONResponse(
        issued(request, service.admission.issue(session, wanted.scope, wanted.ttl or TOKEN_SECONDS)), 201
    )


@router.delete(
    "/v1/sessions/{session_id}/tokens",
    status_code=204,
    response_model=None,
    responses={204: {"description": "Revoked."}, **problems(400, 401, 404)},
)
def revoke_tokens(service: Ask, account: Account, session_id: SessionId, user_id: UserId = None) -> Response:
    """Revoke all tokens of a session. What they opened, streams and private previews, closes within 5 s."""
    service.admission.revoke(service.read(account, session_id, user_id))
    return Response(status_code=204)


def issued(request: Request, made: Issued) -> dict[str, Any]:
    """A token for reading or writing, as callers get it."""
    events = f"{str(request.base_url).rstrip('/')}/v1/sessions/{made.kept.session_id}/events"
    return {
        "token": made.token,
        "scope": made.kept.scope,
        "expires_at": models.timestamp(made.kept.expires_at),
        "events_url": f"{events}?token={made.token}",
    }


def _to_preview(service: Service, session: Session, port: int) -> dict[str, Any]:
    origin = service.preview_url(session.sandbox_id, port).rstrip("/")
    if not origin:
        raise Conflict("This deployment shows no previews.")
    made = service.admission.issue(session, "preview", port=port)
    expires_at = models.timestamp(made.kept.expires_at)
    return {"url": f"{origin}/?{QUERY}={made.token}", "expires_at": expires_at}
