"""Large batches on DynamoDB: their bodies lie apart from the transaction that names them."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from opensessions.aws import apart
from opensessions.aws.dynamodb import DynamoStore
from opensessions.errors import Stale, TooLarge
from opensessions.models import Changes, Message
from tests.aws.faults import faulty, refused
from tests.contract.engines import DynamoEngine
from tests.contract.samples import (
    START,
    append,
    create,
    events,
    seqs,
    with_head,
)
from tests.contract.test_commits import incompressible

LARGE = incompressible(9000)


def _named(engine: DynamoEngine) -> list[dict[str, Any]]:
    """The items of batches, without the bodies that lie apart."""
    items = engine.client.scan(TableName=engine.table)["Items"]
    return [item for item in items if item["sk"]["S"].startswith("EV#") and "first" in item]


def test_a_large_body_is_put_before_the_transaction_that_names_it(
    engine: DynamoEngine, store: DynamoStore
) -> None:
    session = create(store)
    engine.client.requests.clear()
    append(store, session, 3, text=LARGE)
    (first, put), (second, transaction) = engine.client.requests
    assert (first, second) == ("put_item", "transact_write_items")
    assert len(put["Item"]["body"]["B"]) >= apart.FROM
    head, batch = transaction["TransactItems"]
    assert head["Update"]["Key"]["sk"] == {"S": "HEAD"} and "body" not in batch["Put"]["Item"]
    engine.client.requests.clear()
    assert seqs(store.events(session.id, 0, 10)) == seqs(store.latest_events(session.id, 10)) == [1, 2, 3]
    assert [name for name, _ in engine.client.requests] == ["query", "query"]


def test_a_refused_commit_takes_its_body_back(engine: DynamoEngine, store: DynamoStore) -> None:
    session = create(store)
    append(store, session, 1)
    before = engine.dump()
    with pytest.raises(Stale):
        append(store, session, 2, text=LARGE)
    assert engine.dump() == before


def test_a_body_without_a_commit_is_passed_over(engine: DynamoEngine, store: DynamoStore) -> None:
    """Its writer died between the two, and another wrote the same numbers."""
    session = append(store, create(store), 1)
    orphan = faulty(engine, refused("ValidationException"))
    with pytest.raises(ClientError):
        append(orphan, session, 2, text=LARGE)
    engine.client = engine.client._client
    store = engine.open()
    assert seqs(store.events(session.id, 0, 10)) == [1]
    append(store, session, 2, text=incompressible(12_000))
    for read in (store.events(session.id, 0, 10), store.latest_events(session.id, 10)):
        assert seqs(read) == [1, 2, 3]
        assert {len(str(event.payload)) > 12_000 for event in read[1:]} == {True}


def test_a_commit_whose_answer_was_lost_keeps_its_body(engine: DynamoEngine, store: DynamoStore) -> None:
    """Another writer came before the second try, which is refused and cannot tell that it was written."""
    session = create(store)

    def lost_and_overtaken(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        method(**arguments)
        now = store.get(session.id)
        assert now
        append(store, now, 1)
        raise ReadTimeoutError(endpoint_url="http://127.0.0.1")

    with pytest.raises(Stale):
        append(faulty(engine, lost_and_overtaken), session, 2, text=LARGE)
    assert seqs(store.events(session.id, 0, 10)) == [1, 2, 3]


def test_a_batch_too_large_for_an_item_takes_several(engine: DynamoEngine, store: DynamoStore) -> None:
    text = incompressible(200_000)
    session = append(store, create(store), 6, text=text)
    assert len(_named(engine)) == 4
    assert store.events(session.id, 0, 99) == list(events(with_head(session, last_seq=0), 6, text=text))
    assert seqs(store.latest_events(session.id, 4)) == [3, 4, 5, 6]
    assert seqs(store.events(session.id, 3, 2)) == [4, 5]


def test_what_no_transaction_takes_is_refused(engine: DynamoEngine, store: DynamoStore) -> None:
    session = create(store)
    stored = engine.dump()
    with pytest.raises(TooLarge, match="bytes are to be written at once"):
        append(store, session, 25, text=incompressible(250_000))
    said = tuple(Message(id=f"msg_{n}", role="user", content="", created_at=START) for n in range(101))
    with pytest.raises(TooLarge, match="102 items"):
        store.commit(session, session, Changes(messages=said))
    assert engine.dump() == stored
