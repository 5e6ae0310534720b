"""The ledger on a DynamoDB that is busy, or whose answers get lost; and what it asks of it."""

from collections import Counter

import pytest

from opensessions.aws.ledger import DynamoLedger
from opensessions.errors import OverBudget
from opensessions.money.ledger import Bound
from tests.aws.faults import CONFLICT, Fault, answer_lost, faulty, unanswered
from tests.contract.calls import ALL, DAY, LATER, SESSION, USED, WORST, call
from tests.contract.engines import Client, DynamoEngine

TIMES: list[list[Fault]] = [[CONFLICT, CONFLICT], [answer_lost], [unanswered, answer_lost, CONFLICT]]


@pytest.fixture(params=TIMES, ids=["conflicts", "a lost answer", "both"])
def ledger(request: pytest.FixtureRequest, engine: DynamoEngine) -> DynamoLedger:
    """The first write goes wrong."""
    faulty(engine, *request.param)
    return engine.ledger()


def test_a_call_is_reserved(ledger: DynamoLedger) -> None:
    bounds = {SESSION: Bound(tokens=WORST.tokens)}
    ledger.reserve(made := call(bounds))
    assert ledger.open_calls("s1", LATER) == [made]
    with pytest.raises(OverBudget):
        ledger.reserve(call(bounds))


def test_a_call_is_refused(ledger: DynamoLedger) -> None:
    with pytest.raises(OverBudget):
        ledger.reserve(call({SESSION: Bound(tokens=1)}))


@pytest.mark.parametrize("fault", TIMES, ids=["conflicts", "a lost answer", "both"])
def test_whoever_settles_learns_it_although_the_answer_was_lost(
    engine: DynamoEngine, fault: list[Fault]
) -> None:
    engine.ledger().reserve(made := call())
    faulty(engine, *fault)
    ledger = engine.ledger()
    assert ledger.settle("s1", made.id, USED) == [(meter, USED) for meter in ALL]
    assert ledger.settle("s1", made.id, USED) is None


def test_an_entry_is_recorded(ledger: DynamoLedger) -> None:
    assert ledger.record("s1", "launch-1", ALL, USED) is True
    assert ledger.record("s1", "launch-1", ALL, USED) is False
    assert ledger.read(SESSION) == USED


def test_a_call_costs_two_transactions_and_no_index_or_scan(engine: DynamoEngine) -> None:
    ledger = engine.ledger()
    assert isinstance(engine.client, Client)
    engine.client.requests.clear()
    ledger.reserve(made := call())
    assert [name for name, _ in engine.client.requests] == ["transact_write_items"]
    ledger.settle("s1", made.id, USED)
    ledger.turns("s1")
    ledger.days("acme", DAY, DAY)
    ledger.totals("acme", DAY, DAY)
    names = Counter(name for name, _ in engine.client.requests)
    assert names == {"transact_write_items": 2, "get_item": 1, "batch_get_item": 1, "query": 3}
    assert not any("IndexName" in arguments for _, arguments in engine.client.requests)
