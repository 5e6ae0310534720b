"""Deadlines, and sandboxes that are lost."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from opensessions.events import Assign, Interrupt, Message, Restore, Restored, SandboxReady, TurnStarted
from opensessions.models import Limits, SandboxStatus, Session, Status
from opensessions.ports import Ended
from opensessions.sessions.supervisor import MOST_LOSSES
from tests.fakes import World

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


def unstarted(here: World, session: Session) -> None:
    here.clock.tick(101)
    here.supervisor.sweep()


def silent(here: World, session: Session) -> None:
    here.say(session, SandboxReady())
    here.clock.tick(61)
    here.supervisor.sweep()


def old(here: World, session: Session) -> None:
    while here.runtime.live:
        here.say(session)
        here.clock.tick(45.5)
        here.supervisor.sweep()


def gone(here: World, session: Session) -> None:
    here.runtime.live.clear()
    here.supervisor.sweep(FOREVER)


def stopped(here: World, session: Session) -> None:
    here.runtime.live.clear()
    here.supervisor.sandbox_stopped(session.sandbox_id, here.now(session).launch, "It was killed.")


LOSSES = [
    (unstarted, "did not start within 100 s"),
    (silent, "no sign of life for 60 s"),
    (old, "its lifetime of 3600 s"),
    (gone, "is gone"),
    (stopped, "It was killed."),
]
Lose = Callable[[World, Session], None]


@pytest.mark.parametrize(("lose", "reason"), LOSSES)
def test_a_sandbox_that_is_lost_at_work_comes_back(here: World, lose: Lose, reason: str) -> None:
    session = here.create("Build a todo app")
    lose(here, session)
    lost = here.now(session)
    assert (lost.head.status, lost.head.sandbox_status) == (Status.RUNNING, SandboxStatus.STARTING)
    assert (lost.losses, lost.tokens, here.runtime.live) == (1, {}, {})
    event = here.store.latest_events(session.id, 1)[0]
    assert (event.type, event.level) == ("sandbox_lost", "warning")
    assert reason in event.payload["message"] and "begins anew" in event.payload["message"]
    assert here.put_off == [(session.sandbox_id, lost.launch, 0)]
    here.catch_up()
    [(_, item)] = here.testimony.inbox(here.now(session), 0)
    assert isinstance(item, Assign)
    assert (item.prompt, item.message_id) == ("Build a todo app", event.payload["message_id"])
    done = here.turn(session)
    assert (done.head.status, done.losses) == (Status.READY, 0)


@pytest.mark.parametrize(("lose", "reason"), LOSSES[1:])
def test_one_that_is_lost_with_nothing_to_do_sleeps(here: World, lose: Lose, reason: str) -> None:
    session = here.keep_turn(here.create(limits=Limits(idle_seconds=None)))
    lose(here, session)
    lost = here.now(session)
    assert (lost.head.status, lost.head.sandbox_status) == (Status.READY, SandboxStatus.HIBERNATED)
    assert (here.runtime.live, here.put_off) == ({}, [])
    event = here.store.latest_events(session.id, 1)[0].payload
    assert reason in event["message"] and "The session sleeps" in event["message"]
    assert (event["version"], "message_id" in event) == (1, False)
    again = here.turn(here.service.send("acme", session.id, "u1", "Go on"))
    assert (again.head.status, again.losses) == (Status.READY, 0)


def test_one_that_never_started_after_a_visit_sleeps_on(here: World) -> None:
    session = here.sleep(here.turn(here.create()))
    here.testimony.wanted(session.id)
    here.catch_up()
    unstarted(here, session)
    assert here.now(session).head.sandbox_status is SandboxStatus.HIBERNATED


@pytest.mark.parametrize(
    ("pack", "words", "version"),
    [
        (lambda here, session: None, "empty, because no turn was over", None),
        (lambda here, session: here.pack(session, "full"), "as they were kept last", None),
        (lambda here, session: here.keep_turn(session), "as they were after version 1", 1),
    ],
)
def test_a_loss_says_what_is_left(here: World, pack: Any, words: str, version: int | None) -> None:
    session = here.create()
    pack(here, session)
    stopped(here, session)
    payload = here.store.latest_events(session.id, 1)[0].payload
    assert words in payload["message"]
    assert payload.get("version") == version


def test_all_that_was_asked_is_asked_again_and_nothing_twice(here: World) -> None:
    session = here.keep_turn(here.create("First"))
    here.say(here.service.send("acme", session.id, "u1", "Second"), TurnStarted())
    here.service.interrupt("acme", session.id)
    here.service.send("acme", session.id, "u1", "Third")
    here.service.send("acme", session.id, "u1", "Fourth")
    for _ in range(2):
        stopped(here, session)
        here.catch_up()
        first, *rest = [item for _, item in here.testimony.inbox(here.now(session), 0)]
        assert isinstance(first, Assign) and first.prompt == "Second"
        assert [turn.content for turn in first.history] == ["First", "Done."]
        assert [item.text for item in rest if isinstance(item, Message)] == ["Third", "Fourth"]
        assert not any(isinstance(item, Interrupt) for item in rest)
    assert here.types(session).count("user_message") == 4
    assert here.turn(session).head.status is Status.READY


def test_a_restore_that_was_cut_short_is_done_again(here: World) -> None:
    session = here.keep_turn(here.create())
    here.service.restore("acme", session.id, 1)
    stopped(here, session)
    here.catch_up()
    now = here.now(session)
    assign, restore = [item for _, item in here.testimony.inbox(now, 0)]
    assert isinstance(assign, Assign) and assign.prompt is None
    assert isinstance(restore, Restore) and restore.version == 1
    here.say(now, Restored(version=1, inbox_seq=now.head.asked_seq))
    assert here.now(session).head.status is Status.READY


def lose_all(here: World, session: Session) -> Session:
    """As many sandboxes in a row as bring a session into `error`."""
    for n in range(MOST_LOSSES + 1):
        assert (here.now(session).losses, here.now(session).live) == (n, True)
        stopped(here, session)
        here.catch_up()
    return here.now(session)


def test_too_many_losses_in_a_row_are_an_error(here: World) -> None:
    session = here.create()
    failed = lose_all(here, session)
    assert (failed.head.status, failed.head.sandbox_status) == (Status.ERROR, SandboxStatus.STOPPED)
    assert (here.runtime.live, here.types(session).count("sandbox_lost")) == ({}, MOST_LOSSES)
    last = here.store.latest_events(session.id, 1)[0]
    assert (last.type, last.level) == ("error", "error")
    assert "3 times in a row" in last.payload["message"]
    here.service.send("acme", session.id, "u1", "Try again")
    assert lose_all(here, session).head.status is Status.ERROR


def test_a_turn_that_is_over_ends_the_row(here: World) -> None:
    session = here.create()
    for _ in range(MOST_LOSSES + 2):
        stopped(here, session)
        here.catch_up()
        here.turn(session)
        here.service.send("acme", session.id, "u1", "More")
    assert here.now(session).head.status is Status.RUNNING


def unanswered(sandbox_id: str) -> None:
    raise OSError("no answer")


def test_what_is_left_of_a_lost_sandbox_is_ended_before_the_next_begins(here: World) -> None:
    session = here.create()
    here.say(session, SandboxReady())
    here.clock.tick(61)
    stop = here.runtime.stop
    here.runtime.stop = unanswered  # type: ignore[method-assign]
    here.supervisor.sweep()
    assert (here.put_off, list(here.runtime.live)) == ([], [session.sandbox_id])
    here.runtime.stop = stop  # type: ignore[method-assign]
    here.clock.tick(61)
    here.supervisor.sweep()
    assert here.runtime.live == {}
    here.catch_up()
    assert (here.runtime.doubled, list(here.runtime.live)) == ([], [session.sandbox_id])


def test_a_comeback_that_got_lost_is_made_good_for_by_the_sweep(here: World) -> None:
    session = here.create()
    stopped(here, session)
    here.put_off.clear()
    here.clock.tick(61)
    here.supervisor.sweep()
    here.catch_up()
    assert here.turn(session).head.status is Status.READY


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


def test_signs_of_life_keep_a_sandbox(here: World) -> None:
    session = here.create()
    here.say(session, SandboxReady())
    here.clock.tick(50)
    here.say(session, TurnStarted())
    here.clock.tick(50)
    here.supervisor.sweep()
    assert (here.now(session).losses, len(here.runtime.live)) == (0, 1)


def test_a_session_in_error_is_watched_no_more(here: World) -> None:
    session = lose_all(here, here.create())
    here.supervisor.sweep(FOREVER)
    assert here.now(session).due_at is None
    assert here.store.due(FOREVER, 10) == []


def test_late_and_foreign_reports_change_nothing(here: World) -> None:
    session = here.create()
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "Killed.")
    here.catch_up()
    again = here.now(session)
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "Killed, told late.")
    here.supervisor.sandbox_stopped("sb-" + "0" * 32, 1, "Unknown.")
    assert (here.now(session), list(here.runtime.live)) == (again, [session.sandbox_id])


def test_two_reports_at_once_are_one_loss(here: World) -> None:
    session = here.create()
    find = here.store.find

    def slow(sandbox_id: str) -> Session | None:
        found, here.store.find = find(sandbox_id), find  # type: ignore[method-assign]
        here.supervisor.sandbox_stopped(sandbox_id, 1, "Killed.")
        here.catch_up()
        return found

    here.store.find = slow  # type: ignore[method-assign]
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "Killed.")
    assert here.types(session).count("sandbox_lost") == 1
    assert list(here.runtime.live) == [session.sandbox_id]


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
    assert (here.now(session).losses, here.types(session).count("sandbox_lost")) == (1, 1)
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
    assert [here.now(each).losses for each in (first, second)] == [0, 1]


def test_the_trouble_of_one_session_does_not_keep_the_sweep_from_the_others(here: World) -> None:
    first, second = here.turn(here.create()), here.turn(here.create())
    stop = here.runtime.stop

    def failing(sandbox_id: str) -> None:
        if sandbox_id == first.sandbox_id:
            raise OSError("no answer")
        stop(sandbox_id)

    here.runtime.stop = failing  # type: ignore[method-assign]
    here.clock.tick(101)
    here.supervisor.sweep()
    assert here.now(second).head.sandbox_status is SandboxStatus.HIBERNATED
    assert list(here.runtime.live) == [first.sandbox_id]
    here.runtime.stop = stop  # type: ignore[method-assign]
    here.clock.tick(61)
    here.supervisor.sweep()
    assert here.runtime.live == {}
