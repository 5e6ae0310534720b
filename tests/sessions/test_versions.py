"""Versions, going back, and branches."""

from collections.abc import Callable
from typing import Any

import pytest

from opensessions.archives import Turn
from opensessions.errors import Conflict, NotFound
from opensessions.events import Assign, Error, Message, Restore, Restored, SandboxReady, TurnComplete
from opensessions.models import NewSession, Origin, SandboxStatus, Session, Status
from opensessions.sessions import templates
from opensessions.sessions.keeping import folder, place
from tests.fakes import World, changed, commit

PROMPTS = ("Build a todo app", "Make it blue", "Add a filter")


def three_turns(here: World, user_id: str = "u1") -> Session:
    """A session with three versions; the conversation has another name after each."""
    session = here.service.create("acme", NewSession(prompt=PROMPTS[0], user_id=user_id))
    here.keep_turn(session, PROMPTS[0], claude_session_id="c1")
    for n, prompt in enumerate(PROMPTS[1:], 2):
        here.service.send("acme", session.id, user_id, prompt)
        here.keep_turn(session, prompt, claude_session_id=f"c{n}")
    return here.now(session)


def go_back(here: World, session: Session, number: int) -> Session:
    asked = here.service.restore("acme", session.id, number).head.asked_seq
    here.say(session, SandboxReady(), Restored(version=number, inbox_seq=asked))
    return here.now(session)


def branch(here: World, session: Session, version: int | None = None, user_id: str = "u1") -> Session:
    origin = Origin(session_id=session.id, version=version)
    return here.service.create("acme", NewSession(prompt="Now in green", user_id=user_id, origin=origin))


def first_item(here: World, session: Session) -> Assign:
    item = here.testimony.inbox(here.now(session), 0)[0][1]
    assert isinstance(item, Assign)
    return item


def test_each_turn_is_a_version(here: World) -> None:
    session = three_turns(here)
    assert (session.version, session.versions) == (3, 3)
    versions = here.service.versions(session.id, 0, 10)
    assert [(each.number, each.parent, each.title) for each in versions] == [
        (n, n - 1, prompt) for n, prompt in enumerate(PROMPTS, 1)
    ]
    assert [(each.commit, each.claude_session_id) for each in versions] == [
        (commit(n), f"c{n}") for n in (1, 2, 3)
    ]
    assert (versions[0].changed, versions[0].files[0].path) == (1, "app/index.html")
    assert [here.service.diff(session.id, n) for n in (1, 2, 3)] == [f"+{prompt}" for prompt in PROMPTS]
    said = [e.payload for e in here.store.events(session.id, 0, 99) if e.type == "version_saved"]
    assert [(each["version"], each["title"], each["files_changed"]) for each in said] == [
        (n, prompt, 1) for n, prompt in enumerate(PROMPTS, 1)
    ]
    assert here.service.versions(session.id, 1, 1) == versions[1:2]


@pytest.mark.parametrize(
    ("turn", "title", "files", "diff"),
    [
        (Turn(), "Build a todo app", 0, ""),
        (Turn(text="Use flexbox. Then tidy up."), "Use flexbox", 0, ""),
        (changed("x" * 2000), "x" * 59 + "…", 1, "+" + "x" * 2000),
        (Turn(files=changed().files * 500, changed=9000), "Build a todo app", 100, ""),
    ],
)
def test_what_a_version_tells(here: World, turn: Turn, title: str, files: int, diff: str) -> None:
    session = here.turn(here.create())
    here.pack(session, commit=commit(1), turns=[turn.model_copy(update={"commit": commit(1)})])
    version = here.service.version(session.id, 1)
    assert (version.title, len(version.files), version.changed) == (title, files, turn.changed)
    assert here.service.diff(session.id, 1) == diff


