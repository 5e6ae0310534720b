"""How entries of the record are shown."""

from typing import Any, Literal

from pydantic import Field

from opensessions.access import audit
from opensessions.http.views import SessionId, Time, View
from opensessions.models import timestamp


class Actor(View):
    """Who: a key (`id`, `name`), a session's token (`session`), or the operator at the command line."""

    kind: Literal["key", "token", "operator"]
    id: str | None = Field(examples=["key_0123456789abcdef0123456789abcdef"])
    name: str | None = Field(examples=["backend"])
    scope: str | None = Field(examples=["write"])
    session: SessionId | None


class Entry(View):
    """Something that was done, or refused. What a token read, and what failed, is told once a minute."""

    at: Time
    by: Actor
    action: str = Field(description="The operation, as it is named here.", examples=["create_session"])
    target: str | None = Field(description="The id of what it was done to.")
    user_id: str | None = Field(description="The user who was named in the request.")
    ip: str | None = Field(examples=["203.0.113.7"])
    result: int = Field(description="The HTTP status that was answered.", examples=[201])


def shown(entry: audit.Entry) -> dict[str, Any]:
    """An entry as callers get it."""
    by = entry.by
    return Entry(
        at=timestamp(entry.at),
        by=Actor(kind=by.kind, id=by.id, name=by.name, scope=by.scope, session=by.session_id),
        action=entry.action,
        target=entry.target,
        user_id=entry.user_id,
        ip=entry.ip,
        result=entry.result,
    ).json_object()
