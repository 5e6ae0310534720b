"""A purge on DynamoDB: many requests, of which any may be the last that is made."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from opensessions.aws.dynamodb import DynamoStore
from opensessions.errors import RateLimited, StoreError
from tests.aws.faults import CONFLICT, Fault, answer_lost, faulty
from tests.contract.engines import DynamoEngine
from tests.contract.samples import append, create, say
from tests.contract.test_purge import LARGE, full


class Killed(Exception):
    pass


class Dying:
    """A client of somebody who dies instead of making the request after so many that write."""

    def __init__(self, client: Any, writes: int) -> None:
        self._client, self._left = client, writes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(**arguments: Any) -> Any:
            if "write" in name:
                self._left -= 1
                if self._left < 0:
                    raise Killed
            return method(**arguments)

        return call


def test_one_that_is_cut_short_can_be_done_again(engine: DynamoEngine, store: DynamoStore) -> None:
    create(store)
    stored, writes = engine.dump(), 0
    session = full(store)
    while True:
        dying = DynamoStore(engine.table, Dying(engine.client, writes))  # type: ignore[arg-type]
        try:
            dying.purge(session.id)
            break
        except Killed:
            assert store.get(session.id) == store.find(session.sandbox_id) == session
            writes += 1
    assert writes >= 1 and engine.dump() == stored


def test_a_lost_answer_gives_one_place_back(engine: DynamoEngine, store: DynamoStore) -> None:
    session, _ = create(store), create(store)
    faulty(engine, CONFLICT, answer_lost).purge(session.id)
    assert store.get(session.id) is None
    create(store, max_live=2)
    with pytest.raises(RateLimited):
        create(store, max_live=2)


def _overtaken(store: DynamoStore, session_id: str) -> Fault:
    def fault(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        now = store.get(session_id)
        assert now
        say(store, append(store, now, 1, text=LARGE), "still here")
        return method(**arguments)

    return fault


def test_what_is_written_between_two_requests_goes_too(engine: DynamoEngine, store: DynamoStore) -> None:
    create(store)
    stored = engine.dump()
    session = append(store, create(store), 3)
    fault = _overtaken(engine.open(), session.id)
    faulty(engine, fault, fault, fault).purge(session.id)
    assert engine.dump() == stored


def test_whoever_never_stops_writing_has_to_be_stopped(engine: DynamoEngine, store: DynamoStore) -> None:
    session = create(store)
    fault = _overtaken(engine.open(), session.id)
    with pytest.raises(StoreError, match="end its sandbox"):
        faulty(engine, *[fault] * 100).purge(session.id)
    assert store.get(session.id)


def test_keys_that_are_left_undone_are_asked_for_again(engine: DynamoEngine, store: DynamoStore) -> None:
    create(store)
    stored = engine.dump()
    session = full(store)
    sizes = []

    def half(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        [(name, wanted)] = arguments["RequestItems"].items()
        sizes.append(len(wanted))
        return {**method(RequestItems={name: wanted[::2]}), "UnprocessedItems": {name: wanted[1::2]}}

    faulty(engine, half, half, operation="batch_write_item").purge(session.id)
    assert sizes == [25, 25] and engine.dump() == stored


def test_silence_ends_it(engine: DynamoEngine, store: DynamoStore) -> None:
    session = full(store)

    def silent(method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        raise ReadTimeoutError(endpoint_url="http://127.0.0.1")

    with pytest.raises(ReadTimeoutError):
        faulty(engine, silent, operation="batch_write_item").purge(session.id)
    assert store.get(session.id) == session
