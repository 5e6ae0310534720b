"""The session store of the cloud: one DynamoDB table (see `table` for its items)."""

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from opensessions import codec, commits
from opensessions.aws import apart, table
from opensessions.aws.batches import batch_get
from opensessions.aws.commit import Commit
from opensessions.aws.purge import Purge
from opensessions.aws.queries import Queries
from opensessions.aws.transactions import check_bounds, transact
from opensessions.errors import NotFound, OpenSessionsError, Stale, StoreError
from opensessions.events import InboxItem, inbox_item
from opensessions.models import (
    NOTHING,
    AgentConfig,
    Changes,
    Claim,
    Event,
    Message,
    Page,
    Session,
    Template,
    Version,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_FIRST_PAGE = 8
"""Items asked for at first when their number is unknown."""

_TORN_READS = 10

_PURGES = 10
"""Times that a session is deleted which somebody goes on writing to."""

_REMEMBERED = 10_000
"""Sandboxes whose session is remembered; a few hundred bytes each."""


class DynamoStore:
    """A `ports.SessionStore` on a table of `table.table_definition`. Nothing is kept in the process but which
    session a sandbox is of, which never changes and is asked for with every word that a sandbox says.

    Listings and `due` come from indexes and may be a moment late; the sessions that they return are read
    consistently. What DynamoDB answers beyond the contract (no access, no table) is raised as it is.
    `stored` is told of each session to whose log events were added, and of the events.
    """

    def __init__(
        self,
        table_name: str,
        client: "DynamoDBClient",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        stored: Callable[[Session, Sequence[Event]], None] | None = None,
    ) -> None:
        self._table = table_name
        self._client = client
        self._clock = clock
        self._stored = stored
        self._queries = Queries(client, table_name)
        self._session_of: dict[str, str] = {}

    # ---- writing ----

    def commit(
        self,
        before: Session | None,
        after: Session,
        changes: Changes = NOTHING,
        *,
        max_live: int | None = None,
    ) -> Session:
        saved = commits.checked(before, after, changes)
        token = str(uuid.uuid4())
        commit = Commit(self._table, token, before, saved, changes, max_live, self._clock())
        writes, bodies = commit.writes(), commit.bodies()
        check_bounds(writes)
        for body in bodies:
            self._client.put_item(TableName=self._table, Item=body)
        try:
            transact(self._client, writes, token, lambda: self._last_commit(saved.id) == token)
        except OpenSessionsError:
            self._withdraw(bodies)
            raise
        if self._stored and changes.events:
            self._stored(saved, changes.events)
        return saved

    def _withdraw(self, bodies: Sequence[dict[str, Any]]) -> None:
        """Delete bodies of a commit that was refused, unless it was written nevertheless, by a try whose
        answer was lost.
        """
        for body in bodies:
            pk, sk = body["pk"]["S"], body["sk"]["S"]
            batch_sk, _, token = sk.rpartition("#")
            named = self._queries.item(pk, batch_sk)
            if named is None or named.get("apart") != token:
                self._client.delete_item(TableName=self._table, Key=table.attributes({"pk": pk, "sk": sk}))

    def _last_commit(self, session_id: str) -> str | None:
        head = self._queries.item(table.session_pk(session_id), "HEAD")
        return str(head["commit"]) if head else None

    def purge(self, session_id: str) -> None:
        purge = Purge(self._client, self._table, session_id)
        for _ in range(_PURGES):
            session = self.get(session_id)
            purge.rest(session)
            if session is None:
                return
            with suppress(Stale):
                purge.last(session, str(uuid.uuid4()))
                self._session_of.pop(session.sandbox_id, None)
                return
        raise StoreError(f"{session_id} is written to all the time: end its sandbox, and delete it again.")

    def put_template(self, template: Template) -> None:
        body = codec.pack(codec.text(template))
        codec.refuse_over(len(body), "the template")
        pk, sk = table.account_pk(template.account), table.template_sk(template.id)
        self._client.put_item(TableName=self._table, Item=table.item(pk, sk, body=body))

    def drop_template(self, account: str, template_id: str) -> None:
        key = {"pk": table.account_pk(account), "sk": table.template_sk(template_id)}
        self._client.delete_item(TableName=self._table, Key=table.attributes(key))

    def count(self, key: str, window_seconds: int, now: datetime) -> int:
        window = int(now.timestamp() // window_seconds)
        expires = (window + 2) * window_seconds
        answer = self._client.update_item(
            TableName=self._table,
            Key=table.attributes({"pk": f"COUNT#{key}", "sk": f"{window_seconds}#{window}"}),
            UpdateExpression="ADD n :one SET v = :v, #ttl = :ttl",
            ExpressionAttributeNames={"#ttl": table.TTL},
            ExpressionAttributeValues=table.attributes({":one": 1, ":v": table.VERSION, ":ttl": expires}),
            ReturnValues="UPDATED_NEW",
        )
        return int(table.values(answer["Attributes"])["n"])

    # ---- reading ----

    def get(self, session_id: str) -> Session | None:
        for _ in range(_TORN_READS):
            items = list(islice(self._queries.range(table.session_pk(session_id), "HEAD", "META", 2), 2))
            if not items:
                return None
            if session := _joined(items):
                return session
        raise StoreError(f"{session_id}: META and HEAD do not belong together.")

    def find(self, sandbox_id: str) -> Session | None:
        session_id = self._session_of.get(sandbox_id)
        if session_id is None:
            found = self._queries.item(table.sandbox_pk(sandbox_id), "META")
            if not found:
                return None
            if len(self._session_of) >= _REMEMBERED:
                self._session_of.clear()
            session_id = self._session_of[sandbox_id] = found["session_id"]
        session = self.get(session_id)
        if session is None:
            self._session_of.pop(sandbox_id, None)
        return session

    def config(self, session_id: str) -> AgentConfig:
        found = self._queries.item(table.session_pk(session_id), "CONFIG")
        if not found:
            raise NotFound("Session not found")
        return AgentConfig.model_validate_json(codec.unpack(found["body"]))

    def events(self, session_id: str, after: int, limit: int) -> list[Event]:
        pk = table.session_pk(session_id)
        batches = self._queries.range(pk, table.event_sk(after + 1), "EV#~", min(limit, _FIRST_PAGE))
        stored = (event for batch in apart.whole(batches) for event in _events(batch) if event.seq > after)
        return list(islice(stored, limit))

    def latest_events(self, session_id: str, limit: int) -> list[Event]:
        pk = table.session_pk(session_id)
        batches = self._queries.range(pk, "EV#", "EV#~", min(limit, _FIRST_PAGE), newest_first=True)
        stored = (event for batch in apart.whole(batches) for event in reversed(_events(batch)))
        return list(islice(stored, limit))[::-1]

    def messages(self, session_id: str, limit: int) -> list[Message]:
        items = self._queries.range(table.session_pk(session_id), "MSG#", "MSG#~", limit, newest_first=True)
        newest = [Message.model_validate_json(codec.unpack(item["body"])) for item in islice(items, limit)]
        return newest[::-1]

    def inbox(self, sandbox_id: str, after: int, limit: int) -> list[tuple[int, InboxItem]]:
        items = self._queries.range(table.sandbox_pk(sandbox_id), table.inbox_sk(after + 1), "IN#~", limit)
        return [
            (int(item["number"]), inbox_item.validate_json(codec.unpack(item["body"])))
            for item in islice(items, limit)
        ]

    def versions(self, session_id: str, after: int, limit: int) -> list[Version]:
        pk, low = table.session_pk(session_id), table.version_sk(after + 1)
        return [_version(item) for item in islice(self._queries.range(pk, low, "VER#~", limit), limit)]

    def version(self, session_id: str, number: int) -> Version | None:
        found = self._queries.item(table.session_pk(session_id), table.version_sk(number))
        return _version(found) if found else None

    def page(self, account: str, user_id: str | None, limit: int, cursor: str | None) -> Page:
        index, partition = table.BY_ACCOUNT, table.account_pk(account)
        if user_id is not None:
            index, partition = table.BY_USER, table.user_partition(account, user_id)
        start = None
        if cursor is not None:
            created, id = codec.cursor_position(account, user_id, cursor)
            start = table.index_start(index, partition, f"{created}#{id}", id)
        found = self._queries.index(index, partition, "~", limit + 1, newest_first=True, start=start)
        keys = list(islice(found, limit + 1))
        page = self._sessions([id for _, id in keys[:limit]])
        if len(keys) <= limit:
            return Page(page)
        return Page(page, codec.cursor(account, user_id, keys[limit - 1][0]))

    def claimed(self, account: str, key: str) -> Claim | None:
        found = self._queries.item(table.claim_pk(account, key), "META")
        if not found or found["ttl"] <= self._clock().timestamp():
            return None
        return Claim(account, key, found["fingerprint"], found["session_id"])

    def due(self, now: datetime, limit: int) -> list[str]:
        found: list[tuple[str, str]] = []
        for shard in table.DUE_SHARDS:
            found += islice(self._queries.index(table.DUE, shard, table.due_until(now), limit), limit)
        return [id for _, id in sorted(found)[:limit]]

    def template(self, account: str, template_id: str) -> Template | None:
        found = self._queries.item(table.account_pk(account), table.template_sk(template_id))
        return _template(found) if found else None

    def templates(self, account: str) -> list[Template]:
        stored = self._queries.range(table.account_pk(account), "TPL#", "TPL#~", _FIRST_PAGE)
        return sorted(map(_template, stored), key=lambda template: (template.created_at, template.id))

    # ---- parts ----

    def _sessions(self, ids: list[str]) -> list[Session]:
        """Sessions in the order of their ids, without those that are gone."""
        pks = [table.session_pk(id) for id in ids]
        parts: dict[str, list[dict[str, Any]]] = {}
        for item in batch_get(self._client, self._table, [(pk, sk) for pk in pks for sk in ("HEAD", "META")]):
            parts.setdefault(item["pk"], []).append(item)
        sessions = [_joined(parts.get(pk, [])) or self.get(id) for pk, id in zip(pks, ids, strict=True)]
        return [session for session in sessions if session]


def _joined(items: Iterable[dict[str, Any]]) -> Session | None:
    """The session of a HEAD and a META, if they belong together: the two are read one after the other, and
    a commit may come between.
    """
    parts = {item["sk"]: item for item in items}
    if parts.keys() != {"HEAD", "META"} or parts["HEAD"]["meta"] != parts["META"]["rev"]:
        return None
    return codec.session(codec.unpack(parts["META"]["body"]), parts["HEAD"]["head"])


def _version(item: dict[str, Any]) -> Version:
    return Version.model_validate_json(codec.unpack(item["body"]))


def _template(item: dict[str, Any]) -> Template:
    return Template.model_validate_json(codec.unpack(item["body"]))


def _events(batch: dict[str, Any]) -> list[Event]:
    return [codec.event(fields) for fields in json.loads(codec.unpack(batch["body"]))]
