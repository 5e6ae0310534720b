"""Large batches of events: their bodies lie apart, because a transaction charges each kilobyte twice.

The body is put first, under a key that no other commit uses; the transaction then writes an item that names
it. A body that no item names belongs to a commit that never was, and is passed over.
"""

from collections.abc import Iterable, Iterator
from typing import Any

FROM = 4000
"""Bytes of a body from which this is cheaper by two units or more."""


def body_sk(batch_sk: str, token: str) -> str:
    """Right behind the batch that it is of, so that one query finds both."""
    return f"{batch_sk}#{token}"


def whole(items: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Batches with their bodies, in the order of the items, which may be either.

    Going backwards a body may be missed that is put while the items are read: then its batch is left out,
    which was committed later than the reading began and is the newest.
    """
    halves: dict[str, dict[str, Any]] = {}
    for item in items:
        if "body" in item and "first" in item:
            yield item
            continue
        place = body_sk(item["sk"], item["apart"]) if "apart" in item else item["sk"]
        if (other := halves.pop(place, None)) is None:
            halves[place] = item
        else:
            yield {**other, **item}
