"""API keys in the table: each under its id, and those that are good in one of the places of their name."""

import uuid
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from opensessions.access.keyring import LIVE_PER_NAME, REMEMBERED, Key, key_id, too_many
from opensessions.aws import table
from opensessions.aws.queries import Queries
from opensessions.aws.transactions import Write, transact
from opensessions.errors import Conflict
from opensessions.models import timestamp

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_PAGE = 25


class _Taken(Conflict):
    """Another good key has this place of the name."""


class DynamoKeyring:
    """A `keyring.Keyring` on a table of `table.table_definition`. A key's id is `keyring.key_id` of its hash.

    Keys of older tables, which lie under their SHA-256, are good; the list of an account does not have them.
    """

    def __init__(self, table_name: str, client: "DynamoDBClient") -> None:
        self._table, self._client = table_name, client
        self._queries = Queries(client, table_name)

    def put(self, key: Key) -> None:
        for place in range(1, LIVE_PER_NAME + 1):
            with suppress(_Taken):
                return self._put(key, place)
        raise too_many(key)

    def find(self, key_hash: str) -> Key | None:
        found = self.get(key_id(key_hash))
        if found and found.hash == key_hash:
            return found
        old = self._queries.item(table.key_pk(key_hash), "META")
        return _key({**old, "hash": key_hash, "id": key_id(key_hash)}) if old else None

    def get(self, key_id: str) -> Key | None:
        found = self._queries.item(table.key_pk(key_id), "META")
        return _key({**found, "id": key_id}) if found and "hash" in found else None

    def of_account(self, account: str) -> list[Key]:
        places = self._queries.range(table.account_pk(account), "KEY#", "KEY#~", _PAGE)
        keys = (self.get(place["key_id"]) for place in places)
        good = [key for key in keys if key and not key.revoked_at]
        return sorted(good, key=lambda key: (timestamp(key.created_at) if key.created_at else "", key.id))

    def used(self, key: Key, at: datetime) -> None:
        update = {
            "UpdateExpression": "SET last_used_at = :at",
            "ConditionExpression": "attribute_exists(pk) AND "
            "(attribute_not_exists(last_used_at) OR last_used_at < :at)",
            "ExpressionAttributeValues": table.attributes({":at": timestamp(at)}),
        }
        try:
            self._client.update_item(TableName=self._table, Key=_place(key), **update)  # type: ignore[arg-type]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise

    def revoke(self, key: Key, at: datetime) -> None:
        forgotten = int((at + REMEMBERED).timestamp())
        values = {":at": timestamp(at), ":ttl": forgotten}
        update = {
            "TableName": self._table,
            "Key": _place(key),
            "UpdateExpression": "SET revoked_at = if_not_exists(revoked_at, :at), "
            "#ttl = if_not_exists(#ttl, :ttl)",
            "ConditionExpression": "attribute_exists(pk)",
            "ExpressionAttributeNames": {"#ttl": table.TTL},
            "ExpressionAttributeValues": table.attributes(values),
        }
        place = self._place_of(key)
        writes = [Write({"Update": update}, Conflict(f"There is no key {key.id}."))]
        if place:
            writes.append(Write({"Delete": place}, Conflict("The key's place was given to another.")))
        transact(self._client, writes, str(uuid.uuid4()), lambda: False)

    def _put(self, key: Key, place: int) -> None:
        values = key.model_dump(mode="json", exclude={"id"})
        pk, sk = table.key_pk(key.id), "META"
        account, name = table.account_pk(key.account), table.key_sk(key.name, place)
        writes = [
            self._new(table.item(pk, sk, **values), Conflict("There is such a key already.")),
            self._new(table.item(account, name, key_id=key.id), _Taken("taken")),
        ]
        transact(self._client, writes, str(uuid.uuid4()), lambda: self._is_at(key, place))

    def _new(self, item: dict[str, Any], refusal: Conflict) -> Write:
        put = {"TableName": self._table, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}
        return Write({"Put": put}, refusal)

    def _is_at(self, key: Key, place: int) -> bool:
        found = self._queries.item(table.account_pk(key.account), table.key_sk(key.name, place))
        return bool(found and found["key_id"] == key.id)

    def _place_of(self, key: Key) -> dict[str, Any] | None:
        """How the place that a good key has in its account is given back."""
        for place in range(1, LIVE_PER_NAME + 1):
            if self._is_at(key, place):
                pk, sk = table.account_pk(key.account), table.key_sk(key.name, place)
                return {
                    "TableName": self._table,
                    "Key": table.attributes({"pk": pk, "sk": sk}),
                    "ConditionExpression": "attribute_not_exists(pk) OR key_id = :id",
                    "ExpressionAttributeValues": table.attributes({":id": key.id}),
                }
        return None


def _place(key: Key) -> dict[str, Any]:
    """Where a key lies: those that an older version wrote have no date."""
    name = key.id if key.created_at else key.hash
    return table.attributes({"pk": table.key_pk(name), "sk": "META"})


def _key(item: dict[str, Any]) -> Key:
    return Key.model_validate({name: item[name] for name in Key.model_fields if name in item})
