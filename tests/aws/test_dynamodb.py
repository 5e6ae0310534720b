"""What is DynamoDB's alone: what a commit costs, and a service that is busy, silent or half done."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from opensessions.aws import table, transactions
from opensessions.aws.dynamodb import DynamoStore
from opensessions.errors import AlreadyClaimed, Stale, StoreError
from opensessions.events import Interrupt
from opensessions.models import Changes, Claim
from tests.aws.faults import CONFLICT, Fault, answer_lost, faulty, refused, unanswered
from tests.contract.engines import DynamoEngine
from tests.contract.samples import (
    START,
    append,
    create,
    end,
    event,
    new,
    say,
    seqs,
    with_head,
)

# ---- what a commit is ----


def test_an_append_is_one_transaction_over_two_items(engine: DynamoEngine, store: DynamoStore) -> None:
    session = create(store, due_at=START)
    engine.client.requests.clear()
    append(store, session, 3)
    [(name, request)] = engine.client.requests
    assert name == "transact_write_items"
    head, batch = request["TransactItems"]
    assert head["Update"]["Key"] == {"pk": {"S": f"SESSION#{session.id}"}, "sk": {"S": "HEAD"}}
    assert head["Update"]["ConditionExpression"] == "#rev = :was"
    assert batch["Put"]["Item"]["sk"] == {"S": "EV#000000000003"}
    assert batch["Put"]["ConditionExpression"] == "attribute_not_exists(pk)"
    names = {name for pair in table.INDEXES.values() for name in pair}
    assert not names & {*batch["Put"]["Item"], *head["Update"]["ExpressionAttributeNames"].values()}


def test_reads_of_one_session_are_one_request(engine: DynamoEngine, store: DynamoStore) -> None:
    session = append(store, say(store, create(store), "a", "b", "c"), 3)
    reads: list[Callable[[], object]] = [
        lambda: store.get(session.id),
        lambda: store.events(session.id, 0, 3),
        lambda: store.latest_events(session.id, 1),
        lambda: store.messages(session.id, 2),
    ]
    for read in reads:
        engine.client.requests.clear()
        read()
        [(name, request)] = engine.client.requests
        assert name == "query" and request["ConsistentRead"]


def test_a_head_is_small(engine: DynamoEngine, store: DynamoStore) -> None:
    session = with_head(create(store), agent_seq=10**11, heard_at=START, asked_seq=10**11)
    store.commit(session, session)
    [head] = engine.dump()["head"]
    assert len(head) < 1000


def test_every_item_has_a_version_and_what_expires_a_time(engine: DynamoEngine, store: DynamoStore) -> None:
    session = new(due_at=START)
    claim = Claim("acme", "key", "print", session.id)
    store.commit(None, with_head(session, last_seq=1), Changes(events=(event(1),), claim=claim))
    store.count("creates", 60, START)
    items = engine.client.scan(TableName=engine.table)["Items"]
    assert len(items) == 7 and all(item["v"] == {"N": "1"} for item in items)
    expiring = {item["pk"]["S"].partition("#")[0]: int(item["ttl"]["N"]) for item in items if "ttl" in item}
    start = int(START.timestamp())
    assert expiring == {"IDEMP": start + 24 * 3600, "COUNT": start + 120}
    described = engine.client.describe_time_to_live(TableName=engine.table)["TimeToLiveDescription"]
    assert described == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}


def test_indexes_hold_keys_of_sessions_alone(engine: DynamoEngine, store: DynamoStore) -> None:
    append(store, say(store, create(store, due_at=START), "hello"))
    create(store)
    for index, size in [("by_account", 2), ("by_user", 2), ("due", 1)]:
        items = engine.client.scan(TableName=engine.table, IndexName=index)["Items"]
        assert [sorted(item) for item in items] == [sorted([*table.INDEXES[index], "pk", "sk"])] * size


# ---- busy or silent ----


@pytest.mark.parametrize(
    "fault",
    [
        CONFLICT,
        refused("TransactionCanceledException", "None", "ThrottlingError"),
        refused("ProvisionedThroughputExceededException"),
        refused("ThrottlingException"),
        refused("TransactionInProgressException"),
        refused("InternalServerError"),
        unanswered,
    ],
    ids=["conflict", "item throttled", "over capacity", "throttled", "in progress", "server error", "silent"],
)
def test_what_passes_is_tried_again(engine: DynamoEngine, store: DynamoStore, fault: Fault) -> None:
    session = create(store)
    busy = faulty(engine, fault, fault)
    session = append(busy, session, 2)
    assert store.get(session.id) == session
    assert seqs(store.events(session.id, 0, 9)) == [1, 2]
    assert len(set(engine.client.tokens)) == 1 and len(engine.client.tokens) == 3


@pytest.mark.parametrize("fault", [CONFLICT, unanswered], ids=["conflict", "silent"])
def test_what_does_not_pass_is_raised(
    engine: DynamoEngine, store: DynamoStore, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "PATIENCE", 0.1)
    session = create(store)
    with pytest.raises((ClientError, ReadTimeoutError)):
        append(faulty(engine, *[fault] * 1000), session)
    assert store.get(session.id) == session


def test_what_cannot_pass_is_raised_at_once(engine: DynamoEngine, store: DynamoStore) -> None:
    session = create(store)
    with pytest.raises(ClientError, match="AccessDenied"):
        append(faulty(engine, refused("AccessDeniedException")), session)
    assert len(engine.client.tokens) == 1


def test_a_lost_answer_is_no_lost_write(engine: DynamoEngine, store: DynamoStore) -> None:
    """moto forgets tokens, so here it is the head that tells."""
    session = create(store)
    session = append(faulty(engine, answer_lost), session, 2)
    assert store.get(session.id) == session
    assert seqs(store.events(session.id, 0, 9)) == [1, 2]
    session = say(faulty(engine, answer_lost, CONFLICT), session, "once")
    session = end(faulty(engine, answer_lost), session)
    assert store.get(session.id) == session
    assert len(store.messages(session.id, 9)) == 1


def test_a_creation_whose_answer_is_lost_counts_and_claims_once(
    engine: DynamoEngine, store: DynamoStore
) -> None:
    session = with_head(new(), inbox_seq=1)
    claim = Claim("acme", "key", "print", session.id)
    changes = Changes(claim=claim, inbox=((1, Interrupt()),))
    saved = faulty(engine, answer_lost).commit(None, session, changes, max_live=1)
    assert store.get(session.id) == saved
    assert store.claimed("acme", "key") == claim
    end(store, saved)
    create(store, max_live=1)


def test_anothers_write_is_still_stale_after_a_silence(engine: DynamoEngine, store: DynamoStore) -> None:
    before = create(store)

    def overtaken(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        append(store, before, 1, by="another")
        raise ReadTimeoutError(endpoint_url="http://127.0.0.1")

    with pytest.raises(Stale):
        append(faulty(engine, overtaken), before, 2)
    assert seqs(store.events(before.id, 0, 9)) == [1]


def test_the_first_refusal_counts(engine: DynamoEngine, store: DynamoStore) -> None:
    """A request that was answered before is answered so again, whatever the quota says."""
    session = new()
    changes = Changes(claim=Claim("acme", "key", "print", session.id))
    store.commit(None, session, changes, max_live=1)
    with pytest.raises(Stale):
        store.commit(None, session, changes, max_live=1)
    with pytest.raises(AlreadyClaimed):
        store.commit(None, new(), changes, max_live=1)


def test_keys_that_are_left_out_are_asked_for_again(engine: DynamoEngine, store: DynamoStore) -> None:
    made = [create(store) for _ in range(60)]

    def half(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        [(name, wanted)] = arguments["RequestItems"].items()
        keys = wanted["Keys"]
        answer = method(RequestItems={name: {**wanted, "Keys": keys[::2]}})
        return {**answer, "UnprocessedKeys": {name: {**wanted, "Keys": keys[1::2]}}}

    requests = engine.client.requests
    page = faulty(engine, half, half, operation="batch_get_item").page("acme", None, 60, None)
    assert page.sessions == made[::-1]
    assert [name for name, _ in requests if name != "transact_write_items"] == [
        "query",
        *["batch_get_item"] * 3,
    ]


# ---- half done ----


def test_halves_that_do_not_belong_together_are_read_again(engine: DynamoEngine, store: DynamoStore) -> None:
    """A commit came between the reading of META and of HEAD."""
    session = create(store)

    def torn(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        old = method(**arguments)
        store.commit(session, session.model_copy(update={"title": "New"}))
        new_one = method(**arguments)
        halves = [new_one["Items"][0], old["Items"][1]]
        assert [half["sk"]["S"] for half in halves] == ["HEAD", "META"]
        return {**new_one, "Items": halves}

    found = faulty(engine, torn, operation="query").get(session.id)
    assert found and found.title == "New" and found.head.rev == 2


def test_items_of_a_newer_version_are_not_guessed_at(engine: DynamoEngine, store: DynamoStore) -> None:
    session = create(store)
    for sk in ("HEAD", "META"):
        engine.client.update_item(
            TableName=engine.table,
            Key={"pk": {"S": f"SESSION#{session.id}"}, "sk": {"S": sk}},
            UpdateExpression="SET v = :v",
            ExpressionAttributeValues={":v": {"N": "2"}},
        )
    with pytest.raises(StoreError, match="newer opensessions"):
        store.get(session.id)


def test_the_definition_is_what_the_table_is(engine: DynamoEngine) -> None:
    described = engine.client.describe_table(TableName=engine.table)["Table"]
    defined = table.table_definition()
    assert json.loads(json.dumps(defined)) == defined
    assert described["KeySchema"] == defined["KeySchema"]
    assert described["BillingModeSummary"]["BillingMode"] == defined["BillingMode"]
    assert {index["IndexName"] for index in described["GlobalSecondaryIndexes"]} == {*table.INDEXES}
