"""The sums come out exactly, whatever dies at whatever point."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from opensessions.money.ledger import Amounts, Call, Ledger, Meter
from tests.contract.calls import DAY, LATER, MONTH, call, check_that_nothing_is_set_aside, meters_of, total
from tests.contract.dying import Killed
from tests.contract.engines import Engine

SESSIONS = {f"s{number}": f"user-{number % 3}" for number in range(5)}
DAYS = ("2026-10-31", "2026-11-01", DAY)


@dataclass
class Books:
    """What the ledger has to come to, from whoever made the calls."""

    random: Random
    engine: Engine
    open: dict[str, Call] = field(default_factory=dict)
    entries: list[tuple[str, str, tuple[Meter, ...], Amounts]] = field(default_factory=list)
    used: dict[Meter, Amounts] = field(default_factory=dict)

    def reserve(self) -> None:
        made = replace(call(meters=self._meters()), worst=self._amounts())
        self._surely(lambda ledger: ledger.reserve(made))
        self.open[made.id] = made

    def settle(self) -> None:
        if not self.open:
            return
        made = self.open.pop(self.random.choice(list(self.open)))
        used = self._amounts()
        self._surely(lambda ledger: ledger.settle(made.session_id, made.id, used))
        self.add([meter for meter, _ in made.meters], used)

    def record(self) -> None:
        meters, used = self._meters(), self._amounts()
        entry = (meters[1].session_id or "", f"launch-{len(self.entries)}", meters, used)
        self._surely(lambda ledger: ledger.record(*entry))
        self.entries.append(entry)
        self.add(meters, used)

    def again(self) -> None:
        """Who was told of it before does it once more."""
        for made in self.open.values():
            self._surely(lambda ledger, made=made: ledger.reserve(made))
        for entry in self.entries[-2:]:
            self._surely(lambda ledger, entry=entry: ledger.record(*entry))

    def add(self, meters: Sequence[Meter], used: Amounts) -> None:
        for meter in meters:
            self.used[meter] = self.used.get(meter, Amounts()) + used

    def _surely(self, act: Callable[[Ledger], object]) -> None:
        """Tried once by a process that may die at any point of it, then until it is done."""
        with suppress(Killed):
            return void(act(self.engine.dying_ledger(self.random.randrange(40))))
        act(self.engine.ledger())

    def _meters(self) -> tuple[Meter, ...]:
        session, turn = self.random.choice(list(SESSIONS)), self.random.randint(1, 3)
        return meters_of(session, turn, SESSIONS[session], self.random.choice(DAYS))

    def _amounts(self) -> Amounts:
        return Amounts(**{name: self.random.randrange(1_000) for name in Amounts.model_fields})


def void(_: object) -> None:
    pass


@pytest.mark.parametrize("seed", range(2))
def test_the_sums_are_exact_whatever_is_cut_short(engine: Engine, seed: int) -> None:
    """Turns come to their session, sessions to their users, users to the account, days to their months."""
    books, ledger = Books(Random(seed), engine), engine.ledger()
    steps = [Books.reserve, Books.reserve, Books.settle, Books.settle, Books.record, Books.again]
    for _ in range(30):
        books.random.choice(steps)(books)
    for session in SESSIONS:
        lost = ledger.open_calls(session, LATER)
        for each in lost:
            assert books.open[each.id] == each
            ledger.settle(session, each.id, each.lost)
            books.add([meter for meter, _ in each.meters], each.lost)
            del books.open[each.id]
    assert not books.open
    assert all(ledger.read(meter) == used for meter, used in books.used.items())
    _check_sums(ledger, books.used)
    some = books.random.sample(sorted(books.used, key=repr), 9)
    check_that_nothing_is_set_aside(ledger, {meter: books.used[meter] for meter in some})


def _check_sums(ledger: Ledger, used: dict[Meter, Amounts]) -> None:
    first, last = DAYS[0], DAYS[-1]
    of_users, totals = ledger.days("acme", first, last), ledger.totals("acme", first, last)
    assert of_users == sorted(
        ((meter, used[meter]) for meter in used if meter.user_id and meter.period in DAYS),
        key=lambda each: (each[0].period, each[0].user_id),
    )
    for session in SESSIONS:
        turns = ledger.turns(session)
        assert list(turns) == sorted(turns)
        assert total(turns.values()) == ledger.read(Meter("acme", session))
    for user in set(SESSIONS.values()):
        his = ledger.days("acme", first, last, user)
        assert his == [each for each in of_users if each[0].user_id == user]
        sessions = [ledger.read(Meter("acme", id)) for id in SESSIONS if SESSIONS[id] == user]
        months = [ledger.read(Meter("acme", user_id=user, period=each)) for each in ("2026-10", MONTH)]
        assert total(each for _, each in his) == total(sessions) == total(months)
    for meter, amounts in totals:
        assert amounts == total(each for day, each in of_users if day.period == meter.period)
    assert total(each for _, each in totals) == total(each for _, each in of_users)
