"""What arrives on the deliveries queue, and how it is carried out."""

import json
import logging
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from pydantic import BaseModel, Field

from opensessions.aws import wiring
from opensessions.webhooks.deliveries import Deliveries
from opensessions.webhooks.hooks import Errand
from opensessions.webhooks.posting import Poster

log = logging.getLogger(__name__)

_now = partial(datetime.now, UTC)


class Message(BaseModel):
    """An errand, as `wiring.send` spells it."""

    hook_id: str = Field(pattern=r"^whk_[0-9a-f]{32}$")
    session_id: str = Field(pattern=r"^session_[0-9a-f]{32}$")
    seq: Annotated[int, Field(ge=1)] | None = None


def deliveries() -> Deliveries:
    """Who delivers."""
    return Deliveries(
        wiring.store(),
        wiring.hooks(),
        Poster(wiring.destinations(), _now),
        clock=_now,
        send=wiring.send,
    )


def act(body: str, deliveries: Deliveries) -> None:
    """Carry out one message. Raises ValueError for what is none."""
    deliveries.run(Errand(**Message.model_validate(json.loads(body)).model_dump()))
