"""A wallet that other sessions used up: who learns of it by a refused message is told and sent to sleep."""

import pytest

from opensessions.errors import OverBudget
from opensessions.money.ledger import NANO, Allowance, Bound
from tests.calling import call
from tests.fakes import World


def test_a_session_whose_message_is_refused_is_told_once_and_sleeps(here: World) -> None:
    one, other = here.create(), here.create()
    here.turn(other)
    here.metering.allowances.put_user("acme", "u1", Allowance(day=Bound(NANO // 100)))
    call(here, one, 1000)
    for _ in range(2):
        with pytest.raises(OverBudget, match="this user's day"):
            here.service.send("acme", other.id, "u1", "Go on")
    said = [each.type for each in here.store.events(other.id, 0, 999)]
    assert (said.count("budget_exceeded"), said.count("user_message")) == (1, 1)
    assert [item.type for _, item in here.testimony.inbox(here.now(other), 0)] == ["assign", "hibernate"]
    asleep = here.fall_asleep(other)
    assert asleep.head.sandbox_status == "hibernated"
    with pytest.raises(OverBudget):
        here.service.send("acme", other.id, "u1", "Go on")
    assert here.now(other) == asleep
