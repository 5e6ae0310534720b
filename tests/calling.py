"""Model calls of sandboxes, as the gateway has them metered."""

import secrets
from typing import Any

from opensessions.handshake import derived_token
from opensessions.models import Session
from tests.fakes import World

MODEL = "claude-test"


def reserve(here: World, session: Session, prompt: int = 0, most: int = 1000, model: str = MODEL) -> str:
    """Leave for a call, under a new id."""
    call_id = secrets.token_hex(16)
    token = derived_token(here.token(session), "model")
    here.metering.reserve(token, call_id, model, prompt, most)
    return call_id


def settle(here: World, session: Session, call_id: str, said: int, model: str = MODEL) -> None:
    """The call answered with so many tokens."""
    usage: dict[str, Any] = {"input_tokens": 0, "output_tokens": said}
    here.metering.settle(session.id, call_id, model, usage, False)


def call(here: World, session: Session, said: int) -> None:
    """A whole call: a thousand tokens of `claude-test` are a cent."""
    settle(here, session, reserve(here, session), said)
