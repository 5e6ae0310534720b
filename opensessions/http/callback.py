"""The callback: what the gateway relays from sandboxes, and what it saw itself. Only the gateway calls it."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints, ValidationError

from opensessions.errors import Unauthorized
from opensessions.events import EventBatch
from opensessions.http import errors
from opensessions.http.bodies import Body
from opensessions.http.credentials import bearer
from opensessions.http.faults import Faults
from opensessions.http.fields import Fields, invalid
from opensessions.http.request_ids import RequestIds
from opensessions.http.strict_json import parse, parse_mended
from opensessions.http.views import SessionId
from opensessions.testimony import Testimony

router = APIRouter(redirect_slashes=False)


class Notice(Fields):
    """A warning for a session's watchers, such as a host that was refused."""

    session_id: SessionId
    message: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    code: str = Field(min_length=1, max_length=64)


class Booting(Fields):
    """Where the gateway saw the sandbox that shows its ticket, an IP address; and the nonce that it shows."""

    address: Annotated[str, StringConstraints(min_length=2, max_length=45)]
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


def create_app(testimony: Testimony) -> FastAPI:
    """The callback as an ASGI app. Who may call it at all is for its host to see to."""
    app = FastAPI(title="opensessions callback", openapi_url=None, redirect_slashes=False)
    app.state.testimony = testimony
    app.include_router(router)
    errors.install(app)
    for middleware in (Faults, RequestIds):  # the last one is the outermost
        app.add_middleware(middleware)
    return app


async def _testimony(request: Request) -> Testimony:
    return cast(Testimony, request.app.state.testimony)


async def _token(request: Request) -> str:
    token = bearer(request.headers)
    if token is None:
        raise Unauthorized("The sandbox's token is missing.")
    return token


Ask = Annotated[Testimony, Depends(_testimony)]
Token = Annotated[str, Depends(_token)]


@router.post("/callback/v1/events")
def record_events(testimony: Ask, token: Token, raw: Body) -> JSONResponse:
    """Store a batch. Sent again it changes nothing; a gap is a 409 with the number that is `expected`."""
    recorded = testimony.record_events(token, _batch(raw))
    ack = recorded.ack.model_dump()
    return JSONResponse({**ack, "session_id": recorded.session_id, "last_seq": recorded.last_seq})


@router.post("/callback/v1/boot")
def boot(testimony: Ask, ticket: Token, raw: Body) -> JSONResponse:
    """Swap the boot ticket that a sandbox showed at this address for its worker's token, for one nonce."""
    booting = Booting.read(parse(raw))
    return JSONResponse({"token": testimony.boot(ticket, booting.address, booting.nonce)})


@router.post("/callback/v1/notices")
def record_notice(testimony: Ask, raw: Body) -> Response:
    """Tell a session's watchers something. A session that ended, or is unknown, stays as it is."""
    notice = Notice.read(parse(raw))
    testimony.notice(notice.session_id, notice.message, notice.code)
    return Response(status_code=204)


def _batch(raw: bytes) -> EventBatch:
    try:
        return EventBatch.model_validate(parse_mended(raw))
    except ValidationError as error:
        raise invalid(error) from None
