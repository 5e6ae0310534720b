"""What was used by day, what a user may use, and what stays of a session that is purged."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from opensessions.money.ledger import Allowance, Amounts, Bound, Ledger, Meter
from tests.contract.calls import (
    ACCOUNT_DAY,
    ALL,
    DAY,
    LATER,
    MONTH,
    SESSION,
    USED,
    USER_DAY,
    USER_MONTH,
    call,
    check_that_nothing_is_set_aside,
    meters_of,
    spend,
    total,
)
from tests.contract.dying import Killed
from tests.contract.engines import Engine
from tests.contract.samples import START


def test_days_from_the_first_to_the_last(ledger: Ledger) -> None:
    for day in ("2026-10-31", "2026-11-01", "2026-11-24", "2026-11-25", "2027-01-01"):
        for user in ("ben", "ada"):
            spend(ledger, meters_of("s1", 1, user, day))
    found = ledger.days("acme", "2026-11-01", "2026-11-25")
    days = ("2026-11-01", "2026-11-24", "2026-11-25")
    assert [meter for meter, _ in found] == [
        Meter("acme", user_id=user, period=day) for day in days for user in ("ada", "ben")
    ]
    assert ledger.days("acme", "2026-11-01", "2026-11-25", "ben") == [
        each for each in found if each[0].user_id == "ben"
    ]
    whole = ledger.totals("acme", "2026-11-01", "2026-11-25")
    assert whole == [(Meter("acme", period=day), USED + USED) for day in days]
    assert ledger.days("other", "2026-01-01", "2027-12-31") == []
    assert ledger.days("acme", "2026-01-01", "2027-12-31", "eve") == []
    assert ledger.totals("acme", "2026-12-01", "2026-12-31") == []


def test_more_days_and_turns_than_one_answer_holds(ledger: Ledger) -> None:
    days = [(START + timedelta(days=number)).date().isoformat() for number in range(130)]
    turns = [Meter("acme", "s1", turn=number) for number in range(1, 131)]
    of_user = [Meter("acme", user_id="ada", period=day) for day in days]
    whole = [Meter("acme", period=day) for day in days]
    for first in range(0, 130, 26):
        some = [meter for meters in (turns, of_user, whole) for meter in meters[first : first + 26]]
        ledger.record("s1", f"from {first}", some, USED)
    for user in (None, "ada"):
        assert [meter.period for meter, _ in ledger.days("acme", days[0], days[-1], user)] == days
    assert [meter.period for meter, _ in ledger.totals("acme", days[0], days[-1])] == days
    assert ledger.turns("s1") == {number: USED for number in range(1, 131)}


def test_what_was_only_set_aside_is_not_listed(ledger: Ledger) -> None:
    ledger.reserve(call())
    assert ledger.turns("s1") == {}
    assert ledger.days("acme", DAY, DAY) == ledger.days("acme", DAY, DAY, "ada") == []
    assert ledger.totals("acme", DAY, DAY) == []


@pytest.mark.parametrize("user", ["", "a#b", "DAY#2026-11-24", "ü" * 256, "2026-11-24", '["x"]', "~"])
def test_a_user_may_have_any_name(ledger: Ledger, user: str) -> None:
    spend(ledger, meters_of("s1", 1, user))
    spend(ledger, meters_of("s2", 1, "ada"))
    meter = Meter("acme", user_id=user, period=DAY)
    assert ledger.days("acme", DAY, DAY, user) == [(meter, USED)]
    assert ledger.read(meter) == ledger.read(replace(meter, period=MONTH)) == USED
    assert ledger.read(ACCOUNT_DAY) == USED + USED


def test_a_user_of_another_account_is_somebody_else(ledger: Ledger) -> None:
    spend(ledger, ALL)
    assert ledger.read(replace(USER_DAY, account="other")) == Amounts()
    assert ledger.read(replace(ACCOUNT_DAY, account="other")) == Amounts()


# ---- allowances ----


def test_an_allowance_is_what_was_set_last(ledger: Ledger) -> None:
    assert ledger.allowance("acme", "ada") == ledger.allowance("acme", None) == Allowance()
    ledger.put_allowance("acme", "ada", Allowance(day=Bound(tokens=1), month=Bound(nanodollars=10**15)))
    ledger.put_allowance("acme", "ada", wallet := Allowance(day=Bound(nanodollars=5)))
    ledger.put_allowance("acme", None, whole := Allowance(day=Bound(tokens=7)))
    assert ledger.allowance("acme", "ada") == wallet
    assert ledger.allowance("acme", None) == whole
    assert ledger.allowance("acme", "ben") == ledger.allowance("other", "ada") == Allowance()
    ledger.put_allowance("acme", "ada", Allowance())
    assert ledger.allowance("acme", "ada") == Allowance()


# ---- purge ----


def test_of_a_purged_session_the_user_and_the_account_keep_what_they_used(
    engine: Engine, ledger: Ledger
) -> None:
    spend(ledger, meters_of("s2", 1, "ada"))
    spend(ledger, ALL)
    ledger.record("s1", "launch-1", ALL[1:], USED)
    ledger.reserve(under_way := call())
    for _ in range(2):
        ledger.purge("s1")
        assert ledger.turns("s1") == {} and ledger.read(SESSION) == Amounts()
        assert ledger.open_calls("s1", LATER) == []
        used = total([USED, USED, USED, under_way.lost])
        assert [ledger.read(meter) for meter in (USER_DAY, USER_MONTH, ACCOUNT_DAY)] == [used] * 3
        assert ledger.turns("s2") == {1: USED}
    assert ledger.settle("s1", under_way.id, USED) is None
    assert not any("s1" in row for rows in engine.dump().values() for row in rows)
    check_that_nothing_is_set_aside(ledger, {ACCOUNT_DAY: used, USER_DAY: used, USER_MONTH: used})


def test_a_purge_that_is_cut_short_can_be_done_again(engine: Engine, ledger: Ledger) -> None:
    stored = engine.dump()
    for turn in range(1, 4):
        spend(ledger, (Meter("acme", "s1", turn=turn), SESSION))
        ledger.reserve(call(meters=(Meter("acme", "s1", turn=turn), SESSION)))
    for requests in count():
        with suppress(Killed):
            engine.dying_ledger(requests).purge("s1")
            break
    assert requests > 1 and engine.dump() == stored
