"""What DynamoDB charges for: request units, as its answers report them and as its documented rules give.

The rules (AWS's Developer Guide, "DynamoDB item sizes and formats" and "DynamoDB read and write operations"):
an item's size is that of its names and values; a read is charged by each 4 KB begun, half of that when it may
be stale, a query by the sum of what it looked at; a write by each 1 KB begun of the item before or after it,
whichever is larger, twice in a transaction; an index by what of it changes.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from opensessions.aws.table import INDEXES

Item = Mapping[str, Mapping[str, Any]]


@dataclass
class Units:
    """Read and write request units."""

    reads: float = 0.0
    writes: float = 0.0

    def __add__(self, other: "Units") -> "Units":
        return Units(self.reads + other.reads, self.writes + other.writes)


class Meter:
    """A DynamoDB client that adds up what passes: `ruled` by the rules, `reported` by the answers."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.ruled, self.reported = Units(), Units()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name not in (
            "get_item",
            "query",
            "batch_get_item",
            "put_item",
            "update_item",
            "transact_write_items",
        ):
            return method

        def call(**arguments: Any) -> Any:
            before = self._touched(name, arguments)
            answer = method(**arguments, ReturnConsumedCapacity="INDEXES")
            if name in ("get_item", "query", "batch_get_item"):
                self.ruled += Units(reads=_read(name, arguments, answer))
            else:
                after = self._touched(name, arguments)
                factor = 2 if name == "transact_write_items" else 1
                written = sum(map(_written, before, after))
                self.ruled += Units(writes=factor * written)
            self._report(name, answer)
            return answer

        return call

    def measured(self, action: Callable[[], object]) -> tuple[Units, Units]:
        """What an action costs: by the rules, and as reported."""
        self.ruled, self.reported = Units(), Units()
        action()
        return self.ruled, self.reported

    def _touched(self, name: str, arguments: Mapping[str, Any]) -> list[Item]:
        """The items that a write is about, as they are now; an absent one is empty."""
        return [
            self._client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
            for table, key in _keys(name, arguments)
        ]

    def _report(self, name: str, answer: Mapping[str, Any]) -> None:
        capacity = answer.get("ConsumedCapacity", [])
        total = sum(
            each["CapacityUnits"] for each in (capacity if isinstance(capacity, list) else [capacity])
        )
        reads = name in ("get_item", "query", "batch_get_item")
        self.reported += Units(reads=total) if reads else Units(writes=total)


def _keys(name: str, arguments: Mapping[str, Any]) -> Iterable[tuple[str, Item]]:
    if name == "transact_write_items":
        actions = [action for item in arguments["TransactItems"] for action in item.values()]
    elif name in ("put_item", "update_item"):
        actions = [arguments]
    else:
        actions = []
    for action in actions:
        key = action.get("Key") or {part: action["Item"][part] for part in ("pk", "sk")}
        yield action["TableName"], key


def _read(name: str, arguments: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
    if name == "batch_get_item":
        items = [item for items in answer["Responses"].values() for item in items]
        absent = sum(len(asked["Keys"]) for asked in arguments["RequestItems"].values()) - len(items)
        return sum(_blocks(size(item), 4096) for item in items) + absent
    whole = sum(map(size, answer["Items"])) if name == "query" else size(answer.get("Item", {}))
    return _blocks(whole, 4096) * (1.0 if arguments.get("ConsistentRead") else 0.5)


def _written(before: Item, after: Item) -> float:
    table = _blocks(max(size(before), size(after)), 1024)
    return table + sum(_indexed(names, before, after) for names in INDEXES.values())


def _indexed(names: tuple[str, str], before: Item, after: Item) -> float:
    """An index of keys alone: nothing when they stay, one write for coming or going, two for moving."""
    held, holds = _entry(names, before), _entry(names, after)
    if held == holds:
        return 0
    return sum(_blocks(size(entry), 1024) for entry in (held, holds) if entry)


def _entry(names: tuple[str, str], item: Item) -> Item:
    return {name: item[name] for name in ("pk", "sk", *names)} if names[0] in item else {}


def _blocks(size: int, block: int) -> float:
    return max(1, math.ceil(size / block))


def size(item: Item) -> int:
    """Bytes that an item counts for."""
    return sum(len(name.encode()) + _value(value) for name, value in item.items())


def _value(value: Mapping[str, Any]) -> int:
    [(kind, held)] = value.items()
    if kind == "S":
        return len(held.encode("utf-8", "surrogatepass"))
    if kind == "N":
        return math.ceil(len(held.lstrip("-").replace(".", "").strip("0")) / 2) + 1
    if kind == "B":
        return len(held)
    if kind in ("BOOL", "NULL"):
        return 1
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _value(inner) for name, inner in held.items())
    if kind == "L":
        return 3 + sum(1 + _value(inner) for inner in held)
    raise ValueError(f"Items of this store hold no {kind}.")
