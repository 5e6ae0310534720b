"""One session: made, found, read back as it was written, and listed with others."""

import base64
from collections.abc import Callable
from datetime import timedelta

import pytest

from opensessions.errors import InvalidRequest, NotFound, Stale
from opensessions.events import Artifact, Assign, Interrupt, Shutdown
from opensessions.models import AgentConfig, Changes, Head, SandboxStatus, Session, Status
from opensessions.ports import SessionStore
from tests.contract.engines import Engine
from tests.contract.samples import START, append, create, end, events, new, say, with_head


def full() -> Session:
    return new(
        user_email="ada@example.com",
        user_name="Ada ☕ \N{GRINNING FACE}",
        framework="nextjs",
        artifacts=(Artifact(path="src/app/page.tsx", summary="the page"), Artifact(path="ü.txt")),
        metadata={"plan": "pro", "": ""},
        model="some-model",
        allowed_hosts=("example.com",),
        launch=3,
        assign_seq=0,
        tokens={"worker": "ab" * 32, "model": "cd" * 32},
        due_at=START + timedelta(milliseconds=1234),
        head=Head(
            status=Status.READY,
            sandbox_status=SandboxStatus.HIBERNATED,
            agent_seq=7,
            asked_seq=2,
            updated_at=START,
            heard_at=START,
        ),
    )


@pytest.mark.parametrize("make", [new, full], ids=["plain", "full"])
def test_a_session_is_read_back_as_it_was_written(store: SessionStore, make: Callable[[], Session]) -> None:
    before = make()
    saved = store.commit(None, before)
    assert saved == with_head(before, rev=1)
    assert store.get(saved.id) == store.find(saved.sandbox_id) == saved


def test_every_part_can_change(store: SessionStore) -> None:
    session = create(store)
    fixed = {
        name: getattr(session, name) for name in ("id", "account", "user_id", "sandbox_id", "created_at")
    }
    other = full().model_copy(update=fixed)
    saved = store.commit(session, with_head(other, rev=session.head.rev))
    assert store.get(session.id) == saved == with_head(other, rev=2)
    bare = store.commit(saved, saved.model_copy(update={"due_at": None, "allowed_hosts": None, "tokens": {}}))
    assert store.get(session.id) == bare


def test_nothing_is_found_where_nothing_is(store: SessionStore) -> None:
    assert store.get("session_x") is None
    assert store.find("sb-x") is None
    assert store.events("session_x", 0, 10) == store.latest_events("session_x", 10) == []
    assert store.messages("session_x", 10) == []
    assert store.inbox("sb-x", 0, 10) == []
    assert store.page("acme", None, 10, None).sessions == []
    with pytest.raises(NotFound):
        store.config("session_x")


def test_a_session_is_made_once(engine: Engine, store: SessionStore) -> None:
    session = create(store)
    stored = engine.dump()
    with pytest.raises(Stale):
        store.commit(None, with_head(session, rev=0))
    with pytest.raises(Stale):
        store.commit(None, new(sandbox_id=session.sandbox_id))
    assert engine.dump() == stored


def test_the_configuration_is_kept(store: SessionStore) -> None:
    config = AgentConfig(
        system_prompt="You build apps.",
        skills={".claude/skills/build-app/SKILL.md": "# Build\n\N{ROCKET}"},
        allowed_tools=("Read",),
        mcp_servers={"x": {"url": "https://example.com", "n": [1, 2.5, None, True]}},
        allowed_hosts=(),
    )
    session = new()
    store.commit(None, session, Changes(config=config))
    assert store.config(session.id) == config


def test_messages_are_the_newest_and_oldest_first(store: SessionStore) -> None:
    session = create(store)
    other = say(store, create(store), "elsewhere")
    session = say(store, session, "one", "two")
    session = append(store, session)
    for content in ("three", "four"):
        session = say(store, session, content)
    assert [message.content for message in store.messages(session.id, 3)] == ["two", "three", "four"]
    assert [message.content for message in store.messages(session.id, 99)] == ["one", "two", "three", "four"]
    assert [message.content for message in store.messages(other.id, 99)] == ["elsewhere"]


