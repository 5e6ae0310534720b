"""A key of the model's provider that is the account's own."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from opensessions.access.model_keys import ModelKeys, checked
from opensessions.errors import Conflict
from opensessions.http.bodies import Body
from opensessions.http.openapi import answers, body, problems
from opensessions.http.parameters import Admin, Ask
from opensessions.http.requests import NewModelKey
from opensessions.http.strict_json import parse
from opensessions.http.views import ModelKey
from opensessions.models import timestamp
from opensessions.sessions.service import Service

router = APIRouter(redirect_slashes=False)


@router.put("/v1/model-key", **body("NewModelKey"), **answers("ModelKey", 400, 401, 409, 413))
def put_model_key(service: Ask, account: Admin, raw: Body) -> JSONResponse:
    """Have the account's sessions call the model with a key of its own, from a minute on at most. It is kept
    encrypted and never told again.
    """
    key = checked(NewModelKey.read(parse(raw)).key)
    _keys(service).put(account, key)
    return _told(service, account)


@router.get("/v1/model-key", **answers("ModelKey", 401, 409))
def get_model_key(service: Ask, account: Admin) -> JSONResponse:
    """Whether the account has a key of its own, and since when."""
    return _told(service, account)


@router.delete(
    "/v1/model-key",
    status_code=204,
    response_model=None,
    responses={204: {"description": "Deleted."}, **problems(401, 409)},
)
def delete_model_key(service: Ask, account: Admin) -> Response:
    """Have the account's sessions use the server's key again, from a minute on at most."""
    _keys(service).drop(account)
    return Response(status_code=204)


def _told(service: Service, account: str) -> JSONResponse:
    since = _keys(service).since(account)
    shown = ModelKey(set=since is not None, since=since and timestamp(since))
    return JSONResponse(shown.json_object())


def _keys(service: Service) -> ModelKeys:
    if service.model_keys is None:
        raise Conflict("The model of this deployment takes no keys: it is the demo model, or Amazon Bedrock.")
    return service.model_keys
