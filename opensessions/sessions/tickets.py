"""Boot tickets: what one buys, by the hashes that are kept of its launch's tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from opensessions.access import tokens

BOOT_TIME = timedelta(minutes=5)


class Stolen(Exception):
    """A ticket was shown twice, by two who do not know the same nonce: one of them is a thief."""


@dataclass(frozen=True, slots=True)
class Bought:
    """The new worker's token, and the hashes that the launch has from now on; the same as before when the
    same worker asks again.
    """

    token: str = field(repr=False)
    hashes: Mapping[str, str]


def buy(
    ticket: str, nonce: str | None, hashes: Mapping[str, str], launched_at: datetime, now: datetime
) -> Bought | None:
    """What a ticket of this launch is good for: once, within `BOOT_TIME`. Raises Stolen."""
    sandbox_id = tokens.sandbox_of(ticket)
    if sandbox_id is None:
        return None
    token = tokens.bought_token(ticket, nonce) if nonce else tokens.worker_token(sandbox_id)
    if tokens.matches(ticket, hashes.get("booted")):
        if tokens.matches(token, hashes.get("worker")):
            return Bought(token, hashes)
        raise Stolen
    if now - launched_at > BOOT_TIME or not tokens.matches(ticket, hashes.get("boot")):
        return None
    bought = {**tokens.token_hashes(token), "booted": hashes["boot"]}
    del bought["boot"]
    return Bought(token, bought)
