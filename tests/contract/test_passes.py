"""What is kept of sessions' tokens."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from opensessions.access.passes import SECONDS, Pass, Passes
from opensessions.access.tokens import sha256
from opensessions.models import Session
from opensessions.ports import SessionStore
from tests.contract.engines import Engine
from tests.contract.samples import START, create

MOST = timedelta(seconds=SECONDS[-1])


@pytest.fixture
def passes(engine: Engine) -> Passes:
    return engine.passes()


def made(session: Session, seconds: float = 900, **fields: object) -> Pass:
    told = {"session_id": session.id, "scope": "read", "number": 3}
    return Pass.model_validate(told | {"expires_at": START + timedelta(seconds=seconds)} | fields)


def test_a_pass_is_found_by_its_session_and_hash_alone(store: SessionStore, passes: Passes) -> None:
    one, two = create(store), create(store)
    kept = {sha256(name): made(one, scope=name) for name in ("read", "write")}
    kept[sha256("preview")] = made(one, scope="preview", port=3001)
    for hashed, each in kept.items():
        passes.put(hashed, each)
    for hashed, each in kept.items():
        assert passes.get(one.id, hashed) == each
        assert passes.get(two.id, hashed) is None
    assert passes.get(one.id, sha256("other")) is None


def test_one_of_many_takes_it(store: SessionStore, passes: Passes) -> None:
    session, hashed = create(store), sha256("token")
    passes.put(hashed, made(session))
    assert passes.take(create(store).id, hashed) is None
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda _: passes.take(session.id, hashed), range(16)))
    assert [each for each in taken if each] == [made(session)]
    assert passes.get(session.id, hashed) is None


def test_it_is_there_after_a_restart_and_gone_with_its_session(
    engine: Engine, store: SessionStore, passes: Passes
) -> None:
    create(store)
    stored = engine.dump()
    session = create(store)
    passes.put(sha256("token"), made(session))
    assert engine.passes().get(session.id, sha256("token")) == made(session)
    assert "token" not in str(engine.dump()).replace(sha256("token"), "").replace("tokens", "")
    store.purge(session.id)
    assert passes.get(session.id, sha256("token")) is None
    assert {kind: items for kind, items in engine.dump().items() if items} == {
        kind: items for kind, items in stored.items() if items
    }


def test_what_may_still_be_good_is_kept(store: SessionStore, passes: Passes) -> None:
    session = create(store)
    passes.put(sha256("first"), made(session, 60))
    passes.put(sha256("second"), made(session, 30 + MOST.total_seconds()))
    assert passes.get(session.id, sha256("first")) == made(session, 60)
