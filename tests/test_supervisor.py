"""Deadlines, lost sandboxes, and crashes between any two calls."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opensessions.events import SandboxReady, TurnStarted
from opensessions.models import NewSession, SandboxStatus, Session, Status
from opensessions.ports import Ended
from tests.fakes import World, world

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


def test_a_sandbox_that_never_starts(here: World) -> None:
    session = here.create()
    here.clock.tick(101)
    here.supervisor.sweep()
    assert here.now(session).head.status is Status.ERROR
    assert "did not start" in here.store.events(session.id, 2, 9)[-1].payload["message"]
    assert here.runtime.live == {}


def test_the_longest_launch_under_way(here: World) -> None:
    assert here.supervisor.waiting() == 0
    first = here.create()
    here.clock.tick(30)
    here.create()
    assert here.supervisor.waiting() == 30
    here.say(first, SandboxReady())
    assert here.supervisor.waiting() == 0
    here.clock.tick(5)
    assert here.supervisor.waiting() == 5


def test_i39_a_sandbox_that_falls_silent(here: World) -> None:
    session = here.create()
    here.say(session, SandboxReady())
    here.clock.tick(50)
    here.say(session, TurnStarted())
    here.clock.tick(50)
    here.supervisor.sweep()
    assert here.now(session).head.status is Status.RUNNING
    here.clock.tick(61)
    here.supervisor.sweep()
    assert here.now(session).head.status is Status.ERROR
    assert here.runtime.live == {}


def test_i40_a_heartbeat_does_not_outlive_the_lifetime(here: World) -> None:
    session = here.create()
    for _ in range(80):
        here.say(session)
        here.clock.tick(45.5)
        here.supervisor.sweep()
        if not here.now(session).live:
            break
    assert "lifetime" in here.store.events(session.id, 2, 99)[-1].payload["message"]


def test_a_lost_sandbox_is_noticed_by_the_sweep(here: World) -> None:
    session = here.create()
    here.runtime.live.clear()
    here.supervisor.sweep(FOREVER)
    failed = here.now(session)
    assert (failed.head.status, failed.head.sandbox_status) == (Status.ERROR, SandboxStatus.STOPPED)
    here.supervisor.sweep(FOREVER)
    assert here.now(session).due_at is None
    assert here.store.due(FOREVER, 10) == []


def test_late_and_foreign_reports_change_nothing(here: World) -> None:
    session = here.create()
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "Killed.")
    again = here.service.send("acme", session.id, "u1", "Again")
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "Killed, told late.")
    here.supervisor.sandbox_stopped("sb-" + "0" * 32, 1, "Unknown.")
    assert here.now(session).head == again.head


def test_an_end_that_nobody_reported_is_heard_of_by_the_next_sweep(here: World) -> None:
    session, other = here.create(), here.create()
    here.runtime.live.pop(session.sandbox_id)
    here.runtime.ends = [
        Ended(other.sandbox_id, other.launch + 1, "Another's."),
        Ended("sb-" + "0" * 32, 1, "Unknown."),
        Ended(session.sandbox_id, session.launch, "It ran out of its memory."),
    ]
    for _ in range(2):
        here.supervisor.sweep()
    failed = here.now(session)
    assert (failed.head.status, here.types(session).count("error")) == (Status.ERROR, 1)
    assert "out of its memory" in here.store.latest_events(session.id, 1)[0].payload["message"]
    assert here.now(other) == other


def test_an_end_that_cannot_be_acted_on_holds_up_no_other(here: World) -> None:
    first, second = here.create(), here.create()
    here.runtime.ends = [Ended(each.sandbox_id, 1, "Gone.") for each in (first, second)]
    find = here.store.find

    def failing(sandbox_id: str) -> Session | None:
        if sandbox_id == first.sandbox_id:
            raise OSError("no answer")
        return find(sandbox_id)

    here.store.find = failing  # type: ignore[method-assign]
    here.supervisor.sweep()
    assert [here.now(each).head.status for each in (first, second)] == [Status.RUNNING, Status.ERROR]


class Crash(Exception):
    """The process dies here."""


class Crashing:
    """Passes calls on to `inner`, and dies before or after the `nth` of the named ones."""

    def __init__(self, inner: Any, names: set[str], nth: int, after: bool) -> None:
        self.inner, self.names, self.left, self.after = inner, names, nth, after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.inner, name)
        if name not in self.names:
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Crash
            result = real(*args, **kwargs)
            if self.left == 0:
                raise Crash
            return result

        return call


def scenario(here: World, created: Callable[[Session], None] = lambda session: None) -> None:
    session = here.service.create("acme", NewSession(prompt="x", user_id="u1"), "key")
    here.turn(session)
    here.service.send("acme", session.id, "u1", "more", "key2")
    here.turn(session)
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "Gone.")
    here.service.send("acme", session.id, "u1", "again", "key3")
    here.service.end("acme", session.id)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", range(1, 13))
def test_a_crash_between_any_two_calls_is_mended(tmp_path: Path, nth: int, after: bool) -> None:
    here = world(tmp_path)
    calls = Crashing(here.store, {"commit"}, nth, after)
    runs = Crashing(here.runtime, {"launch", "stop"}, max(nth - 6, 0), after)
    broken = World(calls, tmp_path, runtime=runs, clock=here.clock)  # type: ignore[arg-type]
    with pytest.raises(Crash):
        scenario(broken)
        raise Crash
    for _ in range(3):
        here.clock.tick(4000)
        here.supervisor.sweep()
    for session in here.service.page("acme", None, None, 10, None).sessions:
        assert not session.live, "a session that nobody runs must not count as live"
        assert session.due_at is None
        seqs = [event.seq for event in here.store.events(session.id, 0, 100)]
        assert seqs == list(range(1, session.head.last_seq + 1))
    assert here.runtime.live == {}
    session = here.service.create("acme", NewSession(prompt="x", user_id="u1"), "key")
    if session.head.status is not Status.ENDED:
        here.service.end("acme", session.id)
    assert len(here.service.page("acme", None, None, 10, None).sessions) == 1
    for _ in range(3):
        here.create()


def test_the_trouble_of_one_session_does_not_keep_the_sweep_from_the_others(here: World) -> None:
    first, second = here.create(), here.create()
    stop = here.runtime.stop

    def failing(sandbox_id: str) -> None:
        if sandbox_id == first.sandbox_id:
            raise OSError("no answer")
        stop(sandbox_id)

    here.runtime.stop = failing  # type: ignore[method-assign]
    here.clock.tick(101)
    here.supervisor.sweep()
    assert here.now(second).head.status is Status.ERROR
    assert list(here.runtime.live) == [first.sandbox_id]
    here.runtime.stop = stop  # type: ignore[method-assign]
    here.clock.tick(61)
    here.supervisor.sweep()
    assert here.runtime.live == {}
