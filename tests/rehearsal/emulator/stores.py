"""A table that is written to too fast, and a queue whose delays are short, as the knobs say."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.rehearsal.emulator.knobs import Knobs
from tests.rehearsal.emulator.symbols import get, wrap

_SINGLE = ("PutItem", "UpdateItem", "DeleteItem")
_WORDS = "Throughput exceeds the current capacity of your table or index."
_TYPE = "com.amazonaws.dynamodb.v20120810#"


def install(knobs: Knobs) -> None:
    handlers = get("app.SERVICE_HANDLERS")
    handlers["dynamodb"] = _throttled(handlers["dynamodb"], knobs)
    wrap("services.sqs._act_send_message")(lambda send: _hurried(send, knobs))


def _throttled(original: Callable[..., Awaitable[Any]], knobs: Knobs) -> Callable[..., Awaitable[Any]]:
    async def handle(method: str, path: str, headers: Any, body: bytes, params: Any) -> Any:
        action = (headers.get("x-amz-target") or "").rsplit(".", 1)[-1]
        if action in _SINGLE and knobs.take("throttled"):
            return _refusal({"__type": f"{_TYPE}ProvisionedThroughputExceededException", "message": _WORDS})
        if action == "TransactWriteItems" and knobs.take("throttled"):
            return _refusal(_cancelled(len(json.loads(body)["TransactItems"])))
        return await original(method, path, headers, body, params)

    return handle


def _hurried(send: Callable[..., Any], knobs: Knobs) -> Callable[..., Any]:
    def sent(data: dict[str, Any], url: str) -> Any:
        if int(data.get("DelaySeconds") or 0) > 1 and knobs.take("hurried"):
            data = {**data, "DelaySeconds": 1}
        return send(data, url)

    return sent


def _cancelled(items: int) -> dict[str, Any]:
    reasons = [{"Code": "ThrottlingError", "Message": _WORDS}, *[{"Code": "None"}] * (items - 1)]
    codes = ", ".join(reason["Code"] for reason in reasons)
    words = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    return {
        "__type": f"{_TYPE}TransactionCanceledException",
        "Message": words,
        "CancellationReasons": reasons,
    }


def _refusal(body: dict[str, Any]) -> Any:
    return 400, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(body).encode()
