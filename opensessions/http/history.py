"""Sleep, and going back: the calls on what a session was."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse, PlainTextResponse

from opensessions.http import views
from opensessions.http.bodies import Body
from opensessions.http.openapi import answers, body, problems
from opensessions.http.parameters import (
    Account,
    Ask,
    Reader,
    SessionId,
    UserId,
    VersionCount,
    VersionsAfter,
    Writer,
)
from opensessions.http.requests import LAST_VERSION, Restoration
from opensessions.http.strict_json import parse
from opensessions.http.whole import whole

router = APIRouter(redirect_slashes=False)

Number = Annotated[int, Path(ge=1, le=LAST_VERSION, description="The version's number.")]


@router.post("/v1/sessions/{session_id}/hibernate", **answers("Session", 400, 401, 404, 409))
def hibernate_session(
    service: Ask, account: Account, session_id: SessionId, user_id: UserId = None
) -> JSONResponse:
    """Send a session to sleep now: `hibernated` is said once all is kept, and the sandbox is gone. A message
    or a visit of its preview wakes it. Asleep already: nothing happens.
    """
    return JSONResponse(whole(service, service.hibernate(account, session_id, user_id)))


@router.get("/v1/sessions/{session_id}/versions", **answers("VersionList", 400, 401, 404))
def list_versions(
    service: Ask,
    caller: Reader,
    session_id: SessionId,
    user_id: UserId = None,
    after: VersionsAfter = 0,
    limit: VersionCount = 50,
) -> JSONResponse:
    """The states that can be gone back to, one after each turn, oldest first. To go on, pass the `number` of
    the last one as `after`.
    """
    session = service.read(caller.account, session_id, user_id)
    found = service.versions(session_id, after, limit)
    turns = service.metering.turns(session_id) if found else {}
    data = [views.version(each, session.version, turns) for each in found]
    has_more = bool(found) and found[-1].number < session.versions
    return JSONResponse({"data": data, "has_more": has_more})


_DIFF: dict[str, Any] = {
    "status_code": 200,
    "responses": {
        200: {"description": "The diff.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(400, 401, 404),
    },
}


@router.get("/v1/sessions/{session_id}/versions/{number}/diff", response_model=None, **_DIFF)
def diff_version(
    service: Ask, caller: Reader, session_id: SessionId, number: Number, user_id: UserId = None
) -> PlainTextResponse:
    """What the turn changed, as `git diff` writes it; cut when it is long."""
    service.read(caller.account, session_id, user_id)
    return PlainTextResponse(service.diff(session_id, number), headers=views.INERT)


@router.post(
    "/v1/sessions/{session_id}/restore",
    **body("Restoration"),
    **answers("Session", 400, 401, 404, 409, 413, 429),
)
def restore_session(service: Ask, caller: Writer, session_id: SessionId, raw: Body) -> JSONResponse:
    """Go back to a version: files and conversation are as after that turn, and the preview follows. Nothing
    that was said is taken back; `restored` is said when it is done.
    """
    wanted = Restoration.read(parse(raw))
    session = service.restore(caller.account, session_id, wanted.version, wanted.user_id)
    return JSONResponse(whole(service, session))
