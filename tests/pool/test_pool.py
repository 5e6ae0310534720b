"""The warm pool: who gets a spare, what becomes of those that nobody gets, and that nothing is left over."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opensessions.access.tokens import boot_ticket
from opensessions.errors import EventGap, Unauthorized
from opensessions.events import Ack, EventBatch, SandboxReady, TurnComplete
from opensessions.models import Limits, NewSession, Origin, SandboxStatus, Session, Status
from opensessions.pool.pooling import AGE, FIRST_WORD_SECONDS
from opensessions.pool.spares import Spare
from opensessions.sessions.service import Quota
from tests.fakes import FakeRuntime, World, world

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
NONCE, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def warm(tmp_path: Path) -> Any:
    made = world(tmp_path, warm_pool=2, quota=Quota(live=300, creates=300))
    yield made
    made.store.close()  # type: ignore[attr-defined]


def ready(here: World) -> list[Spare]:
    """The pool is filled, and each of its sandboxes says that it waits."""
    here.supervisor.pool.fill()
    for spare in here.spares.all():
        if spare.state == "starting":
            here.testimony.record_events(
                secret(here, spare), EventBatch(first_seq=1, events=[SandboxReady()])
            )
            here.testimony.record_events(secret(here, spare), EventBatch(first_seq=2, state="idle"))
    return here.spares.all()


def secret(here: World, spare: Spare) -> str:
    return here.runtime.live[spare.sandbox_id].token


def all_is_well(here: World, size: int = 2) -> None:
    """What runs is what the pool holds and live sessions want, each once."""
    here.supervisor.sweep(FOREVER)
    here.catch_up()
    here.supervisor.pool.fill()
    here.supervisor.reap()
    spares = [spare.sandbox_id for spare in here.spares.all()]
    sessions = [here.store.get(id) for id in here.store.due(FOREVER, 1000)]
    wanted = [session.sandbox_id for session in sessions if session and session.live]
    assert len(spares) == size
    assert sorted(here.runtime.live) == sorted(spares + wanted)


def test_a_session_takes_a_spare_and_goes_on_from_what_it_said(warm: World) -> None:
    spares, launched = ready(warm), len(warm.runtime.launches)
    token = {spare.sandbox_id: secret(warm, spare) for spare in spares}
    session = warm.create()
    assert session.sandbox_id in token and len(warm.runtime.launches) == launched
    assert session.head.sandbox_status is SandboxStatus.STARTING
    assert warm.types(session) == ["session_started", "user_message", "sandbox_ready"]
    assert [spare.sandbox_id for spare in warm.spares.all()] == list(token.keys() - {session.sandbox_id})
    assert session.sandbox_id in warm.woken, "its inbox hears of it at once"
    assert len(warm.refills) > 0
    known = warm.testimony.identify(token[session.sandbox_id], "worker")
    assert known == session and known.launched_at == warm.clock.now
    [(_, assign)] = warm.testimony.inbox(session, 0)
    assert assign.type == "assign" and assign.prompt == "Build a todo app"
    with pytest.raises(EventGap):
        warm.say(session, SandboxReady(), first=3)
    assert warm.turn(session).head.status is Status.READY
    all_is_well(warm)


def test_nothing_that_a_spare_says_is_kept(warm: World) -> None:
    spare = ready(warm)[0]
    token = secret(warm, spare)
    said = EventBatch(first_seq=2, events=[SandboxReady(), TurnComplete(reason="completed", inbox_seq=9)])
    assert warm.testimony.record_events(token, said).ack == Ack(acked=3, expected=4)
    assert warm.testimony.record_events(token, said).ack == Ack(acked=3, expected=4)
    with pytest.raises(EventGap):
        warm.testimony.record_events(token, EventBatch(first_seq=9, events=[SandboxReady()]))
    for kind in ("worker", "model", "egress"):
        assert warm.testimony.identify(token, kind) is None
    with pytest.raises(Unauthorized):
        warm.metering.reserve(token, "ab" * 16, "claude-test", 1, 1)
    warm.supervisor.pool.lost(warm.spares.all()[1].sandbox_id)
    session = warm.create()
    assert session.head.agent_seq == 3
    assert warm.types(session) == ["session_started", "user_message", "sandbox_ready"]


def test_two_hundred_at_once_have_a_sandbox_each(tmp_path: Path) -> None:
    here = world(tmp_path, warm_pool=3, quota=Quota(live=300, creates=300))
    spares = {spare.sandbox_id for spare in ready(here)}
    with ThreadPoolExecutor(16) as threads:
        sessions = list(threads.map(lambda n: here.create(f"Build {n}"), range(200)))
    of_session = {session.sandbox_id: here.now(session).id for session in sessions}
    assert len(of_session) == 200 and spares <= of_session.keys()
    assert len(here.runtime.live) == len(here.runtime.launches) == 200 and not here.runtime.doubled
    here.put_off.clear()
    all_is_well(here, size=3)
    here.store.close()  # type: ignore[attr-defined]


def test_without_a_ready_spare_a_session_waits_for_a_launch(warm: World) -> None:
    warm.supervisor.pool.fill()
    session = warm.create()
    assert session.sandbox_id not in {spare.sandbox_id for spare in warm.spares.all()}
    assert not session.pooled and warm.runtime.launches[-1].sandbox_id == session.sandbox_id
    spares = ready(warm)
    parent = warm.keep_turn(warm.create())
    branch = warm.create(origin=Origin(session_id=parent.id))
    assert branch.sandbox_id not in {spare.sandbox_id for spare in spares}, "it begins with files"


def test_of_several_who_fill_the_pool_one_fills_a_slot(warm: World) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: warm.supervisor.pool.fill(), range(24)))
    assert len(warm.spares.all()) == len(warm.runtime.live) == len(warm.runtime.launches) == 2
    warm.supervisor.pool.fill()
    assert len(warm.runtime.launches) == 2


@pytest.mark.parametrize("lack", [True, False])
def test_a_launch_that_is_refused_leaves_no_record(warm: World, lack: bool) -> None:
    warm.runtime.refuse, warm.runtime.lack = "No image.", 2 if lack else 0
    warm.supervisor.pool.fill()
    assert warm.spares.all() == []
    session = warm.create() if lack else None
    assert session is None or session.put_off
    warm.runtime.refuse, warm.runtime.lack = None, 0
    all_is_well(warm)


def test_old_ones_are_replaced_one_by_one(warm: World) -> None:
    before = {spare.sandbox_id for spare in ready(warm)}
    warm.clock.tick(AGE.total_seconds() + 1)
    for left in (1, 0):
        warm.supervisor.sweep()
        warm.supervisor.pool.fill()
        assert len(before & set(warm.runtime.live)) == left
    all_is_well(warm)


def test_other_code_and_a_smaller_pool_replace_all(warm: World) -> None:
    before = {spare.sandbox_id for spare in ready(warm)}
    same: dict[str, Any] = {"store": warm.store, "runtime": warm.runtime, "clock": warm.clock}
    same |= {"folder": warm.folder, "hooks": warm.hooks, "ledger": warm.ledger}
    newer = World(**same, warm_pool=1, fingerprint="newer")
    assert newer.create().sandbox_id not in before, "it must not run the older code"
    newer.supervisor.sweep()
    assert not before & set(newer.runtime.live)
    all_is_well(newer, size=1)
    none = World(**same, warm_pool=0)
    all_is_well(none, size=0)


def test_a_spare_that_ends_is_forgotten_and_replaced(warm: World) -> None:
    one, two = ready(warm)
    warm.runtime.stop(one.sandbox_id)
    warm.supervisor.sandbox_stopped(one.sandbox_id, 1, "It crashed.")
    assert warm.spares.all() == [two]
    warm.runtime.stop(two.sandbox_id)  # and nobody says so
    warm.clock.tick(31)
    warm.supervisor.sweep()
    assert warm.spares.all() == []
    all_is_well(warm)


def test_one_that_ends_as_it_starts_is_not_tried_again_at_once(warm: World) -> None:
    ready(warm)
    warm.refills.clear()
    one, two = warm.spares.all()
    warm.supervisor.sandbox_stopped(one.sandbox_id, 1, "It crashed.")
    assert len(warm.refills) == 1
    warm.runtime.stop(one.sandbox_id)
    warm.supervisor.pool.fill()
    [new] = [spare for spare in warm.spares.all() if spare != two]
    warm.supervisor.sandbox_stopped(new.sandbox_id, 1, "Its image is not there.", refused=True)
    assert len(warm.refills) == 1 and warm.spares.all() == [two]
    warm.runtime.stop(new.sandbox_id)
    warm.supervisor.sweep()
    assert len(warm.refills) == 2
    all_is_well(warm)


def test_a_spare_that_never_becomes_ready_is_replaced(warm: World) -> None:
    warm.supervisor.pool.fill()
    before = set(warm.runtime.live)
    warm.clock.tick(warm.deadlines.start + 1)
    warm.supervisor.sweep()
    assert warm.spares.all() == [] and warm.runtime.live == {}
    all_is_well(warm)
    assert not before & set(warm.runtime.live)


@pytest.mark.parametrize("how", ["it crashes", "it says nothing", "it is gone"])
def test_a_spare_that_is_lost_once_it_was_taken_does_no_harm(warm: World, how: str) -> None:
    ready(warm)
    session = warm.create()
    assert warm.put_off == [(session.sandbox_id, 1, FIRST_WORD_SECONDS)]
    if how == "it crashes":
        warm.runtime.stop(session.sandbox_id)
        warm.supervisor.sandbox_stopped(session.sandbox_id, 1, "It crashed.")
    elif how == "it is gone":
        warm.runtime.stop(session.sandbox_id)
        warm.supervisor.sweep(FOREVER)
    warm.catch_up()
    again = warm.now(session)
    assert again.launch > 1 and (again.losses, again.pooled) == (0, False)
    assert "sandbox_lost" not in warm.types(session) and again.head.status is Status.RUNNING
    assert warm.runtime.live[session.sandbox_id].number == again.launch and not warm.runtime.doubled
    assert [i.prompt for _, i in warm.testimony.inbox(again, 0) if i.type == "assign"] == ["Build a todo app"]
    assert warm.turn(again).head.status is Status.READY
    warm.runtime.stop(session.sandbox_id)
    warm.supervisor.sandbox_stopped(session.sandbox_id, again.launch, "It crashed.")
    assert "sandbox_lost" in warm.types(session)
    all_is_well(warm)


def test_one_that_spoke_is_lost_like_any_other(warm: World) -> None:
    ready(warm)
    session = warm.create()
    warm.say(session)
    warm.catch_up()
    assert warm.now(session).launch == 1, "it has said its first word"
    warm.supervisor.sandbox_stopped(session.sandbox_id, 1, "It crashed.")
    assert warm.now(session).losses == 1 and "sandbox_lost" in warm.types(session)


def test_delete_works_at_every_moment(warm: World) -> None:
    ready(warm)
    session = warm.create()
    assert warm.service.end("acme", session.id).head.status is Status.ENDED
    assert session.sandbox_id not in warm.runtime.live
    warm.catch_up()
    assert session.sandbox_id not in warm.runtime.live
    other = warm.create()
    warm.service.purge("acme", other.id)
    assert other.sandbox_id not in warm.runtime.live and other.sandbox_id not in warm.supervisor.pool.ids()
    all_is_well(warm)


def test_limits_and_the_key_of_the_request_hold_for_a_warm_one(warm: World) -> None:
    ready(warm)
    request = NewSession(prompt="x", user_id="u1", limits=Limits(workspace_bytes=10**6, turn_seconds=60))
    session = warm.service.create("acme", request, "key")
    [(_, assign)] = warm.testimony.inbox(session, 0)
    assert assign.type == "assign" and assign.workspace_bytes == 10**6
    assert warm.service.create("acme", request, "key") == session
    assert len(warm.spares.all()) == 1


def test_a_spare_boots_by_its_ticket(warm: World) -> None:
    warm.supervisor.pool.fill()
    one, two = warm.spares.all()
    ticket, stolen = (boot_ticket(secret(warm, spare)) for spare in (one, two))
    token = warm.testimony.boot(ticket, "10.0.0.7", NONCE)
    assert warm.testimony.boot(ticket, "10.0.0.7", NONCE) == token
    warm.testimony.record_events(token, EventBatch(first_seq=1, state="idle"))
    with pytest.raises(Unauthorized):
        warm.testimony.record_events(secret(warm, one), EventBatch(first_seq=1))
    session = warm.create()
    assert (session.sandbox_id, session.address) == (one.sandbox_id, "10.0.0.7")
    assert warm.testimony.boot(ticket, "10.0.0.7", NONCE) == token, "the answer was lost on its way"
    warm.testimony.boot(stolen, "10.0.0.8", NONCE)
    with pytest.raises(Unauthorized):
        warm.testimony.boot(stolen, "10.0.0.9", OTHER)
    warm.supervisor.reap()
    assert two.sandbox_id not in warm.runtime.live
    with pytest.raises(Unauthorized):
        warm.testimony.boot(ticket, "10.0.0.9", OTHER)
    assert warm.now(session).head.status is Status.ERROR


class Crash(BaseException):
    """The process dies here."""


class Crashing:
    """Passes calls on to `inner`; the process dies before or after the last of those that change a thing."""

    CHANGES = frozenset({"commit", "add", "change", "drop", "launch", "stop"})

    def __init__(self, inner: Any, left: list[int], after: bool) -> None:
        self._inner, self._left, self._after = inner, left, after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._left[0] -= 1
            if not self._left[0] and not self._after:
                raise Crash
            done = real(*args, **kwargs)
            if not self._left[0]:
                raise Crash
            return done

        return call if name in self.CHANGES else real


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", range(1, 10))
def test_a_crash_between_any_two_writes_leaves_nothing_over(tmp_path: Path, nth: int, after: bool) -> None:
    """The pool is filled, a session takes a spare, and all are replaced: the process dies at any call."""
    here = world(tmp_path, warm_pool=2)
    runtime, left = FakeRuntime(), [nth]
    doors: dict[str, Any] = {"store": here.store, "spares": here.spares, "runtime": runtime}
    same: dict[str, Any] = {"folder": here.folder, "clock": here.clock, "hooks": here.hooks}
    crashing: dict[str, Any] = {name: Crashing(door, left, after) for name, door in doors.items()}
    mortal = World(**crashing, **same, ledger=here.ledger, warm_pool=2)
    sessions: list[Session] = []
    try:
        ready_spares = ready(mortal)
        sessions.append(mortal.create())
        assert sessions[0].sandbox_id in {spare.sandbox_id for spare in ready_spares}
        mortal.clock.tick(AGE.total_seconds() + 1)
        mortal.supervisor.sweep()
        mortal.supervisor.pool.fill()
        assert left[0] > 0, "there are more calls than that"
    except Crash:
        pass
    later = World(**doors, **same, ledger=here.ledger, warm_pool=2)
    later.clock.tick(later.deadlines.start + 1)
    all_is_well(later)
    all_is_well(later)
    for session in filter(None, (later.store.get(id) for id in later.store.due(FOREVER, 10))):
        assert session.live and later.runtime.alive(session.sandbox_id)
    here.store.close()  # type: ignore[attr-defined]
