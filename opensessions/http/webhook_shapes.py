"""What callers send and get of webhooks."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from opensessions.http.fields import Fields
from opensessions.http.stored_events import payloads
from opensessions.http.views import SessionId, Time, View
from opensessions.models import timestamp
from opensessions.webhooks.deliveries import delivery_id
from opensessions.webhooks.destinations import LONGEST_URL
from opensessions.webhooks.hooks import Hook, Letter

WEBHOOK_ID = r"^whk_[0-9a-f]{32}$"
TYPES = ("*", *sorted(payload.model_fields["type"].default for payload in payloads()))
"""What a webhook can be told of."""
_URL = "https://example.com/hooks/opensessions"


def is_webhook_id(text: str) -> bool:
    """Whether a text can be the id of a webhook at all."""
    return re.fullmatch(WEBHOOK_ID.strip("^$"), text) is not None


def _known(value: list[str]) -> list[str]:
    if unknown := next((each for each in value if each not in TYPES), None):
        raise ValueError(f"has {unknown[:64]!r}, which is no type of events")
    return value


class NewWebhook(Fields):
    """Who is to be told of what."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_URL)] = Field(
        description="https, port 443, a host on the public internet.", examples=[_URL]
    )
    events: Annotated[list[str], AfterValidator(_known)] = Field(
        ["*"],
        min_length=1,
        max_length=len(TYPES),
        description="Types of events; `*` is all.",
        examples=[["turn_complete", "session_ended"]],
        json_schema_extra={"items": {"enum": list(TYPES)}},
    )


class Redelivery(Fields):
    """Which deliveries to try once more; nothing is all."""

    session: SessionId | None = Field(None, description="Those of this session.")
    seq: int | None = Field(None, ge=1, le=10**12 - 1, description="This event of it.", examples=[9])


class Webhook(View):
    """Who is told of what. `reason` says why one that is `off` is told nothing any more."""

    id: str = Field(pattern=WEBHOOK_ID, examples=["whk_0123456789abcdef0123456789abcdef"])
    url: str = Field(examples=[_URL])
    events: list[str] = Field(examples=[["turn_complete", "session_ended"]])
    session: SessionId | None = Field(description="The one session that it is of; null: the account's.")
    status: Literal["on", "off"]
    reason: str | None = Field(examples=[None])
    created_at: Time


class CreatedWebhook(Webhook):
    """A new webhook, with the secret that its deliveries are signed with."""

    secret: str = Field(pattern="^whsec_", examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class Delivery(View):
    """An event that could not be delivered; `id` is its `webhook-id`."""

    id: str = Field(examples=["msg_0123456789abcdef0123456789abcdef"])
    status: Literal["dead"] = "dead"
    session: SessionId
    seq: int = Field(ge=1, examples=[9])
    event_type: str = Field(examples=["turn_complete"])
    attempts: int = Field(ge=1, examples=[8])
    error: str = Field(examples=["It answered 500."])
    died_at: Time


class Redelivered(View):
    """How many deliveries are tried once more."""

    queued: int = Field(ge=0, examples=[1])


def created(hook: Hook) -> dict[str, Any]:
    """A new webhook, its secret included."""
    return shown(hook) | {"secret": hook.secret}


def shown(hook: Hook) -> dict[str, Any]:
    """A webhook as it can be seen later."""
    return Webhook(
        id=hook.id,
        url=hook.url,
        events=list(hook.events),
        session=hook.session_id,
        status="off" if hook.off else "on",
        reason=hook.off,
        created_at=timestamp(hook.created_at),
    ).json_object()


def delivery(letter: Letter) -> dict[str, Any]:
    """A delivery that failed for good."""
    return Delivery(
        id=delivery_id(letter.hook_id, letter.session_id, letter.seq),
        session=letter.session_id,
        seq=letter.seq,
        event_type=letter.event_type,
        attempts=letter.attempts,
        error=letter.error,
        died_at=timestamp(letter.died_at),
    ).json_object()
