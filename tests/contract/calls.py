"""Calls and meters for the ledger's suites."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import count

import pytest

from opensessions.errors import OverBudget
from opensessions.money.ledger import Amounts, Bound, Call, Ledger, Meter
from tests.contract.samples import START

DAY, MONTH = "2026-11-24", "2026-11"
TURN = Meter("acme", "s1", turn=1)
SESSION = Meter("acme", "s1")
USER_DAY = Meter("acme", user_id="ada", period=DAY)
USER_MONTH = Meter("acme", user_id="ada", period=MONTH)
ACCOUNT_DAY = Meter("acme", period=DAY)
ALL = (TURN, SESSION, USER_DAY, USER_MONTH, ACCOUNT_DAY)
WORST = Amounts(calls=1, input_tokens=300, output_tokens=700, nanodollars=5_000)
USED = Amounts(
    calls=1, input_tokens=100, output_tokens=50, cache_read_tokens=30, cache_write_tokens=20, nanodollars=900
)
LATER = START + timedelta(hours=1)

_ids = count(1)


def call(
    bounds: dict[Meter, Bound] | None = None, meters: Sequence[Meter] = ALL, worst: Amounts = WORST
) -> Call:
    """One that is like no other, of the session of its first meter."""
    on = tuple((meter, (bounds or {}).get(meter, Bound())) for meter in meters)
    return Call(f"{next(_ids):032x}", meters[0].session_id or "", worst, on, START)


def meters_of(session: str, turn: int, user: str, day: str = DAY) -> tuple[Meter, ...]:
    return (
        Meter("acme", session, turn=turn),
        Meter("acme", session),
        Meter("acme", user_id=user, period=day),
        Meter("acme", user_id=user, period=day[:7]),
        Meter("acme", period=day),
    )


def spend(ledger: Ledger, meters: Sequence[Meter], used: Amounts = USED) -> None:
    made = call(meters=meters)
    ledger.reserve(made)
    assert ledger.settle(made.session_id, made.id, used)


def check_that_nothing_is_set_aside(ledger: Ledger, used: dict[Meter, Amounts]) -> None:
    """To the last nanodollar and token: what is left of a bound can be had, and no more."""
    one = Amounts(output_tokens=1, nanodollars=1)
    for meter, amounts in used.items():
        for bound in (Bound(nanodollars=amounts.nanodollars), Bound(tokens=amounts.tokens)):
            with pytest.raises(OverBudget):
                ledger.reserve(call({meter: bound}, [meter], one))
            ledger.reserve(call({meter: bound}, [meter], Amounts()))


def total(amounts: Iterable[Amounts]) -> Amounts:
    return sum(amounts, Amounts())
