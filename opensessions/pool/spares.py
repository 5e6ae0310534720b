"""Sandboxes that run for nobody yet, so that a session need not wait for one to start."""

from typing import Literal, Protocol

from opensessions.models import Model, Timestamp

MOST_SPARES = 100


class Spare(Model):
    """A sandbox in a slot of the pool. `tokens` are the hashes of its launch's tokens and `address` is where
    it booted, as a session has them; `fingerprint` is of the code that it runs. It is `ready` when it waits
    for an assignment. `said` counts the events that it has said, none of which is kept. `rev` counts the
    writes.
    """

    slot: int
    sandbox_id: str
    tokens: dict[str, str]
    fingerprint: str
    launched_at: Timestamp
    address: str | None = None
    state: Literal["starting", "ready"] = "starting"
    said: int = 0
    rev: int = 1


class Spares(Protocol):
    """The slots of the pool, durable; each holds one spare or none. A spare leaves its slot by `drop`, or
    because a session takes it in the commit that creates the session (`Changes.spare`): one or the other,
    once. Reads see all that was written before. Safe to call from many threads.
    """

    def all(self) -> list[Spare]:
        """Every spare, by its slot."""
        ...

    def find(self, sandbox_id: str) -> Spare | None:
        """The spare with this sandbox."""
        ...

    def at(self, slot: int) -> Spare | None:
        """What a slot holds: the cheapest read."""
        ...

    def add(self, new: Spare) -> None:
        """Put a spare into its slot. Raises Stale when that holds one."""
        ...

    def change(self, before: Spare, after: Spare) -> Spare:
        """Write `after`, with its `rev` raised by one, in place of `before`. Raises Stale when the slot does
        not hold `before` as it was.
        """
        ...

    def drop(self, spare: Spare) -> bool:
        """Empty the slot if it holds this sandbox, however changed. Whether it did."""
        ...