def test_the_inbox_keeps_its_order(store: SessionStore) -> None:
    session = create(store)
    assign = Assign(
        session_id=session.id, message_id="msg_1", prompt="hi", tools=["Bash"], preview_url="http://{port}"
    )
    items = [assign, *[Interrupt()] * 10, Shutdown()]
    for number, item in enumerate(items, 1):
        after = with_head(session, inbox_seq=number)
        session = store.commit(session, after, Changes(inbox=((number, item),)))
    assert store.inbox(session.sandbox_id, 0, 99) == list(enumerate(items, 1))
    assert store.inbox(session.sandbox_id, 9, 2) == [(10, Interrupt()), (11, Interrupt())]
    assert store.inbox(session.sandbox_id, 12, 5) == []


# ---- listings ----


def walk(store: SessionStore, account: str, user_id: str | None, size: int) -> list[str]:
    """All pages; each but the last is full."""
    ids: list[str] = []
    cursor = None
    while True:
        page = store.page(account, user_id, size, cursor)
        ids += [session.id for session in page.sessions]
        cursor = page.cursor
        if cursor is None:
            return ids
        assert len(page.sessions) == size


@pytest.mark.parametrize("size", [1, 3, 4, 8, 9])
def test_pages_hold_every_session_once_and_the_newest_first(store: SessionStore, size: int) -> None:
    """The creation times of some are equal."""
    made = [create(store, created_at=START + timedelta(seconds=number // 3)) for number in range(8)]
    create(store, account="other")
    expected = sorted(made, key=lambda session: (session.created_at, session.id), reverse=True)
    assert walk(store, "acme", None, size) == [session.id for session in expected]


def test_pages_are_of_one_user_when_asked(store: SessionStore) -> None:
    """Users' names are the callers' and may hold anything."""
    users = ["a", "b", "a#b", "", "x" * 3000]
    made = {user: [create(store, user_id=user).id for _ in range(2)] for user in users}
    create(store, account="acme#a", user_id="b")
    for user, ids in made.items():
        assert walk(store, "acme", user, 1) == sorted(ids, reverse=True)
    assert store.page("acme", "nobody", 5, None).sessions == []


def test_pages_show_sessions_as_they_are(store: SessionStore) -> None:
    session = append(store, create(store), 3)
    assert store.page("acme", None, 5, None).sessions == [session]
    ended = end(store, session)
    assert store.page("acme", "user-1", 5, None).sessions == [ended]


def test_a_large_page(store: SessionStore) -> None:
    """DynamoDB gives the parts of fifty sessions at a time."""
    made = [create(store).id for _ in range(61)]
    page = store.page("acme", None, 60, None)
    assert [session.id for session in page.sessions] == made[:0:-1]
    rest = store.page("acme", None, 60, page.cursor)
    assert [session.id for session in rest.sessions] == made[:1] and rest.cursor is None


def test_a_cursor_is_good_for_its_own_listing_alone(store: SessionStore) -> None:
    for _ in range(2):
        create(store)
        create(store, account="other")
    cursor = store.page("acme", None, 1, None).cursor
    assert cursor and cursor.replace("-", "").replace("_", "").isalnum()
    for account, user_id in [("other", None), ("acme", "user-1")]:
        with pytest.raises(InvalidRequest) as refused:
            store.page(account, user_id, 1, cursor)
        assert refused.value.field == "cursor"


@pytest.mark.parametrize(
    "broken", ["", "x", "%%%", "ü", "\ud800", "A" * 5000, "session_1", "bnVsbA", "=", "\0"]
)
def test_a_broken_cursor_is_refused(store: SessionStore, broken: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        store.page("acme", None, 1, broken)
    assert refused.value.field == "cursor"


def test_a_cursor_that_was_changed_is_refused(store: SessionStore) -> None:
    create(store), create(store)
    cursor = store.page("acme", None, 1, None).cursor
    assert cursor
    plain = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    forged = base64.urlsafe_b64encode(plain.replace("2026", "2027").encode()).decode().rstrip("=")
    for changed in (forged, cursor[:-2], cursor + "A", " " + cursor, cursor + "\n"):
        with pytest.raises(InvalidRequest):
            store.page("acme", None, 1, changed)


def test_events_belong_to_their_session(store: SessionStore) -> None:
    one, two = append(store, create(store), 2), append(store, create(store), 3)
    assert store.events(one.id, 0, 99) == list(events(with_head(one, last_seq=0), 2))
    assert len(store.events(two.id, 0, 99)) == 3
