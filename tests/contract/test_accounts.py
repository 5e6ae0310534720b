"""What is counted, claimed, due and opened, beside the sessions themselves."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from opensessions.errors import AlreadyClaimed, RateLimited
from opensessions.models import Changes, Claim, SandboxStatus, Session
from opensessions.ports import SessionStore
from tests.contract.engines import Engine
from tests.contract.samples import START, create, end, new, with_head


def outcomes(attempt: Callable[[int], object], times: int) -> list[object]:
    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(attempt, range(times)))


# ---- live sessions ----


def test_the_quota_holds_under_racing_creates(store: SessionStore) -> None:
    def attempt(_: int) -> Session | None:
        try:
            return create(store, max_live=5)
        except RateLimited as refused:
            assert refused.retry_after > 0
            return None

    made = [session for session in outcomes(attempt, 50) if session]
    assert len(made) == 5
    assert {session.id for session in store.page("acme", None, 99, None).sessions} == {
        session.id for session in made if isinstance(session, Session)
    }


def test_an_ended_session_gives_its_place_back_once(store: SessionStore) -> None:
    one = create(store, max_live=2)
    two = create(store, max_live=2)
    with pytest.raises(RateLimited):
        create(store, max_live=2)
    ended = end(store, one)
    end(store, ended)
    three = create(store, max_live=2)
    with pytest.raises(RateLimited):
        create(store, max_live=2)
    assert create(store, account="other", max_live=1)
    assert two.live and three.live and not ended.live


def test_waking_counts_and_a_change_among_live_states_does_not(store: SessionStore) -> None:
    session = create(store, max_live=1)
    running = store.commit(session, with_head(session, sandbox_status=SandboxStatus.RUNNING), max_live=1)
    asleep = store.commit(running, with_head(running, sandbox_status=SandboxStatus.HIBERNATED))
    other = create(store, max_live=1)
    awake = with_head(asleep, sandbox_status=SandboxStatus.STARTING)
    with pytest.raises(RateLimited):
        store.commit(asleep, awake, max_live=1)
    assert store.get(session.id) == asleep
    end(store, other)
    store.commit(asleep, awake, max_live=1)
    with pytest.raises(RateLimited):
        create(store, max_live=1)


def test_without_a_bound_sessions_are_counted_all_the_same(store: SessionStore) -> None:
    for _ in range(3):
        create(store)
    with pytest.raises(RateLimited):
        create(store, max_live=3)
    with pytest.raises(RateLimited):
        create(store, account="none", max_live=0)
    create(store, max_live=4)


# ---- idempotency keys ----


def claim(store: SessionStore, key: str = "key", account: str = "acme", **fields: str) -> Session:
    session = new(account=account)
    fields = {"fingerprint": "print", **fields}
    return store.commit(None, session, Changes(claim=Claim(account, key, session_id=session.id, **fields)))


def test_of_racing_claims_one_wins_and_makes_a_session(store: SessionStore) -> None:
    def attempt(_: int) -> Session | None:
        try:
            return claim(store)
        except AlreadyClaimed:
            return None

    [won] = [session for session in outcomes(attempt, 20) if isinstance(session, Session)]
    assert store.claimed("acme", "key") == Claim("acme", "key", "print", won.id)
    assert store.page("acme", None, 99, None).sessions == [won]


def test_a_key_is_of_an_account(store: SessionStore) -> None:
    """Keys and accounts are never mixed up, whatever they hold."""
    made = {
        (account, key): claim(store, key, account).id
        for account in ("a", "a#b", "b")
        for key in ("b#c", "c", "x" * 255, "ü ")
    }
    assert len(set(made.values())) == 12
    for (account, key), session_id in made.items():
        found = store.claimed(account, key)
        assert found and found.session_id == session_id
    assert store.claimed("a", "other") is None


def test_a_claim_ends_after_a_day(engine: Engine, store: SessionStore) -> None:
    first = claim(store)
    engine.clock.advance(hours=23, minutes=59)
    with pytest.raises(AlreadyClaimed):
        claim(store)
    assert store.claimed("acme", "key")
    engine.clock.advance(minutes=1, seconds=1)
    assert store.claimed("acme", "key") is None
    second = claim(store, fingerprint="another")
    assert store.claimed("acme", "key") == Claim("acme", "key", "another", second.id)
    assert store.get(first.id) == first


def test_a_message_can_claim_too(store: SessionStore) -> None:
    session = create(store)
    claimed = Claim("acme", "key", "print", session.id)
    session = store.commit(session, session, Changes(claim=claimed))
    with pytest.raises(AlreadyClaimed):
        store.commit(session, session, Changes(claim=claimed))
    assert store.get(session.id) == session


# ---- counters ----


def test_a_counter_starts_anew_in_each_window(store: SessionStore) -> None:
    assert [store.count("creates", 60, START) for _ in range(3)] == [1, 2, 3]
    assert store.count("creates", 60, START + timedelta(seconds=59.9)) == 4
    assert store.count("others", 60, START) == 1
    assert store.count("creates", 3600, START) == 1
    assert store.count("creates", 60, START + timedelta(seconds=60)) == 1
    assert store.count("creates", 60, START + timedelta(seconds=61)) == 2


def test_no_count_is_lost_in_a_race(store: SessionStore) -> None:
    counted = outcomes(lambda _: store.count("creates", 60, START), 40)
    assert sorted(map(str, counted)) == sorted(map(str, range(1, 41)))


# ---- what is due ----


def test_the_most_overdue_is_first(store: SessionStore) -> None:
    offsets = [5, -10, 0, 3, -1, -10, 60, -3]
    made = [create(store, due_at=START + timedelta(seconds=offset)) for offset in offsets]
    create(store)
    past = sorted(
        (session for session in made if session.due_at and session.due_at <= START),
        key=lambda session: (session.due_at, session.id),
    )
    ids = [session.id for session in past]
    assert list(store.due(START, 99)) == ids
    assert list(store.due(START, 2)) == ids[:2]
    assert list(store.due(START - timedelta(seconds=11), 99)) == []
    assert len(store.due(START + timedelta(hours=1), 99)) == len(offsets)


def test_what_is_moved_or_cleared_is_not_due(store: SessionStore) -> None:
    moved, cleared = create(store, due_at=START), create(store, due_at=START)
    later = START + timedelta(milliseconds=1)
    store.commit(moved, moved.model_copy(update={"due_at": later}))
    cleared = store.commit(cleared, cleared.model_copy(update={"due_at": None}))
    assert list(store.due(START, 9)) == []
    assert list(store.due(later, 9)) == [moved.id]
    store.commit(cleared, cleared.model_copy(update={"due_at": START}))
    assert list(store.due(later, 9)) == [cleared.id, moved.id]
