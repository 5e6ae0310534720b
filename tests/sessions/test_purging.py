"""What is deleted is gone: from the store, and from the blobs."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opensessions.errors import Conflict, IdempotencyMismatch, NotFound, Unauthorized
from opensessions.events import EventBatch, Result, SandboxReady
from opensessions.models import NewSession, Origin, Session, Status
from opensessions.sessions.lifecycle import Deadlines
from tests.fakes import World, archived, world

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


def trace(here: World, session: Session) -> list[str]:
    """What is left of a session anywhere."""
    db = sqlite3.connect(here.folder / "sessions.db")
    lines = [line for line in db.iterdump() if session.id in line or session.sandbox_id in line]
    lines = [line for line in lines if 'INTO "claim"' not in line]  # hashes, for 24 hours
    db.close()
    return lines + [str(path) for path in (here.folder / "blobs").rglob("*") if session.id in str(path)]


def full(here: World) -> Session:
    """A session that has left something everywhere."""
    session = here.service.create("acme", NewSession(prompt="x", user_id="u1"), "key")
    here.say(session, Result(subtype="success", result="x" * 300_000))
    here.keep_turn(session)
    here.service.send("acme", session.id, "u1", "More", "key-2")
    return here.keep_turn(session)


def awake(here: World, session: Session) -> None:
    pass


def at_work(here: World, session: Session) -> None:
    here.service.send("acme", session.id, "u1", "More")


def asleep(here: World, session: Session) -> None:
    here.sleep(session)


def waking(here: World, session: Session) -> None:
    here.sleep(session)
    here.testimony.wanted(session.id)


def failed(here: World, session: Session) -> None:
    here.sleep(session)
    here.runtime.refuse = "No room."
    at_work(here, session)


def ended(here: World, session: Session) -> None:
    here.service.end("acme", session.id)


@pytest.mark.parametrize("state", [awake, at_work, asleep, waking, failed, ended])
def test_nothing_is_left(here: World, state: Callable[[World, Session], None]) -> None:
    other = here.keep_turn(here.create())
    session = full(here)
    token = here.token(session)
    state(here, session)
    assert len(trace(here, session)) > 10
    here.service.purge("acme", session.id)
    assert trace(here, session) == []
    assert list(here.runtime.live) == [other.sandbox_id]
    for call in (here.service.read, here.service.purge, here.service.end):
        with pytest.raises(NotFound):
            call("acme", session.id)
    with pytest.raises(Unauthorized):
        here.testimony.record_events(token, EventBatch(first_seq=1, events=[SandboxReady()]))
    with pytest.raises(Unauthorized):
        here.testimony.archived(token, "a" * 32, archived())
    here.catch_up()
    here.testimony.wanted(session.id)
    here.testimony.used([session.id])
    here.testimony.notice(session.id, "x", "y")
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "Gone.")
    here.supervisor.sweep(FOREVER)
    assert trace(here, session) == []
    assert len(here.kept(other)) == 1


def test_it_counts_no_more(here: World) -> None:
    here.service.purge("acme", full(here).id)
    for _ in range(3):
        here.create()


def test_a_request_that_comes_again_late_does_not_bring_it_back(here: World) -> None:
    here.service.purge("acme", full(here).id)
    for prompt, error, words in (("x", Conflict, "deleted for good"), ("y", IdempotencyMismatch, "another")):
        with pytest.raises(error, match=words):
            here.service.create("acme", NewSession(prompt=prompt, user_id="u1"), "key")
    assert here.service.page("acme", None, None, 9, None).sessions == []


def test_what_was_made_of_it_is_its_own(here: World) -> None:
    session = here.sleep(full(here))
    template = here.service.templates.create(session, "Vite")
    origins = (Origin(session_id=session.id), Origin(template_id=template.id))
    children = [here.service.create("acme", NewSession(prompt="x", user_id="u1", origin=o)) for o in origins]
    here.service.purge("acme", session.id)
    assert here.blobs.names("sessions") == sorted(child.id for child in children)
    assert [here.keep_turn(child).version for child in children] == [3, 1]
    assert here.service.templates.get("acme", template.id) == template


@pytest.mark.parametrize("call", ["delete", "purge"])
def test_a_purge_that_is_cut_short_can_be_done_again(
    here: World, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    session = full(here)

    def broken(what: str) -> None:
        raise OSError("no answer")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no answer"):
        patched.setattr(here.blobs if call == "delete" else here.store, call, broken)
        here.service.purge("acme", session.id)
    assert (here.now(session).head.status, here.runtime.live) == (Status.ENDED, {})
    here.service.purge("acme", session.id)
    assert trace(here, session) == []


def test_retention_purges_what_has_ended_and_nothing_else(tmp_path: Path) -> None:
    here = world(tmp_path, deadlines=Deadlines(start=100, silence=60, lifetime=3600, retention=7200))
    over = full(here)
    here.service.end("acme", over.id)
    sleeping = here.sleep(here.keep_turn(here.create()))
    for seconds in (61, 7100):
        here.clock.tick(seconds)
        here.supervisor.sweep()
    assert len(trace(here, over)) > 10
    assert here.service.versions(over.id, 0, 9)
    here.clock.tick(40)
    here.supervisor.sweep()
    assert trace(here, over) == []
    here.clock.tick(10**6)
    here.supervisor.sweep()
    assert [kind for kind, _ in here.kept(sleeping)] == ["light", "full"]
    here.store.close()  # type: ignore[attr-defined]


def test_without_retention_what_has_ended_is_kept(here: World) -> None:
    session = full(here)
    here.service.end("acme", session.id)
    for _ in range(3):
        here.clock.tick(10**7)
        here.supervisor.sweep()
    assert (here.now(session).due_at, len(here.kept(session))) == (None, 2)
