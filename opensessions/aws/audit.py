"""The audit record in the table: a partition for each account, in the order of time."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from opensessions import codec
from opensessions.access.audit import KEPT, Entry, Record, position_of, recorded
from opensessions.aws import table
from opensessions.aws.queries import Queries
from opensessions.models import timestamp

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoAudit:
    """An `audit.Audit` on a table of `table.table_definition`."""

    def __init__(
        self,
        table_name: str,
        client: "DynamoDBClient",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._table, self._client, self._clock = table_name, client, clock
        self._queries = Queries(client, table_name)

    def add(self, entry: Entry) -> None:
        """The same entry again is written again, as it is."""
        values = {"body": codec.pack(codec.text(entry)), table.TTL: int((entry.at + KEPT).timestamp())}
        item = table.item(table.audit_pk(entry.account), entry.position, **values)
        self._client.put_item(TableName=self._table, Item=item)

    def page(self, account: str, since: datetime, until: datetime, limit: int, cursor: str | None) -> Record:
        """Those whose time is over may still be in the table, and are passed over."""
        since = max(since, self._clock() - KEPT)
        low, high = timestamp(since), min(timestamp(until), position_of(account, cursor) if cursor else "~")
        if low > high:
            return Record((), None)
        items = self._queries.range(table.audit_pk(account), low, high, limit + 2, newest_first=True)
        found = (Entry.model_validate_json(codec.unpack(item["body"])) for item in items)
        further = (entry for entry in found if entry.position != high)
        return recorded(account, list(islice(further, limit + 1)), limit)
