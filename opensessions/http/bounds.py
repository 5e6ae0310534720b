"""The calls that set limits: of a session, and of a user in all sessions together."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from fastapi.responses import JSONResponse

from opensessions.errors import InvalidRequest
from opensessions.http import views
from opensessions.http.bodies import Body
from opensessions.http.limits import NewUserLimits
from opensessions.http.openapi import answers, body
from opensessions.http.parameters import Account, Admin, Ask, SessionId
from opensessions.http.requests import LONGEST_ID, SessionChanges, printable_id
from opensessions.http.strict_json import parse
from opensessions.http.whole import whole

router = APIRouter(redirect_slashes=False)


async def _user_id(
    user_id: Annotated[str, Path(description="Your own id of the user.", max_length=LONGEST_ID)],
) -> str:
    try:
        return printable_id(user_id)
    except ValueError as error:
        raise InvalidRequest(f"user_id {error}", "user_id") from None


OfUser = Annotated[str, Depends(_user_id)]


@router.patch(
    "/v1/sessions/{session_id}",
    **body("SessionChanges"),
    **answers("Session", 400, 401, 404, 409, 413),
)
def change_session(service: Ask, account: Account, session_id: SessionId, raw: Body) -> JSONResponse:
    """Change a session's limits; they hold at once. After `budget_exceeded` the session takes messages again
    when its limit was raised.
    """
    wanted = SessionChanges.read(parse(raw))
    changes = wanted.limits.given()
    return JSONResponse(whole(service, service.limit(account, session_id, changes, wanted.user_id)))


@router.put(
    "/v1/users/{user_id:path}/limits",
    **body("NewUserLimits"),
    **answers("UserLimits", 400, 401, 413),
)
def put_user_limits(service: Ask, account: Admin, user_id: OfUser, raw: Body) -> JSONResponse:
    """Set what a user may spend on models in a day and in a month, in place of what was set before. It holds
    at once, and for all sessions of the user together.
    """
    allowance = NewUserLimits.read(parse(raw)).to_model()
    service.metering.allowances.put_user(account, user_id, allowance)
    return JSONResponse(views.user_limits(user_id, allowance))


@router.get("/v1/users/{user_id:path}/limits", **answers("UserLimits", 400, 401))
def get_user_limits(service: Ask, account: Account, user_id: OfUser) -> JSONResponse:
    """What a user may spend on models; without bounds when none were set."""
    return JSONResponse(views.user_limits(user_id, service.metering.allowances.user(account, user_id)))
