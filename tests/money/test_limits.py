"""What holds a session beside money: turns, their time, its lifetime; and what is recorded of its use."""

from typing import Any

import pytest

from opensessions.errors import Conflict, NotFound, OverBudget
from opensessions.events import Interrupt, SandboxReady, TurnComplete, TurnStarted
from opensessions.models import Limits, SandboxStatus, Session, Status
from opensessions.money.ledger import Amounts, Meter
from opensessions.sessions.lifecycle import Deadlines
from tests.calling import call, reserve, settle
from tests.fakes import World, world

TODAY = "2026-11-24"


def seconds(here: World, session: Session) -> float:
    """What is recorded of its sandboxes' time: the same with the session, its user and its account."""
    meters = (
        Meter("acme", session.id),
        Meter("acme", user_id="u1", period=TODAY),
        Meter("acme", user_id="u1", period="2026-11"),
        Meter("acme", period=TODAY),
    )
    [found] = {here.ledger.read(meter).sandbox_milliseconds for meter in meters}
    return found / 1000


def interrupts(here: World, session: Session) -> int:
    return sum(isinstance(item, Interrupt) for _, item in here.testimony.inbox(here.now(session), 0))


# ---- turns ----


def test_a_session_takes_as_many_messages_as_it_has_turns(here: World) -> None:
    session = here.turn(here.create(limits=Limits(turns=2)))
    here.service.send("acme", session.id, "u1", "Second", "key")
    with pytest.raises(OverBudget, match="The 2 turns of this session are used up"):
        here.service.send("acme", session.id, "u1", "Third")
    assert here.service.send("acme", session.id, "u1", "Second", "key").asked == 2  # replayed
    here.service.limit("acme", session.id, {"turns": None})
    assert here.service.send("acme", session.id, "u1", "Third").asked == 3


def test_a_sandbox_that_never_ends_a_turn_gets_no_more_messages_for_it(here: World) -> None:
    session = here.create(limits=Limits(turns=2))
    here.say(session, SandboxReady())
    here.service.send("acme", session.id, "u1", "Second")
    with pytest.raises(OverBudget):
        here.service.send("acme", session.id, "u1", "Third")


def test_only_an_answer_to_something_new_ends_a_turn(here: World) -> None:
    session = here.create()
    over = TurnComplete(reason="completed", inbox_seq=1)
    here.say(session, over, over, TurnComplete(reason="completed", inbox_seq=0))
    assert here.now(session).turns == 1
    here.service.send("acme", session.id, "u1", "Second")
    here.say(session, over, TurnComplete(reason="completed", inbox_seq=99), over)
    assert here.now(session).turns == 2


def test_a_turn_that_takes_too_long_is_interrupted_and_the_session_goes_on(here: World) -> None:
    session = here.create(limits=Limits(turn_seconds=30))
    here.clock.tick(50)  # nobody's fault
    here.say(session, SandboxReady(), TurnStarted())
    here.clock.tick(30)
    here.supervisor.sweep()
    assert interrupts(here, session) == 0
    here.say(session)
    here.clock.tick(1)
    here.supervisor.sweep()
    here.supervisor.sweep()
    told = here.store.latest_events(session.id, 1)[0]
    assert (told.type, told.level, interrupts(here, session)) == ("limit_reached", "warning", 1)
    assert (told.payload["limit"], told.payload["allowed"]) == ("turn_seconds", 30)
    here.say(session, TurnComplete(reason="interrupted", inbox_seq=1))
    here.clock.tick(59)
    here.say(session)
    here.supervisor.sweep()
    assert here.now(session).live
    here.service.send("acme", session.id, "u1", "Again")
    here.clock.tick(31)
    here.supervisor.sweep()
    assert interrupts(here, session) == 2


def test_a_turn_that_goes_on_all_the_same_ends_with_its_sandbox(here: World) -> None:
    session = here.create(limits=Limits(turn_seconds=30))
    here.say(session, SandboxReady(), TurnStarted())
    here.clock.tick(31)
    here.supervisor.sweep()
    for _ in range(3):
        here.clock.tick(16)
        here.say(session, TurnStarted(), TurnComplete(reason="completed", inbox_seq=0))
        here.supervisor.sweep()
    asleep = here.now(session)
    assert (asleep.head.sandbox_status, asleep.head.status) == (SandboxStatus.HIBERNATED, Status.READY)
    assert here.runtime.running() == []
    assert "took too long" in here.store.latest_events(session.id, 1)[0].payload["message"]