@pytest.mark.parametrize(
    "said", [{"turns": [changed()]}, {"commit": commit(1)}, {"kind": "full", "inbox_seq": 1}]
)
def test_an_archive_without_a_turn_or_a_commit_is_no_version(here: World, said: dict[str, Any]) -> None:
    session = here.turn(here.create())
    assert here.pack(session, **said).version is None
    assert (here.now(session).versions, here.service.versions(session.id, 0, 9)) == (0, [])


def test_there_is_no_version_but_those(here: World) -> None:
    session, other = here.keep_turn(here.create()), three_turns(here)
    for number in (0, 2, 10**12):
        for call in (here.service.version, here.service.diff):
            with pytest.raises(NotFound, match="Version"):
                call(session.id, number)
        with pytest.raises(NotFound, match="Version"):
            here.service.restore("acme", session.id, number)
    assert here.service.version(other.id, 2).number == 2


def awake(here: World, session: Session) -> None:
    pass


def asleep(here: World, session: Session) -> None:
    here.sleep(session)


def waking(here: World, session: Session) -> None:
    here.sleep(session)
    here.testimony.wanted(session.id)


def failed(here: World, session: Session) -> None:
    here.sleep(session)
    here.runtime.refuse = "No room."
    here.service.send("acme", session.id, "u1", "Go on")
    here.runtime.refuse = None
    assert here.now(session).head.status is Status.ERROR


@pytest.mark.parametrize(
    ("state", "woken"), [(awake, []), (asleep, ["restore"]), (waking, ["preview"]), (failed, ["message"])]
)
def test_a_session_goes_back_from_wherever_it_is(
    here: World, state: Callable[[World, Session], None], woken: list[str]
) -> None:
    session = three_turns(here)
    state(here, session)
    asked = here.service.restore("acme", session.id, 1)
    assert (asked.head.status, asked.version) == (Status.RUNNING, 3)
    here.catch_up()
    *before, last = [item for _, item in here.testimony.inbox(here.now(session), 0)]
    assert last == Restore(version=1, commit=commit(1), claude_session_id="c1")
    if state is not awake:
        [assign] = before
        assert isinstance(assign, Assign) and assign.prompt is None
        assert [source.kind for source in assign.beginning.sources] == ["full"]
    here.say(session, SandboxReady(), Restored(version=1, inbox_seq=asked.head.asked_seq))
    back = here.now(session)
    assert (back.head.status, back.version, back.versions) == (Status.READY, 1, 3)
    reasons = [e.payload["reason"] for e in here.store.events(session.id, 0, 99) if e.type == "woken"]
    assert reasons == woken
    assert here.types(session)[-1] == "restored"


def test_the_next_turn_goes_on_from_there_and_nothing_is_rewritten(here: World) -> None:
    session = three_turns(here)
    before = [event.frame() for event in here.store.events(session.id, 0, 99)]
    versions = here.service.versions(session.id, 0, 9)
    go_back(here, session, 1)
    here.pack(session, commit=commit(1))
    assert here.now(session).archives[-1].version == 1
    here.service.send("acme", session.id, "u1", "Make it red")
    assert here.keep_turn(session, "Make it red").version == 4
    assert here.service.version(session.id, 4).parent == 1
    assert here.service.versions(session.id, 0, 3) == versions
    assert [event.frame() for event in here.store.events(session.id, 0, 99)][: len(before)] == before
    assert go_back(here, session, 3).version == 3


def test_it_stays_there_when_its_sandbox_is_lost_before_that_is_kept(here: World) -> None:
    session = go_back(here, three_turns(here), 1)
    here.supervisor.sandbox_stopped(session.sandbox_id, session.launch, "It was killed.")
    told = here.store.latest_events(session.id, 1)[0].payload
    assert told["version"] == 1 and "as they were after version 1" in told["message"]
    here.testimony.wanted(session.id)
    begins = first_item(here, session).beginning
    assert (begins.commit, begins.claude_session_id) == (commit(1), "c1")


