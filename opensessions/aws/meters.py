"""Meters in the table: an item each, with what was used and, as `held_…`, that and what is set aside."""

from collections.abc import Mapping
from typing import Any

from opensessions.aws import table
from opensessions.aws.queries import Item
from opensessions.aws.transactions import Write
from opensessions.errors import StoreError
from opensessions.money.ledger import Amounts, Bound, Call, Meter

_MONEY, _TOKENS = "held_nanodollars", "held_tokens"


def hold(table_name: str, call: Call, meter: Meter, bound: Bound) -> Write:
    """Set aside what a call may use, as far as the bound allows."""
    worst = {_MONEY: call.worst.nanodollars, _TOKENS: call.worst.tokens}
    most = {_MONEY: bound.nanodollars, _TOKENS: bound.tokens}
    left = {name: value - worst[name] for name, value in most.items() if value is not None}
    conditions = [
        f"#{name} <= :left_{name}"
        if value < 0
        else f"(attribute_not_exists(#{name}) OR #{name} <= :left_{name})"
        for name, value in left.items()
    ]
    action = _adding(table_name, meter, worst)
    if conditions:
        action["ConditionExpression"] = " AND ".join(conditions)
        action["ExpressionAttributeValues"] |= table.attributes(
            {f":left_{name}": value for name, value in left.items()}
        )
    return Write({"Update": action}, call.over_budget(meter))


def use(table_name: str, meter: Meter, used: Amounts, set_aside: Amounts | None = None) -> Write:
    """Add what was used, in the place of what was set aside for it."""
    released = set_aside or Amounts()
    held = {
        _MONEY: used.nanodollars - released.nanodollars,
        _TOKENS: used.tokens - released.tokens,
    }
    action = _adding(table_name, meter, {**held, **used.model_dump(exclude_defaults=True)})
    return Write({"Update": action}, StoreError(f"Nothing can be added up on {meter}."))


def used(item: Item) -> Amounts:
    return Amounts(**{name: int(item.get(name, 0)) for name in Amounts.model_fields})


def of_user(account: str, item: Item) -> Meter:
    """A user's day, of its item."""
    return Meter(account, user_id=item["user_id"], period=item["sk"].split("#")[1])


def of_account(account: str, item: Item) -> Meter:
    """An account's day, of its item."""
    return Meter(account, period=item["sk"].removeprefix("ALL#"))


def _adding(table_name: str, meter: Meter, steps: Mapping[str, int]) -> dict[str, Any]:
    pk, sk = table.meter_key(meter)
    fixed = {"v": table.VERSION, "user_id": meter.user_id}
    fixed = {name: value for name, value in fixed.items() if value is not None}
    adds = ", ".join(f"#{name} :{name}" for name in steps)
    sets = ", ".join(f"#{name} = :{name}" for name in fixed)
    values = {**steps, **fixed}
    return {
        "TableName": table_name,
        "Key": table.attributes({"pk": pk, "sk": sk}),
        "UpdateExpression": f"ADD {adds} SET {sets}",
        "ExpressionAttributeNames": {f"#{name}": name for name in values},
        "ExpressionAttributeValues": table.attributes({f":{name}": value for name, value in values.items()}),
    }
