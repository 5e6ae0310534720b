"""A DynamoDB that is busy, or silent, or whose answers get lost."""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from opensessions.aws.dynamodb import DynamoStore
from tests.contract.engines import DynamoEngine

Fault = Callable[[Callable[..., Any], dict[str, Any]], Any]


class Faulty:
    """A client whose next calls of one operation go wrong, each as its fault says."""

    def __init__(self, client: Any, operation: str, *faults: Fault) -> None:
        self.faults = list(faults)
        self.tokens: list[str] = []
        self._client = client
        self._operation = operation

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name != self._operation:
            return method

        def call(**arguments: Any) -> Any:
            self.tokens.append(arguments.get("ClientRequestToken", ""))
            return self.faults.pop(0)(method, arguments) if self.faults else method(**arguments)

        return call


def refused(code: str, *reasons: str) -> Fault:
    answer: Any = {"Error": {"Code": code, "Message": code}}
    if reasons:
        answer["CancellationReasons"] = [{"Code": reason} for reason in reasons]

    def fault(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        raise ClientError(answer, "TransactWriteItems")

    return fault


def unanswered(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """It never arrived."""
    raise ReadTimeoutError(endpoint_url="http://127.0.0.1")


def answer_lost(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """It was done."""
    method(**arguments)
    raise ReadTimeoutError(endpoint_url="http://127.0.0.1")


CONFLICT = refused("TransactionCanceledException", "TransactionConflict", "None")


def faulty(engine: DynamoEngine, *faults: Fault, operation: str = "transact_write_items") -> DynamoStore:
    engine.client = Faulty(engine.client, operation, *faults)  # type: ignore[assignment]
    return engine.open()
