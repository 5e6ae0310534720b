"""A runtime without capacity: the session waits, says so, and either starts after all or says why not."""

from opensessions.events import SandboxReady
from opensessions.models import SandboxStatus, Status
from opensessions.supervisor import PATIENCE
from tests.fakes import World


def test_a_launch_that_finds_no_capacity_is_tried_again_later(here: World) -> None:
    here.runtime.lack = 3
    session = here.create()
    assert (session.head.status, session.head.sandbox_status) == (Status.RUNNING, SandboxStatus.STARTING)
    for attempt in (1, 2, 3):
        sandbox_id, launch, tried, seconds = here.put_off.pop()
        assert (sandbox_id, tried, seconds) == (session.sandbox_id, attempt, PATIENCE[attempt - 1])
        here.supervisor.relaunch(sandbox_id, launch, tried)
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
        here.supervisor.relaunch(*here.put_off.pop()[:3])
    now = here.now(session)
    assert (now.head.status, now.live) == (Status.ERROR, False)
    assert here.store.events(session.id, 0, 99)[-1].payload["code"] == "launch_failed"
    assert here.runtime.lack == 99 - 1 - len(PATIENCE)


def test_a_retry_that_comes_late_twice_or_after_the_end_changes_nothing(here: World) -> None:
    here.runtime.lack = 1
    session = here.create()
    put_off = here.put_off.pop()[:3]
    here.supervisor.relaunch(*put_off)
    begun = here.now(session)
    here.supervisor.relaunch(*put_off)
    assert here.now(session) == begun
    here.runtime.lack = 1
    other = here.create()
    here.service.end("acme", other.id)
    here.supervisor.relaunch(*here.put_off.pop()[:3])
    assert here.now(other).head.status is Status.ENDED
    assert len(here.runtime.launches) == 1


def test_a_retry_that_got_lost_is_missed_by_the_deadline(here: World) -> None:
    here.runtime.lack = 1
    session = here.create()
    here.clock.tick(101)
    here.supervisor.sweep()
    assert here.now(session).head.status is Status.ERROR


def test_what_runs_for_no_live_session_is_reaped(here: World) -> None:
    kept, ended = here.create(), here.create()
    launches = dict(here.runtime.live)
    here.service.end("acme", ended.id)
    here.runtime.live = launches | {"sb-" + "0" * 32: launches[kept.sandbox_id]}
    assert sorted(here.supervisor.reap()) == sorted([ended.sandbox_id, "sb-" + "0" * 32])
    assert list(here.runtime.live) == [kept.sandbox_id]
    assert here.supervisor.reap() == []
