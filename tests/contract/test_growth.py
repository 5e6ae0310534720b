"""A session does not become dearer with its age.

10,000 events are old by default; 50,000 with `OPENSESSIONS_SLOW_TESTS`.
"""

import os
from collections.abc import Callable

from opensessions.models import Changes, Message, Session
from opensessions.ports import SessionStore
from tests.contract.engines import Engine
from tests.contract.samples import START, append, create, events, save_version, say, seqs, with_head

BATCH = 500
OLD = 50_000 if os.environ.get("OPENSESSIONS_SLOW_TESTS") else 10_000


def costs(engine: Engine, store: SessionStore, session: Session) -> dict[str, int]:
    last = session.head.last_seq
    actions: dict[str, Callable[[], object]] = {
        "get": lambda: store.get(session.id),
        "find": lambda: store.find(session.sandbox_id),
        "latest_events": lambda: store.latest_events(session.id, 50),
        "events": lambda: store.events(session.id, last - 10, 100),
        "messages": lambda: store.messages(session.id, 10),
        "versions": lambda: store.versions(session.id, session.versions - 5, 10),
        "version": lambda: store.version(session.id, session.versions),
        "page": lambda: store.page("acme", None, 10, None),
        "append": lambda: append(store, session, 3),
    }
    return {name: engine.cost(store, action) for name, action in actions.items()}


def grow(store: SessionStore, session: Session, until: int) -> Session:
    """Beside another session, which talks the more."""
    while session.head.last_seq < until:
        batch = events(session, BATCH)
        said = Message(id=batch[0].id, role="assistant", content="hello", created_at=START)
        after = with_head(session, last_seq=batch[-1].seq)
        session = store.commit(session, after, Changes(events=batch, messages=(said,)))
        session = save_version(store, session)
    say(store, create(store, account="other"), *["hello"] * (until // 600))
    return session


def test_an_old_session_costs_what_a_young_one_does(engine: Engine, store: SessionStore) -> None:
    session = grow(store, create(store), 10 * BATCH)
    young = costs(engine, store, session)
    session = store.get(session.id) or session
    session = grow(store, session, OLD)
    assert seqs(store.events(session.id, OLD - 10, 99))[:10] == list(range(OLD - 9, OLD + 1))
    old = costs(engine, store, session)
    assert {name: cost for name, cost in old.items() if cost > young[name] * 1.05 + 2} == {}
    middle = OLD // 2
    assert seqs(store.events(session.id, middle, 3)) == [middle + 1, middle + 2, middle + 3]
