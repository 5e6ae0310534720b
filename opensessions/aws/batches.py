"""Many items by their keys."""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from opensessions.aws import table
from opensessions.errors import StoreError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MOST_KEYS = 100
MOST_DELETES = 25
"""DynamoDB's bounds for one request."""

PATIENCE = 8.0
"""Seconds for which keys are asked for again that DynamoDB leaves out."""


def batch_get(
    client: "DynamoDBClient", table_name: str, keys: Sequence[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """The items of (`pk`, `sk`) pairs that exist, read consistently, in no order."""
    patience = _Patience(table_name)
    open_keys = [table.attributes({"pk": pk, "sk": sk}) for pk, sk in keys]
    while open_keys:
        request = {table_name: {"Keys": open_keys[:MOST_KEYS], "ConsistentRead": True}}
        answer = client.batch_get_item(RequestItems=request)  # type: ignore[arg-type]
        yield from map(table.values, answer["Responses"].get(table_name, []))
        left = [dict(key) for key in answer["UnprocessedKeys"].get(table_name, {"Keys": []})["Keys"]]
        open_keys = [*left, *open_keys[MOST_KEYS:]]
        if left:
            patience.wait(len(left))


def batch_delete(client: "DynamoDBClient", table_name: str, keys: Iterable[tuple[str, str]]) -> None:
    """Delete the items of (`pk`, `sk`) pairs, which are taken as they are needed and may be missing."""
    patience, coming = _Patience(table_name), iter(keys)
    open_requests: list[Any] = []
    while True:
        for pk, sk in islice(coming, MOST_DELETES - len(open_requests)):
            open_requests.append({"DeleteRequest": {"Key": table.attributes({"pk": pk, "sk": sk})}})
        if not open_requests:
            return
        answer = client.batch_write_item(RequestItems={table_name: open_requests})
        open_requests = list(answer["UnprocessedItems"].get(table_name, []))
        if open_requests:
            patience.wait(len(open_requests))


class _Patience:
    """With a table that leaves some of what it is asked for undone; longer each time, up to a bound."""

    def __init__(self, table_name: str) -> None:
        self._table = table_name
        self._deadline, self._pause = time.monotonic() + PATIENCE, 0.02

    def wait(self, left: int) -> None:
        if time.monotonic() > self._deadline:
            raise StoreError(f"DynamoDB left out {left} keys again and again: {self._table} is throttled.")
        time.sleep(random.uniform(0, self._pause))
        self._pause = min(2 * self._pause, 1.0)