def test_a_message_behind_it_waits(here: World) -> None:
    session = three_turns(here)
    asked = here.service.restore("acme", session.id, 2).head.asked_seq
    here.service.send("acme", session.id, "u1", "Make it red")
    here.say(session, Restored(version=2, inbox_seq=asked))
    assert (here.now(session).head.status, here.now(session).version) == (Status.RUNNING, 2)
    assert isinstance(here.testimony.inbox(here.now(session), asked)[0][1], Message)
    assert here.turn(session).head.status is Status.READY


def test_at_work_it_does_not_go_back(here: World) -> None:
    session = three_turns(here)
    before = here.service.send("acme", session.id, "u1", "More")
    with pytest.raises(Conflict, match="at work"):
        here.service.restore("acme", session.id, 1)
    assert here.now(session) == before


def test_a_way_back_that_fails_leaves_the_session_where_it_was(here: World) -> None:
    session = three_turns(here)
    asked = here.service.restore("acme", session.id, 1).head.asked_seq
    broke = Error(message="The version is damaged.", code="restore_failed")
    here.say(session, broke, TurnComplete(reason="error", inbox_seq=asked))
    assert (here.now(session).head.status, here.now(session).version) == (Status.ERROR, 3)
    here.service.send("acme", session.id, "u1", "Go on")
    assert here.turn(session).head.status is Status.READY


def test_a_version_that_is_made_up_moves_nothing(here: World) -> None:
    session = three_turns(here)
    asked = here.service.restore("acme", session.id, 1).head.asked_seq
    here.say(session, Restored(version=99, inbox_seq=asked))
    assert here.now(session).version == 3


@pytest.mark.parametrize(("number", "at"), [(None, 3), (3, 3), (2, 2), (1, 1)])
def test_a_branch_is_what_the_session_was(here: World, number: int | None, at: int) -> None:
    parent = three_turns(here)
    child = branch(here, parent, number)
    assert (child.version, child.versions, child.head.status) == (at, at, Status.RUNNING)
    assert here.service.versions(child.id, 0, 9) == here.service.versions(parent.id, 0, at)
    assert here.service.diff(child.id, at) == here.service.diff(parent.id, at)
    newest = parent.archives[-1].id
    copied = [here.blobs.get(f"{place(each.id, newest)}/{n}") for each in (parent, child) for n in (0, 256)]
    assert None not in copied and copied[:2] == copied[2:]
    item = first_item(here, child)
    assert (item.prompt, item.history) == ("Now in green", [])
    assert [source.id for source in item.beginning.sources] == [newest]
    expected = (commit(at), f"c{at}")
    assert (item.beginning.commit, item.beginning.claude_session_id) == expected
    assert not item.beginning.fresh


def test_a_branch_and_its_parent_do_not_see_each_other(here: World) -> None:
    parent = here.sleep(three_turns(here))
    child = branch(here, parent, 1)
    assert here.keep_turn(child, "Now in green").version == 2
    assert here.service.version(child.id, 2).parent == 1
    assert here.service.diff(child.id, 2) == "+Now in green"
    assert (here.now(parent), here.service.diff(parent.id, 2)) == (parent, "+Make it blue")
    here.sleep(child)
    item = first_item(here, here.service.send("acme", child.id, "u1", "Go on"))
    assert (item.beginning.commit, item.beginning.claude_session_id) == (None, "c1")
    here.service.purge("acme", parent.id)
    assert [kind for kind, _ in here.kept(child)] == ["light", "full"]
    assert go_back(here, here.turn(child), 1).version == 1


def test_a_branch_that_never_ran_begins_as_often_as_it_must(here: World) -> None:
    parent = three_turns(here)
    child = branch(here, parent, 1)
    begins = first_item(here, child).beginning
    here.runtime.live.pop(child.sandbox_id)
    here.supervisor.sandbox_stopped(child.sandbox_id, 1, "Gone.")
    here.catch_up()
    assert first_item(here, child).beginning == begins


