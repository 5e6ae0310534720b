"""How sessions fall asleep, what of them is kept, and who wakes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opensessions import tokens
from opensessions.errors import Conflict, RateLimited, Unauthorized
from opensessions.events import Assign, Error, Hibernate, Message, SandboxReady, TurnComplete, TurnStarted
from opensessions.keeping import place
from opensessions.models import Limits, SandboxStatus, Session, Status
from opensessions.service import Quota
from opensessions.supervisor import MOST_LOSSES
from tests.fakes import World, archived, changed, commit, world

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


@pytest.mark.parametrize(
    ("made", "kept", "needed"),
    [
        ("l", [0], [0]),
        ("f", [0], [0]),
        ("lll", [1, 2], [2]),
        ("lf", [0, 1], [1]),
        ("fl", [0, 1], [0, 1]),
        ("flll", [0, 2, 3], [0, 3]),
        ("fff", [1, 2], [2]),
        ("fflll", [1, 3, 4], [1, 4]),
        ("flf", [1, 2], [2]),
    ],
)
def test_the_newest_two_archives_are_kept_and_the_newest_full_one(
    here: World, made: str, kept: list[int], needed: list[int]
) -> None:
    session = here.turn(here.create())
    ids = [f"{n:032x}" for n in range(len(made))]
    for kind, archive_id in zip(made, ids, strict=True):
        here.pack(session, {"l": "light", "f": "full"}[kind], archive_id)
    assert [archive_id for _, archive_id in here.kept(session)] == [ids[n] for n in kept]
    beginning = here.keeper.beginning(here.now(session))
    assert [source.id for source in beginning.sources] == [ids[n] for n in needed]
    assert (beginning.commit, beginning.claude_session_id, beginning.fresh) == (None, "c1", False)


def test_what_was_begun_and_never_finished_is_thrown_away(here: World) -> None:
    session = here.turn(here.create())
    orphan = place(session.id, OTHER)
    here.blobs.put(f"{orphan}/0", b"half")
    here.pack(session)
    assert here.blobs.names(orphan) == []
    here.sleep(session)
    here.blobs.put(f"{orphan}/0", b"half")
    here.clock.tick(61)
    here.supervisor.sweep()
    assert here.blobs.names(orphan) == []
    assert len(here.kept(session)) == 2


def test_an_archive_that_is_begun_meanwhile_is_left_alone(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = here.turn(here.create())
    commits = here.store.commit

    def and_on(*args: Any, **more: Any) -> Session:
        saved = commits(*args, **more)
        here.blobs.put(f"{place(session.id, OTHER)}/0", b"next")
        return saved

    with monkeypatch.context() as patched:
        patched.setattr(here.store, "commit", and_on)
        here.pack(session)
    assert here.blobs.size(f"{place(session.id, OTHER)}/0") == 4


def test_one_that_is_woken_under_the_sweep_keeps_all(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = here.sleep(here.turn(here.create()))
    stop = here.runtime.stop

    def and_wake(sandbox_id: str) -> None:
        stop(sandbox_id)
        monkeypatch.undo()
        here.keep_turn(here.service.send("acme", session.id, "u1", "Wake up"))

    monkeypatch.setattr(here.runtime, "stop", and_wake)
    here.clock.tick(61)
    here.supervisor.sweep()
    assert [kind for kind, _ in here.kept(session)] == ["full", "light"]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"turns": [changed(number=1)], "commit": commit(1)}, 1),
        ({"turns": [changed(number=1), changed(number=2)], "commit": commit(2)}, 2),
        ({"turns": [changed()]}, None),
        ({"commit": commit(1)}, None),
        ({"kind": "full", "inbox_seq": 1}, None),
    ],
)
def test_an_archive_that_is_told_again_changes_nothing(
    here: World, said: dict[str, Any], answer: int | None
) -> None:
    session = here.keep_turn(here.create())
    answer = answer and answer + 1
    kept = here.pack(session, archive_id=OTHER, **said)
    assert (kept.version, kept.stop) == (answer, False)
    once = here.now(session)
    assert here.pack(session, archive_id=OTHER, **said) == kept
    assert here.now(session) == once


def test_the_archive_of_bedtime_is_the_last_word(here: World) -> None:
    session = here.turn(here.create())
    token = here.token(session)
    asleep = here.sleep(session)
    with pytest.raises(Unauthorized):
        here.testimony.archived(token, asleep.archives[-1].id, archived("full", inbox_seq=2))
    assert here.now(session) == asleep


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("0", {}),
        ("256", {}),
        (None, {"parts": archived().parts * 2}),
        (None, {"parts": [archived().listing]}),
        (None, {"bytes": 2_000_000_001}),
    ],
)
def test_a_partial_or_too_large_archive_is_none(
    here: World, missing: str | None, said: dict[str, Any]
) -> None:
    session = here.keep_turn(here.create())
    here.service.hibernate("acme", session.id)
    before, kept = here.now(session), here.kept(session)
    put = here.blobs.put
    here.blobs.put = lambda key, data: None if key.endswith(f"/{missing}") else put(key, data)  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        here.fall_asleep(session, **said)
    here.blobs.put = put  # type: ignore[method-assign]
    assert here.now(session) == before
    assert here.fall_asleep(session).archives[0].id == kept[0][1]
    assert len(here.kept(session)) == 2


def test_nobody_elses_archive_is_taken(here: World) -> None:
    session, dead = here.turn(here.create()), here.create()
    mine, theirs = here.token(session), here.token(dead)
    here.service.end("acme", dead.id)
    for token in ("", "osw_x", theirs, mine[:-64] + "0" * 64, tokens.derived_token(mine, "egress")):
        with pytest.raises(Unauthorized):
            here.testimony.archived(token, OTHER, archived())
    assert here.now(session).archives == ()


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
