"""What sandboxes say, as the gateway relays it. Only the gateway's role may invoke this."""

from typing import Any

from mangum import Mangum

from opensessions.aws import telemetry, wiring
from opensessions.http import callback

_answer = Mangum(callback.create_app(wiring.testimony()), lifespan="off")


@telemetry.observed()
def handler(event: Any, context: Any) -> Any:
    return _answer(event, context)