def test_of_a_session_that_went_back_a_branch_has_all_versions(here: World) -> None:
    parent = go_back(here, three_turns(here), 1)
    here.pack(parent, commit=commit(1), claude_session_id="c1b")
    child = branch(here, parent)
    assert (child.version, child.versions) == (1, 3)
    assert first_item(here, child).beginning.claude_session_id == "c1b"


def test_of_very_many_versions_a_branch_has_the_newest(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "INHERITED", 2)
    parent = three_turns(here)
    for number, left in ((None, [2, 3]), (3, [2, 3]), (1, [1])):
        child = branch(here, parent, number)
        assert [each.number for each in here.service.versions(child.id, 0, 9)] == left
        here.service.purge("acme", child.id)


def test_a_branch_takes_the_full_archive_too(here: World) -> None:
    parent = here.sleep(three_turns(here))
    here.service.send("acme", parent.id, "u1", "More")
    parent = here.keep_turn(parent)
    child = branch(here, parent)
    assert [kind for kind, _ in here.kept(child)] == ["full", "light"]
    assert [source.kind for source in first_item(here, child).beginning.sources] == ["full", "light"]


@pytest.mark.parametrize(
    "state", [asleep, failed, lambda here, session: here.service.end("acme", session.id)]
)
def test_a_branch_of_what_does_not_run(here: World, state: Callable[[World, Session], object]) -> None:
    parent = three_turns(here)
    state(here, parent)
    assert here.keep_turn(branch(here, parent)).version == 4


def refused(here: World, error: type[Exception], origin: Origin, user_id: str = "u1") -> None:
    """A session that begins so is not made, and nothing is left of it."""
    before = here.blobs.names("sessions"), here.service.page("acme", None, None, 9, None)
    with pytest.raises(error):
        here.service.create("acme", NewSession(prompt="x", user_id=user_id, origin=origin))
    assert (here.blobs.names("sessions"), here.service.page("acme", None, None, 9, None)) == before


def test_a_branch_that_cannot_be(here: World) -> None:
    parent, empty = three_turns(here), here.create()
    refused(here, NotFound, Origin(session_id=parent.id), "u2")
    refused(here, NotFound, Origin(session_id=parent.id, version=4))
    refused(here, NotFound, Origin(session_id=f"session_{'0' * 32}"))
    refused(here, Conflict, Origin(session_id=empty.id))
    with pytest.raises(NotFound):
        origin = Origin(session_id=parent.id)
        here.service.create("other", NewSession(prompt="x", user_id="u1", origin=origin))


@pytest.mark.parametrize("gone", ["0", "256", "manifest"])
def test_an_archive_that_is_replaced_while_it_is_copied(here: World, gone: str) -> None:
    parent = three_turns(here)
    copy = here.blobs.copy

    def cut(source: str, target: str) -> None:
        copy(source, target)
        here.blobs.delete(f"{target}/{gone}")

    here.blobs.copy = cut  # type: ignore[method-assign]
    refused(here, Conflict, Origin(session_id=parent.id))
    here.blobs.copy = copy  # type: ignore[method-assign]
    assert branch(here, parent).live


def test_one_key_makes_one_branch(here: World) -> None:
    parent = three_turns(here)
    request = NewSession(prompt="x", user_id="u1", origin=Origin(session_id=parent.id))
    made = {here.service.create("acme", request, "key").id for _ in range(3)}
    assert len(made) == 1
    assert here.blobs.names("sessions") == sorted([parent.id, *made])


def test_an_over_quota_branch_leaves_nothing(here: World) -> None:
    parent = three_turns(here)
    for _ in range(2):
        here.create()
    refused(here, Exception, Origin(session_id=parent.id))
    assert here.blobs.names(folder(parent.id)) == ["archives", "versions"]
    assert here.now(parent).head.sandbox_status is SandboxStatus.RUNNING
