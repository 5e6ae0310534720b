"""How sessions fall asleep, and who wakes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opensessions.errors import Conflict, RateLimited
from opensessions.events import Assign, Error, Hibernate, Message, SandboxReady, TurnComplete, TurnStarted
from opensessions.models import Limits, SandboxStatus, Session, Status
from opensessions.sessions.service import Quota
from opensessions.sessions.supervisor import MOST_LOSSES
from tests.fakes import World, world

OTHER = "f" * 32


def bedtimes(here: World, session: Session) -> int:
    """How often the sandbox was told to make ready for sleep."""
    return sum(isinstance(item, Hibernate) for _, item in here.store.inbox(session.sandbox_id, 0, 100))


def wait(here: World, session: Session, seconds: int) -> Session:
    """Time passes; the sandbox is there, and nothing else happens."""
    for _ in range(seconds // 30):
        here.clock.tick(30)
        here.say(session)
        here.supervisor.sweep()
    return here.now(session)


@pytest.mark.parametrize(("limit", "before", "after"), [(600, 570, 660), (60, 60, 120), (1800, 1770, 1860)])
def test_a_session_that_nobody_uses_is_told_once(here: World, limit: int, before: int, after: int) -> None:
    session = here.turn(here.create(limits=Limits(idle_seconds=limit)))
    wait(here, session, before)
    assert bedtimes(here, session) == 0
    told = wait(here, session, after - before)
    assert (bedtimes(here, session), told.hibernating) == (1, told.head.inbox_seq)
    wait(here, session, 300)
    assert bedtimes(here, session) == 1
    assert here.fall_asleep(session).head.sandbox_status is SandboxStatus.HIBERNATED


@pytest.mark.parametrize("idle_seconds", [None, 600])
def test_what_is_to_stay_awake_or_works_does(here: World, idle_seconds: int | None) -> None:
    session = here.create(limits=Limits(idle_seconds=idle_seconds))
    if idle_seconds is None:
        here.turn(session)
    else:
        here.say(session, SandboxReady(), TurnStarted())
    assert wait(here, session, 3000).live
    assert bedtimes(here, session) == 0


def test_a_session_in_error_sleeps_too_and_stays_one(here: World) -> None:
    session = here.create()
    here.say(session, SandboxReady(), TurnComplete(reason="error", inbox_seq=1))
    wait(here, session, 660)
    asleep = here.fall_asleep(session)
    assert (asleep.head.status, asleep.head.sandbox_status) == (Status.ERROR, SandboxStatus.HIBERNATED)
    here.testimony.wanted(session.id)
    here.catch_up()
    here.say(session, SandboxReady())
    assert here.now(session).head.status is Status.ERROR
    here.service.send("acme", session.id, "u1", "Try again")
    assert here.turn(session).head.status is Status.READY


def test_asleep_it_costs_nothing_for_as_long_as_it_takes(tmp_path: Path) -> None:
    here = world(tmp_path, quota=Quota(live=1, creates=9))
    session = here.keep_turn(here.create())
    token = here.token(session)
    asleep = here.sleep(session)
    assert (asleep.head.status, asleep.head.sandbox_status) == (Status.READY, SandboxStatus.HIBERNATED)
    assert (asleep.tokens, asleep.hibernating, here.types(session)[-1]) == ({}, None, "hibernated")
    assert here.testimony.identify(token, "worker") is None
    other = here.create()
    here.service.end("acme", other.id)
    for _ in range(48):
        here.clock.tick(3600)
        here.supervisor.sweep()
    assert here.now(session).due_at is None
    assert here.now(session).model_copy(update={"due_at": None, "head": asleep.head}) == asleep.model_copy(
        update={"due_at": None}
    )
    here.testimony.wanted(session.id)
    here.catch_up()
    here.say(session, SandboxReady())
    assert (here.now(session).head.status, here.now(session).sandbox_id) == (Status.READY, session.sandbox_id)
    here.store.close()  # type: ignore[attr-defined]


def test_a_sandbox_that_does_not_go_when_it_is_told_to_is_ended(here: World) -> None:
    session = here.turn(here.create())
    still = dict(here.runtime.live)
    here.sleep(session)
    here.runtime.live = still
    here.clock.tick(61)
    here.supervisor.sweep()
    assert here.runtime.live == {}


def message(here: World, session: Session) -> None:
    assert here.service.send("acme", session.id, "u1", "One more thing").hibernating is None


def restore(here: World, session: Session) -> None:
    assert here.service.restore("acme", session.id, 1).hibernating is None


def template(here: World, session: Session) -> None:
    here.service.templates.create(here.now(session), "Vite")


@pytest.mark.parametrize("happens", [message, restore, template])
def test_what_happens_in_between_cancels_the_sleep(
    here: World, happens: Callable[[World, Session], None]
) -> None:
    session = here.keep_turn(here.create())
    asked = here.service.hibernate("acme", session.id).hibernating
    happens(here, session)
    kept = here.pack(session, "full", inbox_seq=asked)
    now = here.now(session)
    assert (kept.stop, now.live, now.hibernating, now.archives[-1].kind) == (False, True, None, "full")
    assert "hibernated" not in here.types(session)
    here.turn(session)
    assert here.sleep(session).head.sandbox_status is SandboxStatus.HIBERNATED


@pytest.mark.parametrize("said", [{"inbox_seq": 0}, {"inbox_seq": 1}, {"kind": "light", "inbox_seq": 2}])
def test_only_the_archive_that_was_asked_for_is_the_last(here: World, said: dict[str, Any]) -> None:
    session = here.turn(here.create())
    assert here.service.hibernate("acme", session.id).hibernating == 2
    assert not here.pack(session, **{"kind": "full", **said}).stop
    assert here.now(session).live


def test_a_sandbox_that_cannot_pack_goes_on_and_is_told_again_later(here: World) -> None:
    session = here.turn(here.create())
    wait(here, session, 660)
    here.say(session, Error(message="The disk is full.", code="hibernate_failed"))
    assert here.now(session).hibernating is None
    assert (here.now(session).live, here.types(session)[-1]) == (True, "error")
    wait(here, session, 660)
    assert bedtimes(here, session) == 2


def test_one_that_does_not_answer_is_told_again(here: World) -> None:
    session = here.turn(here.create())
    wait(here, session, 660)
    assert bedtimes(here, session) == 1
    wait(here, session, 1020)
    assert bedtimes(here, session) == 2
    assert here.fall_asleep(session).head.sandbox_status is SandboxStatus.HIBERNATED


@pytest.mark.parametrize("event", ["visit", "message"])
def test_somebody_wakes_it(here: World, event: str) -> None:
    session = here.sleep(here.keep_turn(here.create(), claude_session_id="c7"))
    archive = session.archives[-1].id
    if event == "visit":
        here.testimony.wanted(session.id)
        here.catch_up()
    else:
        here.service.send("acme", session.id, "u1", "Go on")
    [(_, item)] = here.testimony.inbox(here.now(session), 0)
    assert isinstance(item, Assign)
    assert item.prompt == (None if event == "visit" else "Go on")
    assert ([source.id for source in item.beginning.sources], item.beginning.fresh) == ([archive], False)
    woken = next(e for e in here.store.events(session.id, 0, 99) if e.type == "woken")
    assert woken.payload["reason"] == ("preview" if event == "visit" else "message")
    status = Status.READY if event == "visit" else Status.RUNNING
    assert (here.now(session).head.status, here.now(session).sandbox_id) == (status, session.sandbox_id)
    here.say(session, SandboxReady())
    assert here.now(session).head.sandbox_status is SandboxStatus.RUNNING
    assert here.now(session).head.status is status


def test_what_is_awake_or_over_or_unknown_is_not_woken(here: World) -> None:
    working, ready, over = here.create(), here.turn(here.create()), here.create()
    here.service.end("acme", over.id)
    for _ in range(MOST_LOSSES + 1):
        here.supervisor.sandbox_stopped(working.sandbox_id, here.now(working).launch, "Gone.")
        here.catch_up()
    assert here.now(working).head.status is Status.ERROR
    before = [here.now(each) for each in (working, ready, over)]
    for each in (*before, working.model_copy(update={"id": f"session_{'0' * 32}"})):
        here.testimony.wanted(each.id)
    assert [here.now(each) for each in (working, ready, over)] == before
    assert here.put_off == []


def test_many_visitors_wake_it_once(here: World) -> None:
    session = here.sleep(here.turn(here.create()))
    for _ in range(5):
        here.testimony.wanted(session.id)
    assert len(here.put_off) == 1 and here.types(session).count("woken") == 1
    again = here.put_off[0]
    here.catch_up()
    here.supervisor.relaunch(*again[:2])
    assert len(here.runtime.launches) == 2
    here.testimony.wanted(session.id)
    assert here.put_off == []


def test_a_wake_that_got_lost_is_made_good_for_by_the_sweep(here: World) -> None:
    session = here.sleep(here.turn(here.create()))
    here.testimony.wanted(session.id)
    here.put_off.clear()
    here.clock.tick(60)
    here.supervisor.sweep()
    here.catch_up()
    here.say(session, SandboxReady())
    assert here.now(session).head.sandbox_status is SandboxStatus.RUNNING


def test_a_message_to_one_that_wakes_waits_for_it(here: World) -> None:
    session = here.sleep(here.turn(here.create()))
    here.testimony.wanted(session.id)
    here.service.send("acme", session.id, "u1", "Go on")
    here.catch_up()
    items = [item for _, item in here.testimony.inbox(here.now(session), 0)]
    assert [type(item) for item in items] == [Assign, Message]
    assert len(here.runtime.launches) == 2
    assert here.turn(session).head.status is Status.READY


def test_over_the_quota_nothing_wakes(tmp_path: Path) -> None:
    here = world(tmp_path, quota=Quota(live=1, creates=9))
    session = here.sleep(here.turn(here.create()))
    other = here.create()
    with pytest.raises(RateLimited):
        here.testimony.wanted(session.id)
    with pytest.raises(RateLimited):
        here.service.send("acme", session.id, "u1", "Go on")
    assert here.now(session) == session
    here.service.end("acme", other.id)
    here.testimony.wanted(session.id)
    assert here.now(session).live
    here.store.close()  # type: ignore[attr-defined]


def test_what_is_used_stays_awake(here: World) -> None:
    session = here.turn(here.create())
    for _ in range(3):
        wait(here, session, 540)
        here.testimony.used([f"session_{'0' * 32}", session.id])
    assert bedtimes(here, session) == 0
    wait(here, session, 660)
    assert bedtimes(here, session) == 1


def test_use_is_written_sparingly_and_only_of_what_is_awake(here: World) -> None:
    session = here.turn(here.create())
    here.clock.tick(31)
    here.testimony.used([session.id])
    once = here.now(session)
    here.clock.tick(30)
    here.testimony.used([session.id] * 100)
    assert (here.now(session), once.head.rev) == (once, once.head.rev)
    here.service.hibernate("acme", session.id)
    here.clock.tick(50)
    told = here.now(session)
    here.testimony.used([session.id])
    assert here.now(session) == told
    asleep = here.fall_asleep(session)
    here.testimony.used([session.id])
    assert here.now(session) == asleep


def test_told_by_a_call(here: World) -> None:
    session = here.turn(here.create(limits=Limits(idle_seconds=None)))
    for _ in range(3):
        here.service.hibernate("acme", session.id)
    assert bedtimes(here, session) == 1
    asleep = here.fall_asleep(session)
    assert here.service.hibernate("acme", session.id) == asleep == here.now(session)


def started(here: World, session: Session) -> None:
    here.say(session, SandboxReady())


def waking(here: World, session: Session) -> None:
    here.sleep(here.turn(session))
    here.testimony.wanted(session.id)


def broken(here: World, session: Session) -> None:
    here.runtime.refuse = "No room."
    here.sleep(here.turn(session))
    here.service.send("acme", session.id, "u1", "Go on")


@pytest.mark.parametrize(
    ("reach", "words"),
    [
        (lambda here, session: None, "at work"),
        (started, "at work"),
        (waking, "waking up"),
        (broken, "no sandbox"),
    ],
)
def test_what_cannot_sleep_says_why(here: World, reach: Callable[[World, Session], None], words: str) -> None:
    session = here.create()
    reach(here, session)
    before = here.now(session)
    with pytest.raises(Conflict, match=words):
        here.service.hibernate("acme", session.id)
    assert here.now(session) == before
