"""Webhooks: a backend is told what happens in its sessions, and need not ask."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import JSONResponse, Response

from opensessions.errors import InvalidRequest, NotFound
from opensessions.http.bodies import Body
from opensessions.http.openapi import answers, body, problems
from opensessions.http.parameters import Admin, Ask, PageSize
from opensessions.http.strict_json import parse
from opensessions.http.webhook_shapes import (
    WEBHOOK_ID,
    NewWebhook,
    Redelivered,
    Redelivery,
    created,
    delivery,
    is_webhook_id,
    shown,
)

router = APIRouter(redirect_slashes=False)


async def _webhook_id(
    webhook_id: Annotated[str, Path(json_schema_extra={"pattern": WEBHOOK_ID})],
) -> str:
    """The id in the path. Raises NotFound for what cannot be one, before anybody looks it up."""
    if not is_webhook_id(webhook_id):
        raise NotFound("Webhook not found")
    return webhook_id


WebhookId = Annotated[str, Depends(_webhook_id)]
Dead = Annotated[Literal["dead"], Query(description="Those that failed for good are what is kept.")]
AfterDelivery = Annotated[
    str | None,
    Query(
        pattern=r"^session_[0-9a-f]{32}\.[0-9]{1,12}$",
        description="`next_cursor` of the page before.",
    ),
]


@router.post(
    "/v1/webhooks", **body("NewWebhook"), **answers("CreatedWebhook", 400, 401, 409, 413, status=201)
)
def create_webhook(service: Ask, account: Admin, raw: Body) -> JSONResponse:
    """Be told of what happens in the sessions that are created from now on. The answer holds the secret that
    deliveries are signed with, by the Standard Webhooks rules; it can be read here only.
    """
    wanted = NewWebhook.read(parse(raw))
    hook = service.webhooks.create(account, wanted.url, wanted.events)
    return JSONResponse(created(hook), 201, {"Location": f"webhooks/{hook.id}"})


@router.get("/v1/webhooks", **answers("WebhookList", 401))
def list_webhooks(service: Ask, account: Admin) -> JSONResponse:
    """The account's webhooks, oldest first, without those of single sessions."""
    return JSONResponse({"data": [shown(hook) for hook in service.webhooks.list(account)]})


@router.get("/v1/webhooks/{webhook_id}", **answers("Webhook", 401, 404))
def get_webhook(service: Ask, account: Admin, webhook_id: WebhookId) -> JSONResponse:
    """A webhook; also one of a single session."""
    return JSONResponse(shown(service.webhooks.get(account, webhook_id)))


@router.delete(
    "/v1/webhooks/{webhook_id}",
    status_code=204,
    response_model=None,
    responses={204: {"description": "Deleted."}, **problems(401, 404)},
)
def delete_webhook(service: Ask, account: Admin, webhook_id: WebhookId) -> Response:
    """Delete a webhook: it is told nothing any more, and what it was not told is forgotten."""
    service.webhooks.delete(account, webhook_id)
    return Response(status_code=204)


@router.get("/v1/webhooks/{webhook_id}/deliveries", **answers("DeliveryList", 400, 401, 404))
def list_deliveries(
    service: Ask,
    account: Admin,
    webhook_id: WebhookId,
    status: Dead = "dead",
    limit: PageSize = 20,
    cursor: AfterDelivery = None,
) -> JSONResponse:
    """Deliveries that failed for good, by session and number; kept for 30 days."""
    session_id, _, seq = (cursor or ".0").partition(".")
    found = service.webhooks.dead(account, webhook_id, (session_id, int(seq)), limit + 1)
    data, more = [delivery(letter) for letter in found[:limit]], len(found) > limit
    last = found[limit - 1] if more else None
    next_cursor = f"{last.session_id}.{last.seq}" if last else None
    return JSONResponse({"data": data, "has_more": more, "next_cursor": next_cursor})


@router.post(
    "/v1/webhooks/{webhook_id}/redeliver",
    **body("Redelivery", required=False),
    **answers("Redelivered", 400, 401, 404, 409, 413, status=202),
)
def redeliver(service: Ask, account: Admin, webhook_id: WebhookId, raw: Body) -> JSONResponse:
    """Try deliveries that failed for good once more each: one, those of a session, or any, at most 100 at a
    time. One that succeeds is gone from the list.
    """
    wanted = Redelivery.read(parse(raw)) if raw else Redelivery()
    if wanted.seq is not None and wanted.session is None:
        raise InvalidRequest("seq is a number of a session: name the session too", "session")
    count = service.webhooks.redeliver(account, webhook_id, wanted.session, wanted.seq)
    return JSONResponse(Redelivered(queued=count).json_object(), 202)
