"""A purged session has never been, for all that can be seen and for all that is stored."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from opensessions.errors import NotFound, RateLimited, Stale
from opensessions.events import Interrupt
from opensessions.models import AgentConfig, Changes, Claim, Session
from opensessions.ports import SessionStore
from tests.contract.engines import Engine
from tests.contract.samples import START, append, create, end, events, new, save_version, say, with_head
from tests.contract.test_commits import incompressible

LARGE = incompressible(9000)


def full(store: SessionStore) -> Session:
    """With everything that can belong to one."""
    session = new(due_at=START)
    session = store.commit(None, session, Changes(config=AgentConfig(system_prompt="You build apps.")))
    for number in range(1, 31):
        said = events(session, 2, text=LARGE if number % 5 == 0 else "hi")
        changes = Changes(events=said, inbox=((number, Interrupt()),))
        session = store.commit(session, with_head(session, last_seq=2 * number, inbox_seq=number), changes)
    return save_version(store, say(store, session, "hello", "there"))


def test_nothing_of_it_stays(engine: Engine, store: SessionStore) -> None:
    other = save_version(store, say(store, append(store, create(store)), "hello"))
    stored = engine.dump()
    session = full(store)
    assert store.find(session.sandbox_id) == session
    for _ in range(2):
        store.purge(session.id)
        assert engine.dump() == stored
    assert store.get(session.id) is store.find(session.sandbox_id) is None
    assert not store.events(session.id, 0, 9) and not store.messages(session.id, 9)
    assert not store.versions(session.id, 0, 9) and not store.inbox(session.sandbox_id, 0, 9)
    assert store.due(START, 9) == [] and store.page("acme", None, 9, None).sessions == [other]
    with pytest.raises(NotFound):
        store.config(session.id)


def test_another_store_does_not_remember_it(engine: Engine, store: SessionStore) -> None:
    session = create(store)
    elsewhere = engine.open()
    assert elsewhere.find(session.sandbox_id) == session
    store.purge(session.id)
    assert elsewhere.find(session.sandbox_id) is None
    with pytest.raises(Stale):
        append(elsewhere, session)
    again = create(store, sandbox_id=session.sandbox_id)
    assert elsewhere.find(session.sandbox_id) == again


def test_an_unknown_one_is_no_mistake(engine: Engine, store: SessionStore) -> None:
    create(store)
    stored = engine.dump()
    store.purge("session_x")
    assert engine.dump() == stored


def test_a_live_one_gives_its_place_back_once(store: SessionStore) -> None:
    ended, live, other = end(store, create(store)), create(store), create(store)
    for session in (ended, live, live, ended):
        store.purge(session.id)
    create(store, max_live=2)
    with pytest.raises(RateLimited):
        create(store, max_live=2)
    assert store.get(other.id) == other


def test_an_idempotency_key_stays_in_use(store: SessionStore) -> None:
    session = new()
    claim = Claim("acme", "key", "print", session.id)
    store.commit(None, session, Changes(claim=claim))
    store.purge(session.id)
    assert store.claimed("acme", "key") == claim


def test_whoever_writes_meanwhile_leaves_nothing(engine: Engine, store: SessionStore) -> None:
    create(store)
    stored = engine.dump()
    session = append(store, create(store), 3)

    def write(session: Session) -> None:
        with suppress(Stale):
            for _ in range(10):
                session = append(store, session, 2, text=LARGE)

    with ThreadPoolExecutor(1) as writers:
        writing = writers.submit(write, session)
        store.purge(session.id)
        writing.result()
    assert engine.dump() == stored
