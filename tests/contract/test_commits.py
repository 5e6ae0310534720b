"""All or nothing, once, in order, whoever else writes and whatever happens between two calls."""

import base64
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from opensessions.errors import AlreadyClaimed, RateLimited, Stale, TooLarge
from opensessions.events import Interrupt
from opensessions.models import AgentConfig, Changes, Claim, Message, Session
from opensessions.ports import SessionStore
from tests.contract.engines import Engine
from tests.contract.samples import START, append, create, end, event, events, new, say, seqs, with_head

RANDOM = random.Random(1)


def incompressible(size: int) -> str:
    """Base64 of noise, of which no compression leaves less than three quarters."""
    return base64.b64encode(RANDOM.randbytes(size * 3 // 4)).decode()


@pytest.mark.parametrize("sizes", [(1,) * 30, (7, 1, 20, 2), (30,)], ids=["single", "mixed", "one batch"])
def test_events_are_read_in_order_whatever_their_batches(store: SessionStore, sizes: tuple[int, ...]) -> None:
    session = create(store)
    for size in sizes:
        session = append(store, session, size)
    for after in (0, 1, 6, 7, 8, 27, 28, 29, 30, 99):
        for limit in (1, 2, 9, 30, 99):
            assert seqs(store.events(session.id, after, limit)) == list(range(1, 31))[after : after + limit]
    for limit in (1, 2, 9, 30, 99):
        assert seqs(store.latest_events(session.id, limit)) == list(range(1, 31))[-limit:]


def test_an_event_is_read_back_as_it_was_written(store: SessionStore) -> None:
    payload = {"text": "ü\0\ud800\N{GRINNING FACE}", "deep": {"list": [1, 2.5, None, True, {}]}, "": 10**30}
    session = append(store, create(store), 1, **payload)
    [found] = store.events(session.id, 0, 9)
    assert found == event(1, **payload)
    assert [found] == store.latest_events(session.id, 9)


def test_a_batch_that_arrives_twice_is_refused_and_changes_nothing(
    engine: Engine, store: SessionStore
) -> None:
    before = create(store)
    append(store, before, 3)
    stored = engine.dump()
    with pytest.raises(Stale):
        append(store, before, 3)
    assert engine.dump() == stored


@pytest.mark.parametrize("numbers", [[2], [1, 3], [0, 1], [2, 1], [1, 1], [-1]])
def test_events_that_do_not_continue_are_a_mistake(
    engine: Engine, store: SessionStore, numbers: list[int]
) -> None:
    session = create(store)
    stored = engine.dump()
    batch = tuple(event(number) for number in numbers)
    with pytest.raises(ValueError, match="events"):
        store.commit(session, with_head(session, last_seq=numbers[-1]), Changes(events=batch))
    with pytest.raises(ValueError, match="inbox"):
        items = tuple((number, Interrupt()) for number in numbers)
        store.commit(session, with_head(session, inbox_seq=numbers[-1]), Changes(inbox=items))
    assert engine.dump() == stored


@pytest.mark.parametrize(
    "change",
    [
        lambda s: with_head(s, last_seq=1),
        lambda s: with_head(s, inbox_seq=1),
        lambda s: with_head(s, rev=5),
        lambda s: s.model_copy(update={"account": "other"}),
        lambda s: s.model_copy(update={"user_id": "other"}),
        lambda s: s.model_copy(update={"sandbox_id": "sb-other"}),
    ],
    ids=["last_seq", "inbox_seq", "rev", "account", "user_id", "sandbox_id"],
)
def test_a_head_or_identity_that_does_not_fit_is_a_mistake(
    engine: Engine, store: SessionStore, change: Callable[[Session], Session]
) -> None:
    session = create(store)
    stored = engine.dump()
    with pytest.raises(ValueError):
        store.commit(session, change(session))
    assert engine.dump() == stored


def test_an_append_touches_the_head_and_the_events_alone(engine: Engine, store: SessionStore) -> None:
    """No index, and nothing else of the session."""
    session = create(store, due_at=START, metadata={"a": "b"})
    session = append(store, say(store, session, "hello"), 2)
    stored = engine.dump()
    append(store, session, 3)
    now = engine.dump()
    assert {kind for kind in now if now[kind] != stored[kind]} == {"head", "event"}


# ---- others who write ----


def test_of_two_writers_one_wins_each_round(store: SessionStore) -> None:
    session = create(store)

    def attempt(before: Session, writer: int) -> Session | None:
        try:
            return append(store, before, writer + 1, writer=writer)
        except Stale:
            return None

    with ThreadPoolExecutor(2) as writers:
        for _ in range(25):
            results = list(writers.map(attempt, [session] * 2, range(2)))
            [session] = [result for result in results if result]
            assert store.get(session.id) == session
    written = store.events(session.id, 0, 99)
    assert seqs(written) == list(range(1, session.head.last_seq + 1))
    assert session.head.rev == 26


def test_writers_that_try_again_lose_nothing(store: SessionStore) -> None:
    session = create(store)

    def write(writer: int) -> None:
        for turn in range(8):
            while True:
                before = store.get(session.id)
                assert before
                try:
                    append(store, before, 1, mark=[writer, turn])
                    break
                except Stale:
                    continue

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    marks = [event.payload["mark"] for event in store.events(session.id, 0, 99)]
    assert sorted(marks) == [[writer, turn] for writer in range(4) for turn in range(8)]


def test_readers_see_whole_commits(store: SessionStore) -> None:
    """`launch` is outside the head and `asked_seq` in it; each commit raises both."""
    session = store.commit(None, with_head(new(), asked_seq=1))
    with ThreadPoolExecutor(1) as writers:
        for number in range(2, 30):
            after = with_head(session, asked_seq=number).model_copy(update={"launch": number})
            writing = writers.submit(store.commit, session, after)
            for found in [store.get(session.id), *store.page("acme", None, 5, None).sessions]:
                assert found and found.launch == found.head.asked_seq in (number - 1, number)
            session = writing.result()


# ---- what is refused leaves no trace ----


def refusals(store: SessionStore) -> dict[type[Exception], Callable[[], object]]:
    old = create(store)
    append(store, old)
    claim = Claim("acme", "key", "print", old.id)
    store.commit(None, new(), Changes(claim=claim))
    everything: dict[str, Any] = {
        "messages": (Message(id="msg_1", role="user", content="hi", created_at=START),),
        "inbox": ((1, Interrupt()),),
        "config": AgentConfig(),
    }
    fresh = with_head(new(), last_seq=1, inbox_seq=1)
    large = Changes(events=(event(1, text=incompressible(600_000)),), **everything)
    usual = Changes(events=(event(1),), **everything)
    claiming = Changes(events=(event(1),), claim=claim, **everything)
    stale = with_head(old, last_seq=1, inbox_seq=1)
    return {
        Stale: lambda: store.commit(old, stale, usual),
        AlreadyClaimed: lambda: store.commit(None, fresh, claiming),
        RateLimited: lambda: store.commit(None, fresh, usual, max_live=2),
        TooLarge: lambda: store.commit(None, fresh, large),
    }


@pytest.mark.parametrize("error", [Stale, AlreadyClaimed, RateLimited, TooLarge])
def test_a_refused_commit_writes_nothing(engine: Engine, store: SessionStore, error: type[Exception]) -> None:
    attempt = refusals(store)[error]
    stored = engine.dump()
    with pytest.raises(error):
        attempt()
    assert engine.dump() == stored


# ---- sizes ----


@pytest.mark.parametrize("size", [600_000, 470_000])
@pytest.mark.parametrize("what", ["event", "message", "config", "session"])
def test_what_is_over_the_bound_is_refused(store: SessionStore, what: str, size: int) -> None:
    text = incompressible(size)
    session = create(store)
    attempts: dict[str, Callable[[], object]] = {
        "event": lambda: append(store, session, 1, text=text),
        "message": lambda: say(store, session, text),
        "config": lambda: store.commit(None, new(), Changes(config=AgentConfig(system_prompt=text))),
        "session": lambda: store.commit(session, session.model_copy(update={"metadata": {"text": text}})),
    }
    with pytest.raises(TooLarge, match="at most 350,000"):
        attempts[what]()
    assert store.get(session.id) == session


def test_what_is_just_under_the_bound_is_kept(store: SessionStore) -> None:
    """The service cuts at 256 KB: several such events in one batch are kept too."""
    text = incompressible(256_000)
    session = append(store, create(store), 1, text=incompressible(440_000))
    session = append(store, session, 5, text=text)
    session = say(store, session, text)
    assert store.events(session.id, 1, 9) == list(events(with_head(session, last_seq=1), 5, text=text))
    assert seqs(store.latest_events(session.id, 3)) == [4, 5, 6]
    assert store.messages(session.id, 1)[0].content == text


# ---- crashes ----


def test_a_crash_between_any_two_calls_changes_nothing(engine: Engine) -> None:
    """Everything is in the store, nothing in the process."""
    session = create(engine.open(), due_at=START, max_live=1)
    for number in range(1, 4):
        session = append(engine.open(), session, number)
        session = say(engine.open(), session, f"message {number}")
        after = with_head(session, inbox_seq=number)
        session = engine.open().commit(session, after, Changes(inbox=((number, Interrupt()),)))
        assert engine.open().get(session.id) == session
    with pytest.raises(RateLimited):
        create(engine.open(), max_live=1)
    with pytest.raises(Stale):
        end(engine.open(), with_head(session, rev=1))
    assert seqs(engine.open().events(session.id, 0, 99)) == [1, 2, 3, 4, 5, 6]
    assert (
        len(engine.open().messages(session.id, 9)) == len(engine.open().inbox(session.sandbox_id, 0, 9)) == 3
    )
    session = end(engine.open(), session)
    assert engine.open().find(session.sandbox_id) == session
    assert create(engine.open(), max_live=1).live
