"""Any order of commits, fresh and stale, leaves what a list in memory would hold."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opensessions.errors import Stale
from opensessions.events import Interrupt
from opensessions.models import Changes, Session
from opensessions.ports import SessionStore
from tests.contract.samples import append, create, end, say, seqs, with_head


def notify(store: SessionStore, session: Session) -> Session:
    number = session.head.inbox_seq + 1
    return store.commit(
        session, with_head(session, inbox_seq=number), Changes(inbox=((number, Interrupt()),))
    )


COMMITS: dict[str, Callable[[SessionStore, Session], Session]] = {
    "append 1": append,
    "append 5": lambda store, session: append(store, session, 5),
    "say": lambda store, session: say(store, session, f"at {session.head.rev}"),
    "notify": notify,
    "rename": lambda store, session: store.commit(
        session, session.model_copy(update={"title": f"at {session.head.rev}"})
    ),
    "end": end,
}
STEPS = st.lists(st.tuples(st.sampled_from(sorted(COMMITS)), st.integers(0, 2)), max_size=12)


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_any_order_of_commits(store: SessionStore, steps: list[tuple[str, int]]) -> None:
    """Each step starts from the newest state, or from one or two before it."""
    states = [create(store)]
    said: list[str] = []
    for name, age in steps:
        before = states[max(len(states) - 1 - age, 0)]
        if before is not states[-1]:
            with pytest.raises(Stale):
                COMMITS[name](store, before)
            continue
        states.append(COMMITS[name](store, before))
        said += [f"at {before.head.rev}"] * (name == "say")
    last = states[-1]
    assert store.get(last.id) == store.find(last.sandbox_id) == last
    assert last.head.rev == len(states)
    assert seqs(store.events(last.id, 0, 99)) == list(range(1, last.head.last_seq + 1))
    assert [message.content for message in store.messages(last.id, 99)] == said
    assert len(store.inbox(last.sandbox_id, 0, 99)) == last.head.inbox_seq
