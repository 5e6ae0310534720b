"""What the callback hears of the use of things: model calls, before and after each, and egress."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints

from opensessions.errors import NotFound, Unauthorized
from opensessions.http.bodies import Body
from opensessions.http.credentials import bearer
from opensessions.http.fields import Fields
from opensessions.http.strict_json import parse
from opensessions.http.views import SessionId
from opensessions.logbook import concerns
from opensessions.money.metering import Metering

router = APIRouter(redirect_slashes=False)

MOST = 10**9
_ID = r"^[0-9a-f]{32}$"

Id = Annotated[str, StringConstraints(pattern=_ID)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Count = Annotated[int, Field(ge=0, le=MOST)]


class Intent(Fields):
    """A call that a sandbox wants to make: it sends `input_tokens` at most. `fallbacks` are the models that
    answer in the place of one that declines.
    """

    id: Id
    model: ModelName
    input_tokens: Count
    max_tokens: Count
    fallbacks: list[ModelName] = Field([], max_length=8)


class Settlement(Fields):
    """What a call used, as the Messages API told it: `{}` nothing, null or absent: nobody knows. `model` is
    the one that answered; where its name has no price, the price of the one that was `asked` holds.
    """

    session_id: SessionId
    model: ModelName
    asked: ModelName | None = None
    usage: dict[str, Any] | None = None
    estimated: bool = False


class Traffic(Fields):
    """Bytes that a session's sandbox sent and received, under an id of this report's own."""

    session_id: SessionId
    id: Id
    bytes: int = Field(ge=0, le=10**15)


async def _metering(request: Request) -> Metering:
    return cast(Metering, request.app.state.testimony.metering)


async def _model_token(request: Request) -> str:
    token = bearer(request.headers)
    if token is None:
        raise Unauthorized("The sandbox's token is missing.")
    return token


async def _call_id(call_id: Annotated[str, Path()]) -> str:
    if len(call_id) != 32 or not set(call_id) <= set("0123456789abcdef"):
        raise NotFound("No such call.")
    return call_id


Ask = Annotated[Metering, Depends(_metering)]


@router.post("/callback/v1/calls")
def reserve_call(metering: Ask, token: Annotated[str, Depends(_model_token)], raw: Body) -> Response:
    """Leave for a model call, by the sandbox that holds this model token: 204. 402: there is no budget for
    it; 429: not while others are under way. Sent again it changes nothing.
    """
    wanted = Intent.read(parse(raw))
    metering.reserve(token, wanted.id, wanted.model, wanted.input_tokens, wanted.max_tokens, wanted.fallbacks)
    return Response(status_code=204)


@router.post("/callback/v1/calls/{call_id}/settlement")
def settle_call(metering: Ask, call_id: Annotated[str, Depends(_call_id)], raw: Body) -> Response:
    """What a call used. Sent again, or for a call that is not known, it changes nothing."""
    said = Settlement.read(parse(raw))
    concerns(said.session_id)
    model = metering.prices.known(said.model, said.asked or said.model)
    metering.settle(said.session_id, call_id, model, said.usage, said.estimated)
    return Response(status_code=204)


@router.post("/callback/v1/egress")
def count_egress(metering: Ask, raw: Body) -> JSONResponse:
    """Count bytes that passed, once for an id. `left` tells how many more may; null: any number."""
    said = Traffic.read(parse(raw))
    concerns(said.session_id)
    return JSONResponse({"left": metering.egress(said.session_id, said.id, said.bytes)})
