"""Reads of the table: one item, a range of a partition, a range of an index."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from opensessions.aws import table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = dict[str, Any]


class Queries:
    """Items as their values (`table.values`). Ranges are read as far as the taker of the items goes: the
    first request asks for `first_page` of them, each further one for four times more.
    """

    def __init__(self, client: "DynamoDBClient", table_name: str) -> None:
        self._client, self._table = client, table_name

    def item(self, pk: str, sk: str) -> Item | None:
        """Read consistently."""
        key = table.attributes({"pk": pk, "sk": sk})
        answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return table.values(answer["Item"]) if "Item" in answer else None

    def range(
        self, pk: str, low: str, high: str, first_page: int, *, newest_first: bool = False
    ) -> Iterator[Item]:
        """Items of a partition with a sort key from `low` to `high`, read consistently."""
        condition = _condition(("pk", "sk"), pk, low, high)
        return self._query(
            {**condition, "ConsistentRead": True, "ScanIndexForward": not newest_first}, first_page
        )

    def index(
        self,
        index: str,
        partition: str,
        high: str,
        first_page: int,
        *,
        newest_first: bool = False,
        start: Item | None = None,
    ) -> Iterator[tuple[str, str]]:
        """Pairs of sort key and session id, up to `high`; `start` is of `table.index_start`."""
        names = table.INDEXES[index]
        condition = _condition(names, partition, "0", high)
        query = {**condition, "IndexName": index, "ScanIndexForward": not newest_first}
        if start:
            query["ExclusiveStartKey"] = start
        for item in self._query(query, first_page):
            yield item[names[1]], table.session_id(item["pk"])

    def _query(self, query: Item, first_page: int) -> Iterator[Item]:
        size = first_page
        while True:
            answer = self._client.query(TableName=self._table, Limit=size, **query)
            yield from map(table.values, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            query = {**query, "ExclusiveStartKey": answer["LastEvaluatedKey"]}
            size *= 4


def _condition(names: tuple[str, str], partition: str, low: str, high: str) -> Item:
    return {
        "KeyConditionExpression": "#partition = :partition AND #sort BETWEEN :low AND :high",
        "ExpressionAttributeNames": {"#partition": names[0], "#sort": names[1]},
        "ExpressionAttributeValues": table.attributes({":partition": partition, ":low": low, ":high": high}),
    }