def test_each_turn_has_its_own_time(here: World) -> None:
    session = here.create(limits=Limits(turn_seconds=50))
    here.say(session, SandboxReady(), TurnStarted())
    here.service.send("acme", session.id, "u1", "Second")
    here.clock.tick(40)
    here.say(session, TurnComplete(reason="completed", inbox_seq=1), TurnStarted())
    here.clock.tick(40)
    here.supervisor.sweep()
    assert interrupts(here, session) == 0


# ---- lifetime ----


def sleeps(here: World, session: Session) -> None:
    here.sleep(here.turn(session))
    here.clock.tick(61)
    here.supervisor.sweep()


def works(here: World, session: Session) -> None:
    here.say(session, SandboxReady())


def failed(here: World, session: Session) -> None:
    here.runtime.refuse = "There is no room."
    here.supervisor.relaunch(session.sandbox_id, 1)


@pytest.mark.parametrize("before", [sleeps, works, failed])
def test_a_session_ends_when_its_lifetime_is_over(here: World, before: Any) -> None:
    session = here.create(limits=Limits(lifetime_seconds=300, idle_seconds=None))
    before(here, session)
    while here.clock.now < session.created_at.replace(minute=5):
        if here.now(session).head.sandbox_status is SandboxStatus.RUNNING:
            here.say(session)
        here.supervisor.sweep()
        assert here.now(session).head.status is not Status.ENDED
        here.clock.tick(30)
    here.supervisor.sweep()
    ended = here.now(session)
    assert ended.head.status is Status.ENDED and here.runtime.running() == []
    assert here.store.latest_events(session.id, 1)[0].payload["reason"] == "lifetime"
    with pytest.raises(Conflict):
        here.service.limit("acme", session.id, {"lifetime_seconds": None})


def test_a_lifetime_is_prolonged_and_begun_while_it_sleeps(here: World) -> None:
    session = here.create(limits=Limits(lifetime_seconds=300))
    sleeps(here, session)
    here.service.limit("acme", session.id, {"lifetime_seconds": 600})
    here.clock.tick(300)
    here.supervisor.sweep()
    assert here.now(session).head.status is Status.READY
    here.service.limit("acme", session.id, {"lifetime_seconds": 60})
    here.supervisor.sweep()
    assert here.now(session).head.status is Status.ENDED


# ---- changing ----


def test_a_change_of_limits_leaves_the_others_and_is_the_user_s(here: World) -> None:
    session = here.create(limits=Limits(tokens=5, turns=6))
    changed = here.service.limit("acme", session.id, {"turns": None, "egress_bytes": 7}, "u1")
    assert changed.limits == Limits(tokens=5, egress_bytes=7) == here.now(session).limits
    for account, user_id in (("globex", None), ("acme", "u2")):
        with pytest.raises(NotFound):
            here.service.limit(account, session.id, {}, user_id)


# ---- usage ----


def test_what_a_turn_used_is_the_ledger_s_word(here: World) -> None:
    session = here.create()
    here.say(session, SandboxReady())
    call(here, session, 300)
    call(here, session, 200)
    here.turn(session, usage={"cost_usd": 0, "calls": -1})
    here.service.send("acme", session.id, "u1", "More")
    late = reserve(here, session)
    over = here.turn(session, usage=None)
    settle(here, over, late, 7)
    first, second = (e for e in here.store.events(session.id, 0, 99) if e.type == "turn_complete")
    assert first.payload["usage"] == {
        "calls": 2, "input_tokens": 0, "output_tokens": 500, "cache_read_tokens": 0, "cache_write_tokens": 0,
        "cost_usd": 0.005,
    }  # fmt: skip
    assert second.payload["usage"]["calls"] == 0
    turns = here.metering.turns(session.id)
    assert {number: used.output_tokens for number, used in turns.items()} == {1: 500, 2: 7}
    assert sum(turns.values(), Amounts()) == here.metering.used(session)


def test_a_turn_of_unknown_cost_says_so(here: World) -> None:
    session = here.create()
    here.say(session, SandboxReady())
    settle(here, session, reserve(here, session, model="x"), 5, "x")
    here.turn(session)
    over = here.store.latest_events(session.id, 1)[0]
    assert over.payload["usage"]["output_tokens"] == 5 and over.payload["usage"]["cost_usd"] is None


def test_a_version_knows_its_turn(here: World) -> None:
    session = here.create()
    message_id = here.store.messages(session.id, 1)[0].id
    here.turn(session)
    here.service.send("acme", session.id, "u1", "More")
    here.turn(session)
    asked = [message.id for message in here.store.messages(session.id, 99) if message.role == "user"]
    assert here.now(session).answered == dict(zip(asked, (1, 2), strict=True))
    assert asked[0] == message_id


# ---- the time of sandboxes ----


