"""Webhooks in the table (see `table` for the items). A cursor is in its session's partition, so that it goes
with the session; while its next try has a date it is in the index of what is due.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from opensessions import codec
from opensessions.aws import table
from opensessions.aws.batches import batch_delete
from opensessions.aws.queries import Item, Queries
from opensessions.errors import Stale
from opensessions.models import Subscription, timestamp
from opensessions.webhooks.hooks import LETTER_DAYS, Cursor, Hook, Letter

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_PAGE = 25
_MOST_LETTERS = 1000
"""Deleted with a webhook at once; what is more goes when its time is over."""


class DynamoHooks:
    """A `hooks.Hooks` on a table of `table.table_definition`. `due` comes from an index and may be a moment
    late.
    """

    def __init__(
        self,
        table_name: str,
        client: "DynamoDBClient",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._table, self._client, self._clock = table_name, client, clock
        self._queries = Queries(client, table_name)

    def put(self, hook: Hook) -> None:
        """The account's list last: what it names is there."""
        pk, sk = table.hook_pk(hook.id), "META"
        self._put(table.item(pk, sk, body=codec.pack(codec.text(hook)), off=hook.off))
        if hook.session_id is None:
            pk, sk = table.account_pk(hook.account), table.hook_sk(hook.id)
            created = timestamp(hook.created_at)
            self._put(table.item(pk, sk, created=created, events=list(hook.events)))

    def get(self, hook_id: str) -> Hook | None:
        found = self._queries.item(table.hook_pk(hook_id), "META")
        if not found:
            return None
        hook = Hook.model_validate_json(codec.unpack(found["body"]))
        return hook.model_copy(update={"off": found.get("off")})

    def of_account(self, account: str) -> list[Hook]:
        hooks = (self.get(table.hook_id(item["sk"])) for item in self._listed(account))
        return [hook for hook in hooks if hook]

    def subscriptions(self, account: str) -> list[Subscription]:
        return [
            Subscription(hook_id=table.hook_id(item["sk"]), events=tuple(item["events"]))
            for item in self._listed(account)
        ]

    def switch_off(self, hook_id: str, reason: str) -> None:
        update = {
            "UpdateExpression": "SET #off = if_not_exists(#off, :off)",
            "ExpressionAttributeNames": {"#off": "off"},
            "ExpressionAttributeValues": table.attributes({":off": reason}),
            "ConditionExpression": "attribute_exists(pk)",
        }
        self._if_so("update_item", Key=_key(table.hook_pk(hook_id), "META"), **update)

    def drop(self, hook_id: str) -> None:
        if hook := self.get(hook_id):
            self._delete(table.account_pk(hook.account), table.hook_sk(hook_id))
        self._delete(table.hook_pk(hook_id), "META")
        letters = islice(self._letters(hook_id, "DEAD#", "DEAD#~", _PAGE), _MOST_LETTERS)
        batch_delete(self._client, self._table, ((item["pk"], item["sk"]) for item in letters))

    def claim(
        self, session_id: str, hook_id: str, holder: str, now: datetime, until: datetime
    ) -> Cursor | None:
        names = {"#holder": "holder", "#until": "held_until", "#due": "due_at", "#seq": "seq"}
        names |= {"#attempts": "attempts", "#v": "v"}
        values = {":holder": holder, ":until": timestamp(until), ":now": timestamp(now), ":none": 0}
        answer = self._if_so(
            "update_item",
            Key=_key(table.session_pk(session_id), table.told_sk(hook_id)),
            UpdateExpression=(
                "SET #holder = :holder, #until = :until, #v = :v, "
                "#seq = if_not_exists(#seq, :none), #attempts = if_not_exists(#attempts, :none)"
            ),
            ConditionExpression=(
                "(attribute_not_exists(#until) OR #until <= :now) AND "
                "(attribute_not_exists(#due) OR #due <= :now)"
            ),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=table.attributes({**values, ":v": table.VERSION}),
            ReturnValues="ALL_NEW",
        )
        return _cursor(table.values(answer["Attributes"])) if answer else None

    def save(self, cursor: Cursor, holder: str) -> None:
        values = cursor.model_dump(mode="json", exclude={"session_id", "hook_id"})
        item = table.item(
            table.session_pk(cursor.session_id),
            table.told_sk(cursor.hook_id),
            **values,
            **(table.hook_due(cursor.due_at, cursor.hook_id) if cursor.due_at else {}),
        )
        saved = self._if_so(
            "put_item",
            Item=item,
            ConditionExpression="#holder = :holder",
            ExpressionAttributeNames={"#holder": "holder"},
            ExpressionAttributeValues=table.attributes({":holder": holder}),
        )
        if saved is None:
            raise Stale(f"Somebody else delivers {cursor.session_id} to {cursor.hook_id}.")

    def cursors(self, session_id: str) -> list[Cursor]:
        found = self._queries.range(table.session_pk(session_id), "TOLD#", "TOLD#~", _PAGE)
        return [_cursor(item) for item in found]

    def forget(self, session_id: str, hook_id: str) -> None:
        self._delete(table.session_pk(session_id), table.told_sk(hook_id))

    def due(self, now: datetime, limit: int) -> list[tuple[str, str]]:
        found = self._queries.index(table.DUE, table.HOOKS_DUE, table.due_until(now), limit)
        return [(session_id, position.partition("#")[2]) for position, session_id in islice(found, limit)]

    def bury(self, letter: Letter) -> None:
        pk, sk = table.hook_pk(letter.hook_id), table.letter_sk(letter.session_id, letter.seq)
        expires = int((letter.died_at + timedelta(days=LETTER_DAYS)).timestamp())
        self._put(table.item(pk, sk, body=codec.pack(codec.text(letter)), **{table.TTL: expires}))

    def letters(
        self, hook_id: str, after: tuple[str, int], limit: int, session_id: str | None = None
    ) -> Sequence[Letter]:
        first = table.letter_sk(after[0], after[1] + 1)
        low, high = ("DEAD#", "DEAD#~")
        if session_id is not None:
            low, high = table.letter_sk(session_id, 0), table.letter_sk(session_id, 10**12 - 1)
        low = max(low, first) if after[0] else low
        if low > high:
            return []
        now = self._clock().timestamp()
        found = (item for item in self._letters(hook_id, low, high, limit) if item[table.TTL] > now)
        return [Letter.model_validate_json(codec.unpack(item["body"])) for item in islice(found, limit)]

    def unbury(self, hook_id: str, session_id: str, seq: int) -> None:
        self._delete(table.hook_pk(hook_id), table.letter_sk(session_id, seq))

    def purge(self, session_id: str, subscriptions: Sequence[Subscription]) -> None:
        first, last = table.letter_sk(session_id, 0), table.letter_sk(session_id, 10**12 - 1)
        for subscription in subscriptions:
            self.forget(session_id, subscription.hook_id)
            letters = self._letters(subscription.hook_id, first, last, _PAGE)
            batch_delete(self._client, self._table, ((item["pk"], item["sk"]) for item in letters))
            hook = self.get(subscription.hook_id)
            if hook and hook.session_id == session_id:
                self._delete(table.hook_pk(hook.id), "META")

    def _listed(self, account: str) -> list[Item]:
        found = self._queries.range(table.account_pk(account), "HOOK#", "HOOK#~", _PAGE)
        return sorted(found, key=lambda item: (item["created"], item["sk"]))

    def _letters(self, hook_id: str, low: str, high: str, first_page: int) -> Iterator[Item]:
        return self._queries.range(table.hook_pk(hook_id), low, high, first_page)

    def _put(self, item: dict[str, Any]) -> None:
        self._client.put_item(TableName=self._table, Item=item)

    def _delete(self, pk: str, sk: str) -> None:
        self._client.delete_item(TableName=self._table, Key=_key(pk, sk))

    def _if_so(self, operation: str, **arguments: Any) -> Any:
        """What a conditional write answers; None when its condition does not hold."""
        try:
            return getattr(self._client, operation)(TableName=self._table, **arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return None


def _key(pk: str, sk: str) -> dict[str, Any]:
    return table.attributes({"pk": pk, "sk": sk})


def _cursor(item: Item) -> Cursor:
    told = {name: item.get(name) for name in ("due_at", "failing_since", "holder", "held_until")}
    return Cursor(
        session_id=table.session_id(item["pk"]),
        hook_id=table.hook_id(item["sk"]),
        seq=int(item["seq"]),
        attempts=int(item["attempts"]),
        **told,
    )
