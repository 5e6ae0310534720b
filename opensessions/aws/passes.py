"""Passes in the table, in their session's partition, so that its purge takes them along."""

from typing import TYPE_CHECKING

from opensessions import codec
from opensessions.access.passes import Pass
from opensessions.aws import table
from opensessions.aws.queries import Queries

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoPasses:
    """A `passes.Passes` on a table of `table.table_definition`."""

    def __init__(self, table_name: str, client: "DynamoDBClient") -> None:
        self._table, self._client = table_name, client
        self._queries = Queries(client, table_name)

    def put(self, token_hash: str, new: Pass) -> None:
        pk, sk = table.session_pk(new.session_id), table.pass_sk(token_hash)
        values = {"body": codec.pack(codec.text(new)), table.TTL: int(new.expires_at.timestamp()) + 1}
        self._client.put_item(TableName=self._table, Item=table.item(pk, sk, **values))

    def get(self, session_id: str, token_hash: str) -> Pass | None:
        found = self._queries.item(table.session_pk(session_id), table.pass_sk(token_hash))
        return _pass(found["body"]) if found else None

    def take(self, session_id: str, token_hash: str) -> Pass | None:
        key = {"pk": table.session_pk(session_id), "sk": table.pass_sk(token_hash)}
        answer = self._client.delete_item(
            TableName=self._table, Key=table.attributes(key), ReturnValues="ALL_OLD"
        )
        found = answer.get("Attributes")
        return _pass(table.values(found)["body"]) if found else None


def _pass(body: bytes) -> Pass:
    return Pass.model_validate_json(codec.unpack(body))