def test_the_time_of_each_launch_is_recorded_once(here: World) -> None:
    session = here.turn(here.create())
    here.clock.tick(40)
    here.sleep(session)
    assert seconds(here, session) == 40
    here.clock.tick(1000)
    here.supervisor.sweep()
    here.service.send("acme", session.id, "u1", "More")
    here.clock.tick(2.5)
    here.service.end("acme", session.id)
    here.clock.tick(61)
    here.supervisor.sweep()
    assert seconds(here, session) == 42.5


def test_the_time_of_a_lost_sandbox_counts_and_so_does_that_of_the_next(here: World) -> None:
    session = here.create()
    here.say(session, SandboxReady())
    here.clock.tick(10)
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "It crashed.")
    here.clock.tick(3)  # until it is launched again
    here.catch_up()
    here.clock.tick(7)
    here.service.end("acme", session.id)
    assert seconds(here, session) == 17


def test_what_was_found_gone_after_days_did_not_run_for_days(here: World) -> None:
    session = here.turn(here.create())
    here.clock.tick(20)
    here.runtime.live.clear()  # and the server with it
    here.clock.tick(3 * 86_400)
    here.supervisor.sweep()
    day = here.ledger.read(Meter("acme", session.id))
    assert day.sandbox_milliseconds == here.deadlines.silence * 1000


def test_what_never_began_took_no_time(here: World) -> None:
    here.runtime.lack = 1
    lacking = here.create()
    here.clock.tick(5)
    here.catch_up()
    here.clock.tick(2)
    here.service.end("acme", lacking.id)
    assert seconds(here, lacking) == 2
    here.runtime.refuse = "There is no room."
    assert here.create().head.status is Status.ERROR
    here.clock.tick(61)
    here.supervisor.sweep()
    assert here.ledger.read(Meter("acme", period=TODAY)).sandbox_milliseconds == 2000


def test_a_purge_forgets_the_session_and_no_bill(here: World) -> None:
    session = here.create()
    here.say(session, SandboxReady())
    call(here, session, 100)
    here.clock.tick(5)
    here.service.purge("acme", session.id)
    assert here.ledger.read(Meter("acme", session.id)) == Amounts()
    billed = here.ledger.read(Meter("acme", user_id="u1", period=TODAY))
    assert (billed.output_tokens, billed.sandbox_milliseconds) == (100, 5000)


def test_a_purge_that_was_cut_short_bills_nothing_twice(here: World) -> None:
    session = here.keep_turn(here.create())
    here.clock.tick(3600)
    ended = here.service.end("acme", session.id)
    here.clock.tick(3600)
    here.metering.close(ended)
    here.ledger.purge(session.id)  # and here the process died
    here.clock.tick(3600)
    here.service.purge("acme", session.id)
    size = session.archives[0].size
    billed = here.ledger.read(Meter("acme", user_id="u1", period=TODAY))
    assert billed == Amounts(sandbox_milliseconds=3600 * 1000, stored_byte_hours=2 * size)


# ---- storage ----


def test_what_is_kept_counts_by_the_hour_when_it_is_replaced(here: World) -> None:
    session = here.keep_turn(here.create())
    first = session.archives[0].size
    here.clock.tick(5400)
    here.service.send("acme", session.id, "u1", "More")
    session = here.keep_turn(session)
    assert here.metering.used(session).stored_byte_hours == round(first * 1.5)
    here.clock.tick(60)
    here.say(session)
    here.service.send("acme", session.id, "u1", "More")
    here.keep_turn(session)
    both = sum(archive.size for archive in session.archives)
    assert here.metering.used(session).stored_byte_hours == round(first * 1.5) + round(both / 60)


# ---- lost calls ----


def test_a_call_whose_end_nobody_tells_counts_as_its_worst(tmp_path: Any) -> None:
    here = world(tmp_path, deadlines=Deadlines(lifetime=10**6, silence=10**6))
    session = here.create(limits=Limits(idle_seconds=None))
    here.say(session, SandboxReady())
    reserve(here, session, most=500)
    for minutes in (14, 1):
        assert here.metering.used(session).lost == 0
        here.clock.tick(minutes * 60)
        here.supervisor.sweep(here.clock.now.replace(year=9000))
    used = here.metering.used(session)
    assert (used.calls, used.lost, used.output_tokens) == (1, 1, 500)


def test_the_calls_of_a_sandbox_that_is_gone_are_given_up_soon(here: World) -> None:
    session = here.create()
    here.say(session, SandboxReady())
    here.clock.tick(20)
    call_id = reserve(here, session)
    here.service.end("acme", session.id)
    for _ in range(2):
        here.clock.tick(61)
        here.supervisor.sweep()
    assert here.metering.used(session).lost == 1
    settle(here, session, call_id, 5)
    assert here.metering.used(session).output_tokens == 1000
    assert here.now(session).due_at is None
