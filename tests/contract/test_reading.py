"""What a session shows of itself stays small, however much was said in it."""

import json

import pytest

from opensessions.access.admission import Admission
from opensessions.http import views
from opensessions.http.fields import LARGEST_TEXT
from opensessions.ports import SessionStore
from opensessions.sessions.reading import RECENT, RECENT_BYTES, Reading
from tests.contract.engines import Engine
from tests.contract.samples import START, append, create, say, seqs
from tests.fakes import FakePasses


@pytest.fixture
def reading(store: SessionStore, engine: Engine) -> Reading:
    keyring, audit = engine.keyring(), engine.audit()
    admission = Admission(store, FakePasses(), keyring, audit, clock=lambda: START, wake=lambda _: None)
    return Reading(store, admission)


def test_the_newest_of_each_oldest_first(store: SessionStore, reading: Reading) -> None:
    session = create(store)
    for first in range(0, RECENT + 10, 10):
        session = say(store, append(store, session, 10), *map(str, range(first, first + 10)))
    messages, events = reading.recent(session)
    assert [message.content for message in messages] == [str(n) for n in range(10, RECENT + 10)]
    assert seqs(events) == list(range(11, RECENT + 11))


def test_messages_fit_into_a_bound_and_the_newest_are_kept(store: SessionStore, reading: Reading) -> None:
    session = create(store)
    for text in ("a", "b", "é" * (LARGEST_TEXT // 2), "d" * LARGEST_TEXT, "e" * LARGEST_TEXT, "f"):
        session = say(store, session, text)
    messages, _ = reading.recent(session)
    assert [message.content[0] for message in messages] == ["d", "e", "f"]
    assert sum(len(message.content.encode()) for message in messages) <= RECENT_BYTES


def test_the_newest_message_is_shown_whatever_its_size(store: SessionStore, reading: Reading) -> None:
    session = say(store, say(store, create(store), "small"), "x" * (RECENT_BYTES + 1))
    messages, _ = reading.recent(session)
    assert [len(message.content) for message in messages] == [RECENT_BYTES + 1]


def test_what_the_longest_session_shows_is_bounded(store: SessionStore, reading: Reading) -> None:
    session = create(store)
    for _ in range(12):
        session = say(store, session, "\u0001" * LARGEST_TEXT)
        session = append(store, session, 10, type="assistant", message={"content": "\u0001" * 20_000})
    shown = views.session(session, "", *reading.recent(session))
    assert len(shown["messages"]) == 2 and len(shown["events"]) == RECENT
    assert len(json.dumps(shown, ensure_ascii=False)) < 4_000_000
