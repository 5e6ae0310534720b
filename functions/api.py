"""The public API, behind API Gateway. Event streams go to the gateway instead."""

from typing import Any

from mangum import Mangum

from opensessions.aws import telemetry, wiring
from opensessions.http import api

_answer = Mangum(api.create_app(wiring.service()), lifespan="off")


@telemetry.observed("pathParameters.id")
def handler(event: Any, context: Any) -> Any:
    return _answer(event, context)
