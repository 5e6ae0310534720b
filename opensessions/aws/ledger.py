"""The ledger in the DynamoDB table (see `table` for its items).

A call is two items: CALL is the memory that it was reserved, which goes a day after it was settled, and OPEN
is there until it is settled. Whoever deletes OPEN settles.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from opensessions import codec
from opensessions.aws import meters, table
from opensessions.aws.batches import batch_delete, batch_get
from opensessions.aws.queries import Queries
from opensessions.aws.transactions import Write, transact
from opensessions.errors import Stale, StoreError
from opensessions.models import timestamp
from opensessions.money.ledger import REMEMBERED_SECONDS, Allowance, Amounts, Call, Meter

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_PAGE = 100
_OF_SESSION = (("CALL#", "CALL#~"), ("ENTRY#", "ENTRY#~"), ("OPEN#", "OPEN#~"), ("TURN#", "USED"))
_NEW = {"ConditionExpression": "attribute_not_exists(pk)"}
_THERE = {"ConditionExpression": "attribute_exists(pk)"}


class DynamoLedger:
    """A `ledger.Ledger` on a table of `table.table_definition`."""

    def __init__(
        self,
        table_name: str,
        client: "DynamoDBClient",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._table, self._client, self._clock = table_name, client, clock
        self._queries = Queries(client, table_name)

    # ---- writing ----

    def reserve(self, call: Call) -> None:
        pk, sk = table.session_pk(call.session_id), table.call_sk(call.id)
        body = codec.pack(codec.call_text(call))
        writes = [
            self._put(table.item(pk, sk), _NEW, Stale(f"{call.id} was reserved before.")),
            self._put(table.item(pk, table.open_sk(call.id), body=body), {}, _impossible(pk, sk)),
            *(meters.hold(self._table, call, meter, bound) for meter, bound in call.meters),
        ]
        transact(self._client, writes, str(uuid.uuid4()), lambda: self._queries.item(pk, sk) is not None)

    def settle(self, session_id: str, call_id: str, used: Amounts) -> list[tuple[Meter, Amounts]] | None:
        pk, sk = table.session_pk(session_id), table.call_sk(call_id)
        found = self._queries.item(pk, table.open_sk(call_id))
        if found is None:
            return None
        call, token = _call(found), str(uuid.uuid4())
        writes = [
            self._close(pk, call_id),
            self._remember(pk, sk, token),
            *(meters.use(self._table, meter, used, call.worst) for meter, _ in call.meters),
        ]
        try:
            transact(self._client, writes, token, lambda: self._writer(pk, sk) == token)
        except Stale:
            return None
        return self._read([meter for meter, _ in call.meters])

    def record(self, session_id: str, entry_id: str, on: Sequence[Meter], amounts: Amounts) -> bool:
        pk, sk = table.session_pk(session_id), table.entry_sk(entry_id)
        token = str(uuid.uuid4())
        entry = table.item(pk, sk, writer=token)
        writes = [
            self._put(entry, _NEW, Stale(f"{entry_id} was recorded before.")),
            *(meters.use(self._table, meter, amounts) for meter in on),
        ]
        try:
            transact(self._client, writes, token, lambda: self._writer(pk, sk) == token)
        except Stale:
            return False
        return True

    def put_allowance(self, account: str, user_id: str | None, allowance: Allowance) -> None:
        item = table.item(
            table.usage_pk(account), table.allowance_sk(user_id), body=codec.text(allowance), user_id=user_id
        )
        self._client.put_item(TableName=self._table, Item=item)

    def purge(self, session_id: str) -> None:
        for call in self._open(session_id):
            self.settle(session_id, call.id, call.lost)
        batch_delete(self._client, self._table, self._keys(table.session_pk(session_id)))

    # ---- reading ----

    def open_calls(self, session_id: str, began_before: datetime) -> list[Call]:
        bound = timestamp(began_before)
        calls = [call for call in self._open(session_id) if timestamp(call.began_at) < bound]
        return sorted(calls, key=lambda call: (timestamp(call.began_at), call.id))

    def read(self, meter: Meter) -> Amounts:
        found = self._queries.item(*table.meter_key(meter))
        return meters.used(found) if found else Amounts()

    def turns(self, session_id: str) -> dict[int, Amounts]:
        found = self._queries.range(table.session_pk(session_id), "TURN#", "TURN#~", _PAGE)
        read = {int(item["sk"].removeprefix("TURN#")): meters.used(item) for item in found}
        return {turn: used for turn, used in read.items() if used != Amounts()}

    def days(
        self, account: str, first: str, last: str, user_id: str | None = None
    ) -> list[tuple[Meter, Amounts]]:
        if user_id is not None:
            return _something(
                self._read([Meter(account, None, None, user_id, day) for day in _days(first, last)])
            )
        items = self._queries.range(table.usage_pk(account), f"DAY#{first}", f"DAY#{last}~", _PAGE)
        found = _something([(meters.of_user(account, item), meters.used(item)) for item in items])
        return sorted(found, key=lambda each: (each[0].period, each[0].user_id))

    def totals(self, account: str, first: str, last: str) -> list[tuple[Meter, Amounts]]:
        items = self._queries.range(table.usage_pk(account), f"ALL#{first}", f"ALL#{last}", _PAGE)
        days = (item for item in items if len(item["sk"]) == len(f"ALL#{first}"))
        return _something([(meters.of_account(account, item), meters.used(item)) for item in days])

    def allowance(self, account: str, user_id: str | None) -> Allowance:
        found = self._queries.item(table.usage_pk(account), table.allowance_sk(user_id))
        return Allowance.model_validate_json(found["body"]) if found else Allowance()

    # ---- parts ----

    def _open(self, session_id: str) -> list[Call]:
        return [
            _call(item)
            for item in self._queries.range(table.session_pk(session_id), "OPEN#", "OPEN#~", _PAGE)
        ]

    def _read(self, on: Sequence[Meter]) -> list[tuple[Meter, Amounts]]:
        keys = [table.meter_key(meter) for meter in on]
        found = {(item["pk"], item["sk"]): item for item in batch_get(self._client, self._table, keys)}
        return [(meter, meters.used(found.get(key, {}))) for meter, key in zip(on, keys, strict=True)]

    def _writer(self, pk: str, sk: str) -> str | None:
        """Of the transaction that settled or recorded it."""
        found = self._queries.item(pk, sk)
        return found.get("writer") if found else None

    def _keys(self, pk: str) -> Iterator[tuple[str, str]]:
        for low, high in _OF_SESSION:
            for item in self._queries.range(pk, low, high, _PAGE):
                yield item["pk"], item["sk"]

    def _put(self, item: dict[str, Any], condition: dict[str, str], refusal: StoreError) -> Write:
        return Write({"Put": {"TableName": self._table, "Item": item, **condition}}, refusal)

    def _close(self, pk: str, call_id: str) -> Write:
        key = table.attributes({"pk": pk, "sk": table.open_sk(call_id)})
        refusal = Stale(f"{call_id} was settled before.")
        return Write({"Delete": {"TableName": self._table, "Key": key, **_THERE}}, refusal)

    def _remember(self, pk: str, sk: str, token: str) -> Write:
        ttl = int(self._clock().timestamp()) + REMEMBERED_SECONDS
        return self._put(table.item(pk, sk, writer=token, ttl=ttl), {}, _impossible(pk, sk))


def _call(item: dict[str, Any]) -> Call:
    return codec.call(codec.unpack(item["body"]))


def _impossible(pk: str, sk: str) -> StoreError:
    return StoreError(f"{pk} {sk} has a condition, although it was written without one.")


def _something(found: list[tuple[Meter, Amounts]]) -> list[tuple[Meter, Amounts]]:
    """Without those that nothing was used on."""
    return [(meter, used) for meter, used in found if used != Amounts()]


def _days(first: str, last: str) -> Iterator[str]:
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return ((start + timedelta(days=number)).isoformat() for number in range((end - start).days + 1))
