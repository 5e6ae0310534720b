"""The OpenAPI document: what FastAPI reads off the routes, and what it cannot know."""

from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from opensessions.http import (
    audit_shapes,
    examples,
    files,
    limits,
    reports,
    requests,
    stored_events,
    views,
    webhook_shapes,
)
from opensessions.http.errors import TYPES
from opensessions.http.event_stream import OPERATION as STREAM

REFERENCE = "#/components/schemas/{model}"

DESCRIPTION = """One call starts a sandbox with a coding agent in it and returns a session with a live preview
URL. Send the API key as `X-API-Key` or `Authorization: Bearer`. Bodies are JSON, at most 1 MiB; their names
may be in snake_case or camelCase, and unknown ones are refused. Every failure is
`{"error": {"type", "message", "request_id"}}`. Answers may gain fields: ignore those that you do not know."""

_FAILURES = {
    400: "A part of the request is wrong; `field` names it.",
    401: "The API key is missing or not known.",
    402: "A budget is used up: the session's, or what its user or its account may use at a time.",
    403: "The scope of the key or of the session's token does not go that far.",
    404: "Unknown, or not yours.",
    409: "Possible in itself, but not now.",
    413: "Larger than what is taken.",
    415: "Send the bytes as `Content-Type: application/octet-stream`.",
    416: "The range is beyond the end.",
    429: "A quota is used up; `Retry-After` says when to try again.",
    500: "A fault of the server.",
    503: "Not at this moment; `Retry-After` says when to try again.",
}


class Problem(BaseModel):
    """What went wrong, for a program (`type`, `field`) and for a person (`message`)."""

    model_config = ConfigDict(json_schema_extra={"required": ["type", "message", "request_id"]})

    type: str = Field(json_schema_extra={"enum": list(TYPES.values())})
    message: str
    request_id: str
    field: str = Field("", description="The part of the request that is to blame, when one is.")


class Error(BaseModel):
    """Every failure."""

    error: Problem


class EventPage(BaseModel):
    """Events, oldest first. `last_seq` is the number of the session's newest event."""

    data: list[Any] = Field(json_schema_extra={"items": {"$ref": REFERENCE.format(model="Event")}})
    has_more: bool
    last_seq: int = Field(ge=0)


class SessionList(BaseModel):
    """Sessions, newest first; `next_cursor` is null at the end."""

    data: list[Any] = Field(json_schema_extra={"items": {"$ref": REFERENCE.format(model="ListedSession")}})
    has_more: bool
    next_cursor: str | None


class VersionList(BaseModel):
    """Versions, oldest first."""

    data: list[views.Version]
    has_more: bool


class TemplateList(BaseModel):
    """Templates, oldest first."""

    data: list[views.Template]


class WebhookList(BaseModel):
    """Webhooks, oldest first."""

    data: list[webhook_shapes.Webhook]


class AuditPage(BaseModel):
    """Entries, newest first; `next_cursor` is null at the end."""

    data: list[audit_shapes.Entry]
    has_more: bool
    next_cursor: str | None


class DeliveryList(BaseModel):
    """Deliveries; `next_cursor` is null at the end."""

    data: list[webhook_shapes.Delivery]
    has_more: bool
    next_cursor: str | None


