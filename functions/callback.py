"""What sandboxes say, as the gateway relays it. Only the gateway's role may invoke this."""

from typing import Any

from opensessions.aws import asgi, telemetry, wiring
from opensessions.http import callback

_answer = asgi.handler_of(callback.create_app(wiring.testimony()))


@telemetry.observed()
def handler(event: Any, context: Any) -> Any:
    return _answer(event, context)
