"""Who has used up a budget is told, stopped and let go on when there is something left again."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from opensessions.errors import InvalidRequest, OverBudget, RateLimited, Unauthorized
from opensessions.events import Error, Hibernate, Interrupt, SandboxReady, TurnComplete, TurnStarted
from opensessions.models import AgentConfig, Event, Limits, NewSession, SandboxStatus, Session, Status
from opensessions.money.ledger import NANO, Allowance, Bound
from tests.calling import call, reserve, settle
from tests.fakes import World

CENT = Limits(cost_usd=0.01)
DAY, MONTH = Allowance(day=Bound(NANO // 100)), Allowance(month=Bound(tokens=1000))
UNPRICED = AgentConfig(model="who-knows")


def told(here: World, session: Session) -> list[Event]:
    return [each for each in here.store.events(session.id, 0, 999) if each.type.startswith("budget_")]


def items(here: World, session: Session) -> list[str]:
    return [item.type for _, item in here.testimony.inbox(here.now(session), 0)]


def at_work(here: World, limits: Limits = CENT, user_id: str = "u1") -> Session:
    session = here.service.create("acme", NewSession(prompt="Go", user_id=user_id, limits=limits))
    here.say(session, SandboxReady(), TurnStarted())
    return session


def test_watchers_are_told_at_eighty_and_at_a_hundred_per_cent_once(here: World) -> None:
    session = at_work(here)
    for said in (790, 10, 150, 60):
        call(here, session, said)
    warning, exceeded = told(here, session)
    assert (warning.type, warning.level, exceeded.type, exceeded.level) == (
        "budget_warning", "warning", "budget_exceeded", "error",
    )  # fmt: skip
    facts = {"budget": "session", "limit": "cost_usd", "used": 0.008, "allowed": 0.01}
    assert facts.items() <= warning.payload.items() and warning.payload["message"].startswith("80 % of the")
    assert (exceeded.payload["used"], exceeded.payload["allowed"]) == (0.0101, 0.01)
    assert exceeded.payload["message"] == (
        "The budget of $0.01 for this session is used up: raise its limit to go on."
    )
    assert session.id in here.woken


def test_one_call_may_pass_both_marks(here: World) -> None:
    session = at_work(here)
    call(here, session, 1000)
    assert [each.type for each in told(here, session)] == ["budget_warning", "budget_exceeded"]


def test_a_budget_that_is_used_up_ends_the_turn_then_the_sandbox(here: World) -> None:
    session = at_work(here)
    call(here, session, 1000)
    assert items(here, session) == ["assign", "interrupt"]
    with pytest.raises(OverBudget, match=r"The budget of \$0\.01 for this session is used up"):
        reserve(here, session)
    here.say(session, TurnComplete(reason="interrupted", inbox_seq=1))
    assert items(here, session) == ["assign", "interrupt", "hibernate"]
    asleep = here.fall_asleep(session)
    assert (asleep.head.sandbox_status, asleep.head.status) == (SandboxStatus.HIBERNATED, Status.READY)
    assert asleep.halting_at is None and len(asleep.archives) == 1
    assert len(told(here, session)) == 2


def test_an_idle_sandbox_is_sent_to_sleep_at_once(here: World) -> None:
    session = at_work(here)
    late = reserve(here, session)
    here.turn(session)
    settle(here, session, late, 1000)
    assert items(here, session) == ["assign", "hibernate"]


def test_messages_that_wait_are_not_worked_on(here: World) -> None:
    session = at_work(here)
    here.service.send("acme", session.id, "u1", "And this")
    call(here, session, 1000)
    here.say(session, TurnComplete(reason="interrupted", inbox_seq=1, pending=1))
    assert items(here, session).count("interrupt") == 1
    here.say(session, TurnStarted())
    assert items(here, session).count("interrupt") == 2
    here.say(session, TurnComplete(reason="interrupted", inbox_seq=2))
    assert items(here, session)[-1] == "hibernate"


@pytest.mark.parametrize("by", ["timer", "sweep"])
def test_what_does_not_sleep_is_stopped(here: World, by: str) -> None:
    session = here.keep_turn(at_work(here))
    here.service.send("acme", session.id, "u1", "More")
    call(here, session, 1000)
    assert (session.sandbox_id, 1, 46) in here.put_off
    here.say(session, TurnStarted())
    look = here.catch_up if by == "timer" else here.supervisor.sweep
    here.clock.tick(44)
    here.supervisor.sweep()
    assert here.now(session).live
    here.clock.tick(1)
    look()
    stopped = here.now(session)
    assert (stopped.head.sandbox_status, stopped.head.status) == (SandboxStatus.HIBERNATED, Status.READY)
    assert here.runtime.running() == [] and stopped.archives
    assert here.types(session)[-1] == "sandbox_lost"
    assert (
        "A budget is used up, and 45 s later" in here.store.latest_events(session.id, 1)[0].payload["message"]
    )


def test_a_sandbox_that_is_lost_meanwhile_does_not_come_back(here: World) -> None:
    session = at_work(here)
    call(here, session, 1000)
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "It crashed.")
    assert here.now(session).head.sandbox_status is SandboxStatus.HIBERNATED


def test_a_late_timer_finds_nothing_to_stop(here: World) -> None:
    session = at_work(here)
    call(here, session, 1000)
    here.service.limit("acme", session.id, {"cost_usd": 1.0})
    here.service.send("acme", session.id, "u1", "Go on")
    here.clock.tick(46)
    here.catch_up()
    assert here.now(session).live and here.runtime.alive(session.sandbox_id)


def test_a_message_is_refused_until_the_limit_is_raised(here: World) -> None:
    session = at_work(here)
    call(here, session, 1000)
    here.say(session, TurnComplete(reason="interrupted", inbox_seq=1))
    here.fall_asleep(session)
    with pytest.raises(OverBudget):
        here.service.send("acme", session.id, "u1", "Go on", "key")
    assert not here.now(session).live
    raised = here.service.limit("acme", session.id, {"cost_usd": 0.02})
    assert raised.limits == Limits(cost_usd=0.02)
    here.service.send("acme", session.id, "u1", "Go on", "key")
    here.say(session, SandboxReady(), TurnStarted())
    call(here, session, 590)
    assert len(told(here, session)) == 2
    call(here, session, 410)
    assert [each.type for each in told(here, session)[2:]] == ["budget_warning", "budget_exceeded"]


def test_calls_under_way_make_others_wait_and_end_nothing(here: World) -> None:
    session = at_work(here)
    first = reserve(here, session)
    with pytest.raises(RateLimited, match="Other calls under way"):
        reserve(here, session)
    assert told(here, session) == [] and here.now(session).halting_at is None
    settle(here, session, first, 10)
    reserve(here, session)


def test_i27_fifty_calls_at_once_pass_a_budget_by_one_answer_at_most(here: World) -> None:
    session = at_work(here)

    def try_one(_: int) -> str | None:
        try:
            return reserve(here, session, most=400)
        except (RateLimited, OverBudget):
            return None

    with ThreadPoolExecutor(16) as pool:
        given = [call_id for call_id in pool.map(try_one, range(50)) if call_id]
    assert len(given) == 3  # two leave room for something, three for nothing
    for call_id in given:  # all hang up, and nobody knows what was used
        here.metering.settle(session.id, call_id, "claude-test", None, False)
    used = here.metering.used(session)
    assert (used.nanodollars, used.lost) == (NANO * 12 // 1000, 3)
    assert here.now(session).halting_at is not None


def test_a_budget_smaller_than_the_worst_of_a_call_lets_calls_through(here: World) -> None:
    session = at_work(here)
    for _ in range(3):
        settle(here, session, reserve(here, session, most=128_000), 300)
    assert here.metering.used(session).cost_usd == 0.009


@pytest.mark.parametrize(("allowance", "kind"), [(DAY, "user_day"), (MONTH, "user_month")])
def test_a_wallet_is_shared_by_all_sessions_of_a_user(here: World, allowance: Allowance, kind: str) -> None:
    one, other = at_work(here, Limits()), at_work(here, Limits())
    here.allowances.put_user("acme", "u1", allowance)
    call(here, one, 600)
    call(here, other, 600)
    assert [each.payload["budget"] for each in told(here, other)] == [kind, kind]
    with pytest.raises(OverBudget, match="for this user's"):
        reserve(here, one)
    assert [each.type for each in told(here, one)] == ["budget_warning", "budget_exceeded"]
    with pytest.raises(OverBudget):
        here.create()
    with pytest.raises(OverBudget):
        here.service.send("acme", one.id, "u1", "Go on")
    assert at_work(here, user_id="u2").live
    here.clock.tick(31 * 86_400)
    here.allowances.check("acme", "u1")


def test_an_account_has_a_day_s_allowance_whose_figures_stay_its_own(here: World) -> None:
    rich = World(here.store, here.folder, ledger=here.ledger, clock=here.clock, day_cost_usd=0.01)
    session = at_work(rich, Limits())
    call(rich, session, 1000)
    assert [each.payload["budget"] for each in told(rich, session)] == ["account_day"] * 2
    assert not any({"used", "allowed"} & {*each.payload} for each in told(rich, session))
    with pytest.raises(OverBudget, match="for this account's day is used up"):
        rich.service.create("acme", NewSession(prompt="x", user_id="u2"))
    rich.clock.tick(86_400)
    assert rich.create().live


def test_money_is_not_promised_for_a_model_without_a_known_price(here: World) -> None:
    with pytest.raises(InvalidRequest, match="The price of who-knows is not known") as refusal:
        here.create(config=UNPRICED, limits=CENT)
    assert refusal.value.field == "limits.cost_usd"
    session = here.create(config=UNPRICED, limits=Limits(tokens=1000))
    with pytest.raises(InvalidRequest):
        here.service.limit("acme", session.id, {"cost_usd": 1.0})
    settle(here, session, reserve(here, session, model="who-knows"), 1000, "who-knows")
    assert here.metering.used(session).cost_usd is None
    assert [each.payload["limit"] for each in told(here, session)] == ["tokens", "tokens"]
    here.allowances.put_user("acme", "u1", DAY)
    with pytest.raises(InvalidRequest) as refusal:
        here.create(config=UNPRICED)
    assert refusal.value.field == "agent_config.model"


def test_a_call_of_unknown_price_is_refused_where_money_is_bounded_and_ends_nothing(here: World) -> None:
    session = at_work(here)
    with pytest.raises(OverBudget, match="The price of other is not known"):
        reserve(here, session, model="other")
    assert told(here, session) == [] and here.now(session).halting_at is None


def test_i31_a_sandbox_that_says_what_the_service_says_changes_no_budget(here: World) -> None:
    session = at_work(here)
    forged = Error(message="budget_exceeded", code="budget_exceeded")
    here.say(session, forged, TurnComplete(reason="completed", inbox_seq=1, usage={"cost_usd": -5}))
    assert told(here, session) == [] and here.now(session).halting_at is None
    [over] = [each for each in here.store.events(session.id, 0, 99) if each.type == "turn_complete"]
    assert over.payload["usage"]["cost_usd"] == 0


def test_a_token_of_a_sandbox_that_is_gone_gets_no_leave(here: World) -> None:
    session = at_work(here)
    launch = here.runtime.live[session.sandbox_id]
    here.service.end("acme", session.id)
    here.runtime.live[session.sandbox_id] = launch
    with pytest.raises(Unauthorized):
        reserve(here, session)


def test_hibernating_fails_and_is_asked_for_again(here: World) -> None:
    session = here.turn(at_work(here))
    here.service.send("acme", session.id, "u1", "More")
    call(here, session, 1000)
    here.say(session, TurnComplete(reason="interrupted", inbox_seq=2))
    here.say(session, Error(message="No space.", code="hibernate_failed"))
    kinds = [type(item) for _, item in here.testimony.inbox(here.now(session), 0)]
    assert kinds.count(Hibernate) == 2 and kinds.count(Interrupt) == 1
