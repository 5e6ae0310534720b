"""A runtime without capacity: the session waits, says so, and either starts after all or says why not."""

from opensessions.events import SandboxReady
from opensessions.models import SandboxStatus, Session, Status
from opensessions.sessions.supervisor import PATIENCE
from tests.fakes import World


def test_a_launch_that_finds_no_capacity_is_tried_again_later(here: World) -> None:
    here.runtime.lack = 3
    session = here.create()
    assert (session.head.status, session.head.sandbox_status) == (Status.RUNNING, SandboxStatus.STARTING)
    for attempt in (1, 2, 3):
        assert here.put_off == [(session.sandbox_id, attempt, PATIENCE[attempt - 1])]
        here.supervisor.relaunch(*here.put_off.pop()[:2])
    assert here.put_off == []
    here.say(session, SandboxReady())
    warnings = [event for event in here.store.events(session.id, 0, 99) if event.level == "warning"]
    assert [event.payload["code"] for event in warnings] == ["no_capacity"] * 3
    assert "tried again in 5 s" in warnings[0].payload["message"]
    assert len(here.runtime.launches) == 1


def test_patience_ends(here: World) -> None:
    here.runtime.lack = 99
    session = here.create()
    while here.put_off:
        here.supervisor.relaunch(*here.put_off.pop()[:2])
    now = here.now(session)
    assert (now.head.status, now.live) == (Status.ERROR, False)
    assert here.store.events(session.id, 0, 99)[-1].payload["code"] == "launch_failed"
    assert here.runtime.lack == 99 - 1 - len(PATIENCE)


def test_a_retry_that_comes_late_twice_or_after_the_end_changes_nothing(here: World) -> None:
    here.runtime.lack = 1
    session = here.create()
    put_off = here.put_off.pop()[:2]
    here.supervisor.relaunch(*put_off)
    begun = here.now(session)
    here.supervisor.relaunch(*put_off)
    assert here.now(session) == begun
    here.runtime.lack = 1
    other = here.create()
    here.service.end("acme", other.id)
    here.supervisor.relaunch(*here.put_off.pop()[:2])
    assert here.now(other).head.status is Status.ENDED
    assert len(here.runtime.launches) == 1


def test_a_retry_that_got_lost_is_missed_by_the_deadline(here: World) -> None:
    here.runtime.lack = 1
    session = here.create()
    here.put_off.clear()
    here.clock.tick(101)
    here.supervisor.sweep()
    lost = here.now(session)
    assert (lost.head.status, lost.losses, lost.lacked) == (Status.RUNNING, 1, ())
    assert here.put_off == [(session.sandbox_id, lost.launch, 0)]
    here.catch_up()
    assert here.turn(session).head.status is Status.READY


def lacking(here: World, session: Session) -> None:
    """It is heard three times that the present launch found no capacity after all."""
    here.runtime.live.clear()
    launch = here.now(session).launch
    for _ in range(3):
        here.supervisor.sandbox_stopped(session.sandbox_id, launch, "There was no capacity.", lacking=True)


def test_capacity_that_is_found_wanting_after_the_launch_is_waited_for_too(here: World) -> None:
    session = here.create()
    for attempt, seconds in enumerate(PATIENCE, 1):
        lacking(here, session)
        assert here.put_off == [(session.sandbox_id, attempt, seconds)]
        assert here.now(session).head.status is Status.RUNNING
        here.supervisor.relaunch(*here.put_off.pop()[:2])
    assert here.types(session).count("error") == len(PATIENCE)
    lacking(here, session)
    assert (here.put_off, here.now(session).head.status) == ([], Status.ERROR)
    assert here.store.events(session.id, 0, 99)[-1].payload["code"] == "launch_failed"
    here.service.send("acme", session.id, "u1", "again")
    lacking(here, session)
    assert [seconds for *_, seconds in here.put_off] == [PATIENCE[0]]


def test_both_kinds_of_want_are_counted_together(here: World) -> None:
    session = here.create()
    lacking(here, session)
    here.runtime.lack = 1
    here.supervisor.relaunch(*here.put_off.pop()[:2])
    assert here.put_off == [(session.sandbox_id, 2, PATIENCE[1])]


def test_a_launch_that_is_put_off_is_not_taken_for_lost(here: World) -> None:
    session = here.create()
    here.clock.tick(50)
    lacking(here, session)
    here.clock.tick(11)
    here.supervisor.sweep()
    assert here.now(session).put_off
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "It ended.")
    here.supervisor.relaunch(*here.put_off.pop()[:2])
    here.say(session, SandboxReady())
    here.supervisor.sandbox_stopped(session.sandbox_id, 2, "Its machine is gone.", lacking=True)
    assert (here.now(session).losses, here.now(session).lacked) == (1, ())


def test_a_comeback_and_a_wake_have_patience_of_their_own(here: World) -> None:
    session = here.create()
    lacking(here, session)
    here.catch_up()
    here.supervisor.sandbox_stopped(session.sandbox_id, 2, "It was killed.")
    here.runtime.lack = 1
    here.supervisor.relaunch(*here.put_off.pop()[:2])
    assert [seconds for *_, seconds in here.put_off] == [PATIENCE[0]]
    here.catch_up()
    here.sleep(here.turn(session))
    here.runtime.lack = 99
    here.testimony.wanted(session.id)
    here.catch_up()
    failed = here.now(session)
    assert (failed.head.status, failed.live, here.runtime.lack) == (Status.ERROR, False, 98 - len(PATIENCE))


def test_what_runs_for_no_live_session_is_reaped(here: World) -> None:
    kept, ended = here.create(), here.create()
    launches = dict(here.runtime.live)
    here.service.end("acme", ended.id)
    here.runtime.live = launches | {"sb-" + "0" * 32: launches[kept.sandbox_id]}
    assert sorted(here.supervisor.reap()) == sorted([ended.sandbox_id, "sb-" + "0" * 32])
    assert list(here.runtime.live) == [kept.sandbox_id]
    assert here.supervisor.reap() == []
