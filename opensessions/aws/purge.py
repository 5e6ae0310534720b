"""The end of a session in the table: what belongs to it first, then, at once, all by which it is found."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from opensessions.aws import table
from opensessions.aws.batches import batch_delete
from opensessions.aws.queries import Queries
from opensessions.aws.transactions import Write, transact
from opensessions.errors import Stale, StoreError
from opensessions.models import Session

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_PAGE = 250
_LAST = ("HEAD", "META")


class Purge:
    """Of one session. What is committed to it meanwhile goes too: the head is deleted only as it was before
    the rest was, and without a head nothing is committed.
    """

    def __init__(self, client: "DynamoDBClient", table_name: str, session_id: str) -> None:
        self._client, self._table = client, table_name
        self._queries = Queries(client, table_name)
        self._pk = table.session_pk(session_id)

    def rest(self, session: Session | None) -> None:
        """Delete all but what `last` does, of a session that may be gone already."""
        keys = [self._keys(self._pk, "!")]
        if session:
            keys.append(self._keys(table.sandbox_pk(session.sandbox_id), table.inbox_sk(0)))
        for found in keys:
            batch_delete(self._client, self._table, found)

    def last(self, session: Session, token: str) -> None:
        """Delete the session itself and the way from its sandbox, and give its place among the live ones
        back. Raises Stale when it is no longer as `session` was.
        """
        refusal = Stale(f"{session.id} was changed by another writer while it was deleted.")
        was = {"ExpressionAttributeNames": {"#rev": "rev"}, "ConditionExpression": "#rev = :was"}
        values = {"ExpressionAttributeValues": table.attributes({":was": session.head.rev})}
        writes = [
            self._delete(self._pk, "HEAD", refusal, {**was, **values}),
            self._delete(self._pk, "META", refusal, {}),
            self._delete(table.sandbox_pk(session.sandbox_id), "META", refusal, {}),
        ]
        if session.live:
            writes.append(self._give_back(session.account))
        transact(self._client, writes, token, lambda: self._queries.item(self._pk, "HEAD") is None)

    def _keys(self, pk: str, low: str) -> Iterator[tuple[str, str]]:
        for item in self._queries.range(pk, low, "~", _PAGE):
            if item["sk"] not in _LAST:
                yield item["pk"], item["sk"]

    def _delete(self, pk: str, sk: str, refusal: Stale, condition: dict[str, Any]) -> Write:
        key = table.attributes({"pk": pk, "sk": sk})
        return Write({"Delete": {"TableName": self._table, "Key": key, **condition}}, refusal)

    def _give_back(self, account: str) -> Write:
        update = {
            "TableName": self._table,
            "Key": table.attributes({"pk": table.account_pk(account), "sk": "LIVE"}),
            "UpdateExpression": "ADD n :step SET v = :v",
            "ExpressionAttributeValues": table.attributes({":step": -1, ":v": table.VERSION}),
        }
        return Write({"Update": update}, StoreError(f"The live sessions of {account} are not counted."))
