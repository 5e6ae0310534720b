"""Many items by their keys."""

import random
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from opensessions.aws import table
from opensessions.errors import StoreError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MOST_KEYS = 100
"""DynamoDB's bound for one request."""

PATIENCE = 8.0
"""Seconds for which keys are asked for that DynamoDB leaves out."""


def batch_get(
    client: "DynamoDBClient", table_name: str, keys: Sequence[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """The items of (`pk`, `sk`) pairs that exist, read consistently, in no order."""
    deadline = time.monotonic() + PATIENCE
    open_keys = [table.attributes({"pk": pk, "sk": sk}) for pk, sk in keys]
    pause = 0.02
    while open_keys:
        request = {table_name: {"Keys": open_keys[:MOST_KEYS], "ConsistentRead": True}}
        answer = client.batch_get_item(RequestItems=request)  # type: ignore[arg-type]
        yield from map(table.values, answer["Responses"].get(table_name, []))
        left = [dict(key) for key in answer["UnprocessedKeys"].get(table_name, {"Keys": []})["Keys"]]
        open_keys = [*left, *open_keys[MOST_KEYS:]]
        if not left:
            continue
        if time.monotonic() > deadline:
            raise StoreError(
                f"DynamoDB left out {len(left)} keys again and again: {table_name} is throttled."
            )
        time.sleep(random.uniform(0, pause))
        pause = min(2 * pause, 1.0)
