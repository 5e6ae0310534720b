"""The pool in the table: one partition, an item for each slot."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from opensessions import codec
from opensessions.aws import table
from opensessions.aws.queries import Item, Queries
from opensessions.aws.transactions import Write
from opensessions.errors import SpareGone, Stale
from opensessions.pool.spares import Spare

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_PAGE = 25
_SAME = "sandbox_id = :id"
_UNCHANGED = f"{_SAME} AND rev = :rev"


class DynamoSpares:
    """A `pool.Spares` on a table of `table.table_definition`."""

    def __init__(self, table_name: str, client: "DynamoDBClient") -> None:
        self._table, self._client = table_name, client
        self._queries = Queries(client, table_name)

    def all(self) -> list[Spare]:
        return [_spare(item) for item in self._queries.range(table.POOL, "SLOT#", "SLOT#~", _PAGE)]

    def find(self, sandbox_id: str) -> Spare | None:
        return next((spare for spare in self.all() if spare.sandbox_id == sandbox_id), None)

    def at(self, slot: int) -> Spare | None:
        found = self._queries.item(table.POOL, table.slot_sk(slot))
        return _spare(found) if found else None

    def add(self, new: Spare) -> None:
        put = {"Item": _item(new), "ConditionExpression": "attribute_not_exists(pk)"}
        if not self._if_so("put_item", put):
            raise Stale(f"Slot {new.slot} of the pool is taken.")

    def change(self, before: Spare, after: Spare) -> Spare:
        saved = after.model_copy(update={"rev": before.rev + 1})
        if not self._if_so("put_item", {"Item": _item(saved), **_if(_UNCHANGED, before)}):
            raise Stale(f"{before.sandbox_id} was changed, or has left the pool.")
        return saved

    def drop(self, spare: Spare) -> bool:
        return self._if_so("delete_item", {"Key": _key(spare), **_if(_SAME, spare)})

    def _if_so(self, operation: str, arguments: Mapping[str, Any]) -> bool:
        try:
            getattr(self._client, operation)(TableName=self._table, **arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        return True


def taking(table_name: str, spare: Spare) -> Write:
    """The write that empties a spare's slot, within a transaction."""
    delete = {"TableName": table_name, "Key": _key(spare), **_if(_UNCHANGED, spare)}
    return Write({"Delete": delete}, SpareGone(f"{spare.sandbox_id} has left the pool."))


def _if(condition: str, spare: Spare) -> dict[str, Any]:
    values = {":id": spare.sandbox_id} | ({":rev": spare.rev} if ":rev" in condition else {})
    return {"ConditionExpression": condition, "ExpressionAttributeValues": table.attributes(values)}


def _key(spare: Spare) -> Item:
    return table.attributes({"pk": table.POOL, "sk": table.slot_sk(spare.slot)})


def _item(spare: Spare) -> Item:
    body = codec.pack(codec.text(spare))
    return table.item(
        table.POOL, table.slot_sk(spare.slot), sandbox_id=spare.sandbox_id, rev=spare.rev, body=body
    )


def _spare(item: Item) -> Spare:
    return Spare.model_validate_json(codec.unpack(item["body"]))
