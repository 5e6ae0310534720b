"""The public API, behind API Gateway. Event streams go to the gateway instead."""

from typing import Any

from opensessions.aws import asgi, telemetry, wiring
from opensessions.http import api

_answer = asgi.handler_of(api.create_app(wiring.service()))


@telemetry.observed()
def handler(event: Any, context: Any) -> Any:
    return _answer(event, context)