def answers(schema: str, *failures: int, status: int = 200) -> dict[str, Any]:
    """Arguments of a route: what it answers, by names of schemas."""
    good = {"description": "Done.", "content": {"application/json": _schema(schema)}}
    return {"status_code": status, "responses": {status: good, **problems(*failures)}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The failures of a route; 500 is one of every route, and 403 of each that asks who calls."""
    denied = (403,) if 401 in statuses else ()
    content = {"application/json": _schema("Error")}
    return {
        status: {"description": _FAILURES[status], "content": content, **_headers(status)}
        for status in (*statuses, *denied, 500)
    }


def body(schema: str, *, required: bool = True) -> dict[str, Any]:
    """Arguments of a route: the body that it takes."""
    media = {**_schema(schema), "example": examples.BODIES[schema]}
    return {"openapi_extra": {"requestBody": {"required": required, "content": {"application/json": media}}}}


def document(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """The document for these routes, and for the event stream and the files, which the gateway serves."""
    made = get_openapi(title="opensessions", version="1", description=DESCRIPTION, routes=routes)
    made["paths"]["/v1/sessions/{session_id}/events"] = {"get": _served(STREAM, 400, 401, 404)}
    for path, calls in files.OPERATIONS.items():
        made["paths"][path] = {verb: _served(call, *failures) for verb, (call, failures) in calls.items()}
    for path, operations in made["paths"].items():
        for operation in operations.values():
            _tidy(operation)
            if path == "/healthz":
                operation["security"] = []
    made["components"] = {"schemas": _schemas(), "securitySchemes": _KEYS}
    made["security"] = [{"ApiKey": []}, {"Bearer": []}]
    return made


def _tidy(operation: dict[str, Any]) -> None:
    """Undo what FastAPI adds by itself, and add the examples, whose nulls it would drop."""
    operation["responses"].pop("422", None)
    operation["operationId"] = operation["operationId"].split("_v1_")[0].removesuffix("_healthz_get")
    for parameter in operation.get("parameters", []):
        choices = parameter["schema"].pop("anyOf", [{}])
        parameter["schema"] |= choices[0]
    for response in operation["responses"].values():
        media = response.get("content", {}).get("application/json", {})
        name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if name in examples.ANSWERS:
            media["example"] = examples.ANSWERS[name]


_KEYS = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
}


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": REFERENCE.format(model=name)}}


def _headers(status: int) -> dict[str, Any]:
    wait = {"schema": {"type": "integer"}, "description": "Seconds."}
    return {"headers": {"Retry-After": wait}} if status in (429, 503) else {}


def _served(operation: dict[str, Any], *failures: int) -> dict[str, Any]:
    """An operation of the gateway, with its failures."""
    told = {str(status): problem for status, problem in problems(*failures).items()}
    return {**operation, "responses": {**operation["responses"], **told}}


def _schemas() -> dict[str, Any]:
    taken: list[type[BaseModel]] = [
        requests.NewSession,
        requests.NewMessage,
        requests.Interruption,
        requests.Restoration,
        requests.SessionChanges,
        limits.NewUserLimits,
        requests.NewTemplate,
        webhook_shapes.NewWebhook,
        webhook_shapes.Redelivery,
        requests.NewToken,
        requests.NewModelKey,
        Error,
        EventPage,
        SessionList,
    ]
    given: list[type[BaseModel]] = [
        views.Session,
        views.Ended,
        views.Purged,
        views.UserLimits,
        views.NewlyIssued,
        views.ModelKey,
        views.Health,
        reports.Report,
        AuditPage,
        VersionList,
        TemplateList,
        webhook_shapes.CreatedWebhook,
        webhook_shapes.Redelivered,
        WebhookList,
        DeliveryList,
        files.FileList,
    ]
    _, took = models_json_schema([(cls, "validation") for cls in taken], ref_template=REFERENCE)
    _, gave = models_json_schema([(cls, "serialization") for cls in given], ref_template=REFERENCE)
    schemas = {**stored_events.schemas(REFERENCE), **took["$defs"], **gave["$defs"]}
    schemas["ListedSession"] = _listed(schemas["Session"])
    schemas["CreatedSession"] = _created(schemas["Session"])
    return dict(sorted(schemas.items()))


def _created(session: dict[str, Any]) -> dict[str, Any]:
    asked = {"token": _schema("Token")["schema"], "webhook": _schema("CreatedWebhook")["schema"]}
    description = "A session; and, when asked for, a token for it and its webhook, each with its secret."
    whole = {**session["properties"], **asked}
    return {**session, "title": "CreatedSession", "description": description, "properties": whole}


def _listed(session: dict[str, Any]) -> dict[str, Any]:
    return {
        **session,
        "title": "ListedSession",
        "description": "A session as lists have it: without its messages, events and usage.",
        "properties": {k: v for k, v in session["properties"].items() if k not in views.LEFT_OUT},
        "required": [name for name in session["required"] if name not in views.LEFT_OUT],
    }
