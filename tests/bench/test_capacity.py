"""The rules by which request units are counted, against AWS's own examples; and that the table is current."""

from typing import Any

import pytest
from moto import mock_aws

from bench import request_units
from bench.capacity import Meter, Units, size
from infra import costs
from opensessions.aws.table import create_table
from tests.contract import engines

KEY = {"pk": {"S": "SESSION#a"}, "sk": {"S": "META"}}


@pytest.fixture
def meter() -> Any:
    with mock_aws():
        client = engines.client()
        create_table(client, "t")
        yield Meter(client)


def test_an_items_size_is_that_of_its_names_and_values() -> None:
    item = {
        "pk": {"S": "ä"},  # 2 + 2
        "n": {"N": "-120500"},  # 1 + 1205 is two bytes, and one more
        "b": {"B": b"12345"},  # 1 + 5
        "t": {"BOOL": True},  # 1 + 1
        "m": {"M": {"x": {"S": "yz"}}},  # 1 + 3 for the map + 1 for its element + 3
    }
    assert size(item) == 4 + 4 + 6 + 2 + 8


def _written(meter: Meter, before: int, after: int, index: str = "") -> float:
    def put(length: int) -> None:
        item = {**KEY, "b": {"B": b"x" * length}}
        if index:
            item |= {"ap": {"S": index}, "as": {"S": index}}
        meter.put_item(TableName="t", Item=item)

    if before:
        put(before)
    return meter.measured(lambda: put(after))[0].writes


@pytest.mark.parametrize(
    ("before", "after", "units"), [(0, 100, 1), (0, 3000, 3), (0, 3072, 4), (5000, 10, 5), (10, 5000, 5)]
)
def test_a_write_is_charged_by_the_larger_of_before_and_after(
    meter: Meter, before: int, after: int, units: float
) -> None:
    assert _written(meter, before, after) == units


def test_an_index_is_charged_for_what_of_it_changes(meter: Meter) -> None:
    assert _written(meter, 0, 10, index="a") == 2  # the item, and its coming into the index
    assert _written(meter, 0, 10, index="a") == 1  # stays where it is
    assert _written(meter, 0, 10, index="b") == 3  # moves: out and in
    assert _written(meter, 0, 10) == 2  # leaves


def test_a_transaction_costs_twice(meter: Meter) -> None:
    item = {**KEY, "b": {"B": b"x" * 10_000}}
    small = {"pk": KEY["pk"], "sk": {"S": "HEAD"}}
    writes = [{"Put": {"TableName": "t", "Item": each}} for each in (item, small)]
    cost, _ = meter.measured(lambda: meter.transact_write_items(TransactItems=writes))
    assert cost == Units(writes=22)  # 10 KB and 1 KB: what AWS charges


def test_a_query_is_charged_by_the_sum_a_batch_item_by_item(meter: Meter) -> None:
    for number in range(3):
        meter.put_item(TableName="t", Item={**KEY, "sk": {"S": f"EV#{number}"}, "b": {"B": b"x" * 1500}})
    query = {
        "TableName": "t",
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": KEY["pk"]},
    }
    assert meter.measured(lambda: meter.query(**query, ConsistentRead=True))[0].reads == 2
    assert meter.measured(lambda: meter.query(**query))[0].reads == 1
    keys = [{**KEY, "sk": {"S": f"EV#{number}"}} for number in range(4)]
    asked = {"t": {"Keys": keys, "ConsistentRead": True}}
    assert meter.measured(lambda: meter.batch_get_item(RequestItems=asked))[0].reads == 4
    absent = {**KEY, "sk": {"S": "none"}}
    cost, _ = meter.measured(lambda: meter.get_item(TableName="t", Key=absent, ConsistentRead=True))
    assert cost.reads == 1


@pytest.mark.infra
def test_the_table_that_costs_are_computed_from_is_what_operations_cost() -> None:
    counted = {name: (units.reads, units.writes) for name, units in request_units.by_rule().items()}
    assert counted == costs.UNITS, "run `python -m bench.request_units`"
