"""The slots of the pool, and that each of its sandboxes leaves it once."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from opensessions.errors import AlreadyClaimed, RateLimited, SpareGone, Stale
from opensessions.models import Changes, Claim, Session
from opensessions.pool.spares import Spare, Spares
from opensessions.ports import SessionStore
from tests.contract.engines import Engine
from tests.contract.samples import START, create, new


@pytest.fixture
def spares(engine: Engine) -> Spares:
    return engine.spares()


def made(slot: int = 0, **fields: Any) -> Spare:
    told = {"slot": slot, "sandbox_id": f"sb-{secrets.token_hex(16)}", "tokens": {"worker": "ab" * 32}}
    return Spare.model_validate({**told, "fingerprint": "v1", "launched_at": START, **fields})


def take(
    store: SessionStore, spare: Spare, claim: Claim | None = None, max_live: int | None = None
) -> Session:
    session = new(sandbox_id=spare.sandbox_id)
    return store.commit(None, session, Changes(spare=spare, claim=claim), max_live=max_live)


def test_a_slot_holds_one_spare(engine: Engine, spares: Spares) -> None:
    one, two = made(1), made(0)
    spares.add(one)
    spares.add(two)
    with pytest.raises(Stale):
        spares.add(made(1))
    assert spares.all() == engine.spares().all() == [two, one]
    assert spares.find(one.sandbox_id) == spares.at(1) == one
    assert spares.find("sb-" + "0" * 32) is spares.at(2) is None


def test_a_change_is_of_what_was_read(spares: Spares) -> None:
    spare = made()
    spares.add(spare)
    ready = spares.change(spare, spare.model_copy(update={"state": "ready"}))
    assert spares.at(0) == ready == spare.model_copy(update={"state": "ready", "rev": 2})
    with pytest.raises(Stale):
        spares.change(spare, spare)
    assert spares.drop(spare), "however it was changed"
    assert not spares.drop(ready)
    with pytest.raises(Stale):
        spares.change(ready, ready)
    other = made()
    spares.add(other)
    assert not spares.drop(ready) and spares.all() == [other]


def test_a_session_takes_a_spare_out_of_the_pool(store: SessionStore, spares: Spares) -> None:
    spare, left = made(0), made(1)
    spares.add(spare)
    spares.add(left)
    session = take(store, spare)
    assert store.find(spare.sandbox_id) == session
    assert spares.all() == [left]
    with pytest.raises(Stale):
        spares.change(spare, spare)
    assert not spares.drop(spare)


def test_of_many_sessions_each_spare_has_one(store: SessionStore, spares: Spares) -> None:
    held = [made(slot) for slot in range(3)]
    for spare in held:
        spares.add(spare)

    def one(_: int) -> Session | None:
        for spare in spares.all():
            try:
                return take(store, spare)
            except SpareGone:
                continue
        return None

    with ThreadPoolExecutor(8) as threads:
        sessions = [session for session in threads.map(one, range(24)) if session]
    assert sorted(session.sandbox_id for session in sessions) == sorted(spare.sandbox_id for spare in held)
    assert spares.all() == []


def test_what_is_refused_leaves_the_pool_as_it_was(store: SessionStore, spares: Spares) -> None:
    spare = made()
    spares.add(spare)
    claim = Claim("acme", "k" * 64, "f" * 64, "session_" + "1" * 32)
    create(store, max_live=1)
    with pytest.raises(RateLimited):
        take(store, spare, max_live=1)
    store.commit(None, new(), Changes(claim=claim))
    with pytest.raises(AlreadyClaimed):
        take(store, spare, claim)
    changed = spares.change(spare, spare.model_copy(update={"said": 1}))
    with pytest.raises(SpareGone):
        take(store, spare)
    assert store.find(spare.sandbox_id) is None
    assert spares.all() == [changed]
    assert take(store, changed).sandbox_id == spare.sandbox_id
