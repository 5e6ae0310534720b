"""What requests carry beside their bodies: who asks, about what, and which part."""

from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Depends, Header, Path, Query, Request
from pydantic import AfterValidator

from opensessions.access.callers import Caller, Scope
from opensessions.errors import NotFound, Unauthorized
from opensessions.http.credentials import credentials
from opensessions.http.requests import LAST_VERSION, LONGEST_ID, printable_id
from opensessions.http.views import SESSION_ID, is_session_id
from opensessions.models import Status
from opensessions.sessions.service import Service

LAST_SEQ = 10**12 - 1


async def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


Ask = Annotated[Service, Depends(_service)]


def _caller(request: Request, service: Ask) -> Caller:
    """Who asks; it is put into the request's state, too, for `Audited`. Raises Unauthorized."""
    key = credentials(request.headers)
    if key is None:
        raise Unauthorized("The API key is missing; send it in the X-API-Key header.")
    try:
        caller = request.state.caller = service.authenticate(key)
    except Unauthorized as refused:
        request.state.caller = refused.former
        raise
    return caller


def _account(request: Request, caller: Annotated[Caller, Depends(_caller)]) -> str:
    """The account whose key was sent. Raises Unauthorized, and Forbidden for a session's token, and for a key
    that may only read where more is done.
    """
    caller.require_account("read" if request.method == "GET" else "write")
    return caller.account


def _administered(caller: Annotated[Caller, Depends(_caller)]) -> str:
    """The account whose key of the scope admin was sent. Raises Unauthorized and Forbidden."""
    caller.require_account("admin")
    return caller.account


def _with(scope: Scope) -> Callable[[Request, Caller], Caller]:
    """Whoever may do what takes this scope, with the session in the path."""

    def allowed(request: Request, caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        caller.require(scope)
        caller.require_session(request.path_params["session_id"])
        return caller

    return allowed


async def _session_id(
    session_id: Annotated[str, Path(json_schema_extra={"pattern": SESSION_ID})],
) -> str:
    """The id in the path. Raises NotFound for what cannot be one, before anybody looks it up."""
    if not is_session_id(session_id):
        raise NotFound("Session not found")
    return session_id


def _key(value: str) -> str:
    if not 1 <= len(value) <= 255 or "#" in value or not (value.isascii() and value.isprintable()):
        raise ValueError("must be 1 to 255 printable ASCII characters without '#'")
    return value


Account = Annotated[str, Depends(_account)]
"""For what takes an account's key, not a session's token. Its scope is read for what is asked with GET, and
write for all else.
"""
Admin = Annotated[str, Depends(_administered)]
"""For what takes an account's key of the scope admin."""
Reader = Annotated[Caller, Depends(_with("read"))]
Writer = Annotated[Caller, Depends(_with("write"))]
SessionId = Annotated[str, Depends(_session_id)]
UserId = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=LONGEST_ID,
        description="Your own id of a user; what is not theirs is not found.",
    ),
    AfterValidator(lambda value: value if value is None else printable_id(value)),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="The same key with the same request, within 24 hours, is done once.",
        json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": r"^[!\"$-~]([ !\"$-~]*[!\"$-~])?$"},
    ),
    AfterValidator(lambda value: value if value is None else _key(value)),
]
WithStatus = Annotated[Status | None, Query(description="Only sessions in this status.")]
PageSize = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Cursor = Annotated[
    str | None,
    Query(pattern=r"^[A-Za-z0-9_=-]{1,1024}$", description="`next_cursor` of the page before."),
]
Purge = Annotated[bool, Query(description="Delete all of it for good, too.")]
VersionsAfter = Annotated[
    int, Query(ge=0, le=LAST_VERSION, description="Only versions whose `number` is greater.")
]
VersionCount = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
After = Annotated[int, Query(ge=0, le=LAST_SEQ, description="Only events whose `seq` is greater.")]
EventCount = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
