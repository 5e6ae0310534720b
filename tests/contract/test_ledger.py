"""A call of a model is set aside and settled once, and no bound is passed, whoever races."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest

from opensessions.errors import OverBudget
from opensessions.money.ledger import REMEMBERED_SECONDS, Amounts, Bound, Ledger, Meter
from tests.contract.calls import (
    ACCOUNT_DAY,
    ALL,
    LATER,
    SESSION,
    TURN,
    USED,
    USER_DAY,
    USER_MONTH,
    WORST,
    call,
    meters_of,
    spend,
)
from tests.contract.engines import Engine
from tests.contract.samples import START

# ---- one call ----


def test_a_call_is_on_all_of_its_meters_once_it_is_settled(ledger: Ledger) -> None:
    made = call()
    ledger.reserve(made)
    assert all(ledger.read(meter) == Amounts() for meter in ALL)
    assert ledger.settle("s1", made.id, USED) == [(meter, USED) for meter in ALL]
    assert all(ledger.read(meter) == USED for meter in ALL)


def test_every_amount_is_kept(ledger: Ledger) -> None:
    used = Amounts(**{name: number for number, name in enumerate(Amounts.model_fields, 10**12)})
    spend(ledger, ALL, used)
    spend(ledger, ALL, used)
    assert all(ledger.read(meter) == used + used for meter in ALL)


def test_it_is_settled_once(ledger: Ledger) -> None:
    made = call()
    ledger.reserve(made)
    assert ledger.settle("s1", made.id, USED)
    assert ledger.settle("s1", made.id, USED + USED) is None
    assert ledger.settle("s1", "unknown", USED) is None
    assert ledger.settle("s2", made.id, USED) is None
    assert ledger.read(SESSION) == USED


def test_it_is_reserved_once_also_when_it_was_settled(ledger: Ledger) -> None:
    made = call({SESSION: Bound(tokens=WORST.tokens)})
    for _ in range(3):
        ledger.reserve(made)
    assert ledger.open_calls("s1", LATER) == [made]
    ledger.settle("s1", made.id, USED)
    ledger.reserve(made)
    assert ledger.open_calls("s1", LATER) == []
    assert ledger.settle("s1", made.id, USED) is None
    assert ledger.read(SESSION) == USED


def test_an_id_is_a_sessions_own(ledger: Ledger) -> None:
    one = call()
    other = replace(one, session_id="s2", meters=((Meter("acme", "s2"), Bound()),))
    ledger.reserve(one)
    ledger.reserve(other)
    assert ledger.settle("s2", one.id, USED) == [(Meter("acme", "s2"), USED)]
    assert ledger.open_calls("s1", LATER) == [one]


def test_a_settled_one_is_remembered_for_a_day(engine: Engine, ledger: Ledger) -> None:
    made = call()
    ledger.reserve(made)
    ledger.settle("s1", made.id, USED)
    engine.clock.advance(seconds=REMEMBERED_SECONDS - 1)
    spend(ledger, ALL)
    ledger.reserve(made)
    assert ledger.open_calls("s1", LATER) == []


def test_a_call_that_used_nothing_takes_nothing(ledger: Ledger) -> None:
    bounds = {SESSION: Bound(nanodollars=WORST.nanodollars)}
    for _ in range(3):
        made = call(bounds)
        ledger.reserve(made)
        assert ledger.settle("s1", made.id, Amounts()) == [(meter, Amounts()) for meter in ALL]


def test_open_calls_in_order_of_their_beginning(ledger: Ledger) -> None:
    made = [replace(call(), began_at=START + timedelta(seconds=second)) for second in (9, 3, 6)]
    for each in made:
        ledger.reserve(each)
    assert ledger.open_calls("s1", LATER) == [made[1], made[2], made[0]]
    assert ledger.open_calls("s1", made[2].began_at) == [made[1]]
    assert ledger.open_calls("s2", LATER) == []


# ---- bounds ----


@pytest.mark.parametrize("meter", ALL, ids=["turn", "session", "user's day", "user's month", "account's day"])
@pytest.mark.parametrize("bound", [Bound(nanodollars=14_999), Bound(tokens=2_999)], ids=["money", "tokens"])
def test_a_bound_counts_what_is_used_and_what_is_set_aside(
    ledger: Ledger, meter: Meter, bound: Bound
) -> None:
    one, two, three = (call({meter: bound}) for _ in range(3))
    ledger.reserve(one)
    ledger.reserve(two)
    with pytest.raises(OverBudget, match=r"a call that may use \$0\.0000 and 1,000 tokens") as refused:
        ledger.reserve(three)
    assert refused.value.what == meter
    assert ledger.open_calls("s1", LATER) == sorted([one, two], key=lambda each: each.id)
    ledger.settle("s1", one.id, USED)
    ledger.reserve(three)
    with pytest.raises(OverBudget):
        ledger.reserve(call({meter: bound}))


def test_a_bound_can_be_met(ledger: Ledger) -> None:
    bounds = {SESSION: Bound(nanodollars=2 * WORST.nanodollars, tokens=2 * WORST.tokens)}
    ledger.reserve(call(bounds))
    ledger.reserve(call(bounds))
    with pytest.raises(OverBudget):
        ledger.reserve(call(bounds, worst=Amounts(output_tokens=1)))
    ledger.reserve(call(bounds, worst=Amounts()))


def test_the_first_meter_is_named(ledger: Ledger) -> None:
    none = Bound(nanodollars=0)
    for first, second in ((TURN, ACCOUNT_DAY), (USER_DAY, USER_MONTH), (USER_MONTH, ACCOUNT_DAY)):
        with pytest.raises(OverBudget) as refused:
            ledger.reserve(call({second: none, first: Bound(tokens=WORST.tokens - 1)}))
        assert refused.value.what == first


def test_nothing_is_set_aside_for_a_call_that_was_refused(ledger: Ledger) -> None:
    refused = call({ACCOUNT_DAY: Bound(tokens=1)})
    with pytest.raises(OverBudget):
        ledger.reserve(refused)
    assert ledger.settle("s1", refused.id, USED) is None
    tight = {meter: Bound(tokens=WORST.tokens) for meter in ALL}
    ledger.reserve(call(tight))
    ledger.reserve(replace(refused, meters=()))


def test_what_came_to_more_than_its_worst_counts(ledger: Ledger) -> None:
    bounds = {USER_DAY: Bound(tokens=5_000)}
    made = call(bounds)
    ledger.reserve(made)
    ledger.settle("s1", made.id, Amounts(calls=1, output_tokens=4_500))
    with pytest.raises(OverBudget):
        ledger.reserve(call(bounds))


def test_what_is_recorded_counts_too(ledger: Ledger) -> None:
    assert ledger.record("s1", "entry", ALL, Amounts(output_tokens=4_500))
    with pytest.raises(OverBudget):
        ledger.reserve(call({USER_MONTH: Bound(tokens=5_000)}))


def test_a_bound_that_was_raised_holds_again(ledger: Ledger) -> None:
    made = call({SESSION: Bound(tokens=999)})
    with pytest.raises(OverBudget):
        ledger.reserve(made)
    ledger.reserve(replace(made, meters=((SESSION, Bound(tokens=1_000)),)))
    assert len(ledger.open_calls("s1", LATER)) == 1


# ---- many at once ----


def _at_once(number: int, act: Callable[[int], object]) -> list[object]:
    barrier = Barrier(number)

    def begin(which: int) -> object:
        barrier.wait()
        return act(which)

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(begin, range(number)))


def test_i27_of_fifty_calls_at_once_as_many_begin_as_a_wallet_holds(engine: Engine) -> None:
    """Each of another session, of five users of one account."""
    ledger, bounds = engine.ledger(), {ACCOUNT_DAY: Bound(nanodollars=17 * WORST.nanodollars)}
    calls = [call(bounds, meters_of(f"s{n}", 1, f"user-{n % 5}")) for n in range(50)]

    def reserve(which: int) -> bool:
        try:
            ledger.reserve(calls[which])
        except OverBudget as refused:
            assert refused.what == ACCOUNT_DAY
            return False
        return True

    begun = _at_once(50, reserve)
    assert begun.count(True) == 17
    used = [ledger.settle(each.session_id, each.id, WORST) for each in calls]
    assert [settled is not None for settled in used] == begun
    assert ledger.read(ACCOUNT_DAY).nanodollars == 17 * WORST.nanodollars


def test_of_many_who_settle_or_reserve_one_call_one_does(engine: Engine) -> None:
    ledger, made = engine.ledger(), call({SESSION: Bound(tokens=WORST.tokens)})
    _at_once(8, lambda _: ledger.reserve(made))
    settled = _at_once(8, lambda _: ledger.settle("s1", made.id, USED))
    assert settled.count(None) == 7
    assert all(ledger.read(meter) == USED for meter in ALL)


def test_of_many_who_record_one_entry_one_does(engine: Engine) -> None:
    ledger = engine.ledger()
    done = _at_once(8, lambda _: ledger.record("s1", "launch-1", ALL, USED))
    assert done.count(True) == 1
    assert all(ledger.read(meter) == USED for meter in ALL)
