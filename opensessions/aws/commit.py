"""One commit of the session store as the writes of one DynamoDB transaction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from opensessions import codec, commits
from opensessions.aws import apart, table
from opensessions.aws.pool import taking
from opensessions.aws.transactions import Write
from opensessions.errors import AlreadyClaimed, OpenSessionsError, RateLimited, Stale, StoreError
from opensessions.models import Changes, Claim, Event, Session

CLAIM_SECONDS = 24 * 3600
_NEW = "attribute_not_exists(pk)"


@dataclass(frozen=True)
class Commit:
    """`token` is unique for every commit; it stays in the head until the next one."""

    table_name: str
    token: str
    before: Session | None
    saved: Session
    changes: Changes
    max_live: int | None
    now: datetime

    def writes(self) -> list[Write]:
        """In the order in which refusals count. Raises TooLarge."""
        meta_changed = (
            self.before is None or self.before.model_copy(update={"head": self.saved.head}) != self.saved
        )
        writes = [self._head(meta_changed)]
        if self.changes.claim:
            writes.append(self._claim(self.changes.claim))
        if step := self.saved.live - (self.before is not None and self.before.live):
            writes.append(self._live(step))
        if self.changes.spare:
            writes.append(taking(self.table_name, self.changes.spare))
        if self.before is None:
            writes.append(self._sandbox())
        if meta_changed:
            writes.append(self._meta())
        return [*writes, *self._additions()]

    def _head(self, meta_changed: bool) -> Write:
        """`meta` is the `rev` with which META was written last: so a reader knows whether the two that it
        read belong together.
        """
        head = self.saved.head
        values = {
            "head": head.model_dump(mode="json", exclude_none=True),
            "rev": head.rev,
            "commit": self.token,
            "v": table.VERSION,
        }
        if meta_changed:
            values["meta"] = head.rev
        condition, was = (_NEW, {}) if self.before is None else ("#rev = :was", {"was": self.before.head.rev})
        update = {
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
            "ExpressionAttributeNames": {f"#{name}": name for name in values},
        }
        refusal = Stale(f"{self.saved.id} was changed by another writer, or exists already.")
        return self._update(self._session_pk, "HEAD", update, condition, {**values, **was}, refusal)

    def _claim(self, claim: Claim) -> Write:
        """A claim whose time is over counts as gone, because DynamoDB deletes late."""
        now = int(self.now.timestamp())
        item = table.item(
            table.claim_pk(claim.account, claim.key),
            "META",
            fingerprint=claim.fingerprint,
            session_id=claim.session_id,
            ttl=now + CLAIM_SECONDS,
        )
        refusal = AlreadyClaimed(f"The idempotency key of {claim.session_id} is in use.")
        put = {
            **self._put(item, refusal).action["Put"],
            "ConditionExpression": f"{_NEW} OR #ttl <= :now",
            "ExpressionAttributeNames": {"#ttl": table.TTL},
            "ExpressionAttributeValues": table.attributes({":now": now}),
        }
        return Write({"Put": put}, refusal)

    def _live(self, step: int) -> Write:
        pk = table.account_pk(self.saved.account)
        update = {"UpdateExpression": "ADD n :step SET v = :v"}
        values = {"step": step, "v": table.VERSION}
        if step < 0 or self.max_live is None:
            return self._update(pk, "LIVE", update, None, values, _broken(pk, "LIVE"))
        refusal: RateLimited = commits.over_quota(self.max_live)
        if self.max_live < 1:
            raise refusal
        condition = "attribute_not_exists(n) OR n < :most"
        return self._update(pk, "LIVE", update, condition, {**values, "most": self.max_live}, refusal)

    def _sandbox(self) -> Write:
        item = table.item(table.sandbox_pk(self.saved.sandbox_id), "META", session_id=self.saved.id)
        return self._put(item, Stale(f"{self.saved.sandbox_id} is another session's sandbox."), new=True)

    def _meta(self) -> Write:
        body = _packed(codec.meta_text(self.saved), "the session")
        item = table.item(
            self._session_pk, "META", rev=self.saved.head.rev, body=body, **table.index_keys(self.saved)
        )
        return self._put(item, _broken(self._session_pk, "META"), size=len(body))

    def _additions(self) -> Iterator[Write]:
        for events, body in self._batches:
            sk, span = table.event_sk(events[-1].seq), {"first": events[0].seq, "last": events[-1].seq}
            if len(body) < apart.FROM:
                yield self._added(self._session_pk, sk, body, **span)
            else:
                item = table.item(self._session_pk, sk, apart=self.token, **span)
                yield self._put(item, _broken(self._session_pk, sk), new=True, size=len(body))
        for place, message in enumerate(self.changes.messages):
            sk = table.message_sk(self.saved.head.rev, place)
            yield self._added(self._session_pk, sk, _packed(codec.text(message), "the message"))
        for number, sent in self.changes.inbox:
            body = _packed(codec.text(sent), f"inbox item {number}")
            pk = table.sandbox_pk(self.saved.sandbox_id)
            yield self._added(pk, table.inbox_sk(number), body, number=number)
        for version in self.changes.versions:
            sk, what = table.version_sk(version.number), f"version {version.number}"
            yield self._added(self._session_pk, sk, _packed(codec.text(version), what))
        if self.changes.config:
            body = _packed(codec.text(self.changes.config), "the configuration")
            yield self._added(self._session_pk, "CONFIG", body)

    def bodies(self) -> list[dict[str, Any]]:
        """The items that are to be put before the writes."""
        return [
            table.item(self._session_pk, apart.body_sk(table.event_sk(events[-1].seq), self.token), body=body)
            for events, body in self._batches
            if len(body) >= apart.FROM
        ]

    @cached_property
    def _batches(self) -> list[tuple[Sequence[Event], bytes]]:
        return list(_batches(self.changes.events))

    @property
    def _session_pk(self) -> str:
        return table.session_pk(self.saved.id)

    def _added(self, pk: str, sk: str, body: bytes, **values: int) -> Write:
        item = table.item(pk, sk, body=body, **values)
        return self._put(item, _broken(pk, sk), new=True, size=len(body))

    def _put(
        self, item: dict[str, Any], refusal: OpenSessionsError, new: bool = False, size: int = 0
    ) -> Write:
        condition = {"ConditionExpression": _NEW} if new else {}
        return Write({"Put": {"TableName": self.table_name, "Item": item, **condition}}, refusal, size)

    def _update(
        self,
        pk: str,
        sk: str,
        update: Mapping[str, Any],
        condition: str | None,
        values: Mapping[str, Any],
        refusal: OpenSessionsError,
    ) -> Write:
        action = {
            "TableName": self.table_name,
            "Key": table.attributes({"pk": pk, "sk": sk}),
            **update,
            **({"ConditionExpression": condition} if condition else {}),
            "ExpressionAttributeValues": table.attributes({f":{name}": v for name, v in values.items()}),
        }
        return Write({"Update": action}, refusal)


def _batches(events: Sequence[Event]) -> Iterator[tuple[Sequence[Event], bytes]]:
    """One item for all, or as many as it takes: halves of halves."""
    if not events:
        return
    body = codec.pack(codec.dumps([codec.event_fields(event) for event in events]))
    if len(body) <= codec.LARGEST:
        yield events, body
    elif len(events) == 1:
        codec.refuse_over(len(body), f"event {events[0].seq}")
    else:
        middle = len(events) // 2
        yield from _batches(events[:middle])
        yield from _batches(events[middle:])


def _packed(plain: str, what: str) -> bytes:
    body = codec.pack(plain)
    codec.refuse_over(len(body), what)
    return body


def _broken(pk: str, sk: str) -> StoreError:
    return StoreError(f"{pk} {sk} is in the table already, although the session's head says that it is not.")
