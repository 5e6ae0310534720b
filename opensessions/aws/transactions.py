"""All-or-nothing writes: tried again while that may help, and never refused for having worked before."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from opensessions.errors import OpenSessionsError, TooLarge

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PATIENCE = 8.0
"""Seconds for which a transaction is tried again."""

MOST_ITEMS = 100
MOST_BYTES = 3_900_000
"""DynamoDB's bounds for one transaction; of its 4 MB some are kept for keys and names."""

_PASSING = {
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "TransactionInProgressException",
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "InternalServerError",
}

_UNREACHED = (HTTPClientError, ConnectionError)


@dataclass(frozen=True, slots=True)
class Write:
    """One `Put`, `Update` or `Delete` of a transaction. `refusal` is raised when its condition does not hold;
    `size` is the bytes of its body.
    """

    action: Mapping[str, Any]
    refusal: OpenSessionsError
    size: int = 0


def transact(
    client: "DynamoDBClient", writes: Sequence[Write], token: str, applied: Callable[[], bool]
) -> None:
    """Write all or nothing. `token` names this attempt of the caller for DynamoDB, and `applied` tells
    whether it has been written: asked when a condition fails, which an earlier try of ours whose answer was
    lost may be the cause of.

    Raises the refusal of the first write whose condition does not hold, and what DynamoDB answered last when
    it stays out of reach.
    """
    deadline = time.monotonic() + PATIENCE
    pause = 0.02
    while True:
        try:
            client.transact_write_items(
                TransactItems=[write.action for write in writes],  # type: ignore[misc]
                ClientRequestToken=token,
            )
            return
        except (ClientError, *_UNREACHED) as error:
            refusal = _refusal(error, writes)
            if refusal and applied():
                return
            if refusal:
                raise refusal from None
            if not _passing(error) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0, pause))
        pause = min(2 * pause, 1.0)


def check_bounds(writes: Sequence[Write]) -> None:
    """Raises TooLarge for what is more than one transaction."""
    if len(writes) > MOST_ITEMS:
        raise TooLarge(f"{len(writes)} items are to be written at once; {MOST_ITEMS} is the most.")
    size = sum(write.size for write in writes)
    if size > MOST_BYTES:
        raise TooLarge(f"{size:,} bytes are to be written at once; {MOST_BYTES:,} is the most.")


def _codes(error: ClientError) -> list[str]:
    """Why the transaction was cancelled, item by item, or why the whole request failed."""
    reasons = error.response.get("CancellationReasons")
    if reasons:
        return [reason.get("Code", "None") for reason in reasons]
    return [error.response["Error"]["Code"]]


def _refusal(error: Exception, writes: Sequence[Write]) -> OpenSessionsError | None:
    codes = _codes(error) if isinstance(error, ClientError) else []
    for code, write in zip(codes, writes, strict=False):
        if code == "ConditionalCheckFailed":
            return write.refusal
    return None


def _passing(error: Exception) -> bool:
    if isinstance(error, _UNREACHED):
        return True
    return isinstance(error, ClientError) and {*_codes(error)} <= _PASSING | {"None"}
