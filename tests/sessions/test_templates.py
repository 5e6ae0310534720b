"""Prepared workspaces: what they are made of, and what begins with them."""

from pathlib import Path
from typing import Any

import pytest

from opensessions.errors import Conflict, NotFound
from opensessions.events import Assign, Save
from opensessions.models import NewSession, Origin, Session, Template, TemplateStatus
from opensessions.sessions.templates import folder
from tests.fakes import World, commit


def made(here: World, session: Session, name: str = "Vite") -> Template:
    return here.service.templates.create(here.now(session), name)


def again(here: World, template: Template) -> Template:
    return here.service.templates.get(template.account, template.id)


def begun(here: World, template: Template, user_id: str = "u9", account: str = "acme") -> Session:
    origin = Origin(template_id=template.id)
    return here.service.create(account, NewSession(prompt="x", user_id=user_id, origin=origin))


def packed(here: World, session: Session) -> None:
    """The sandbox does what its newest item says."""
    seq, item = here.store.inbox(session.sandbox_id, 0, 99)[-1]
    assert isinstance(item, Save)
    here.pack(session, "full", inbox_seq=seq, commit=commit(9))


def test_of_a_sleeping_session_it_is_ready_at_once(here: World) -> None:
    session = here.sleep(here.keep_turn(here.create()))
    template = made(here, session)
    assert (template.status, template.session_id, again(here, template)) == ("ready", session.id, template)
    assert template.archive and (template.archive.bytes, template.archive.files) == (1000, 3)
    assert here.blobs.names(f"{folder(template.id)}/archive") == ["0", "256", "manifest"]
    assert here.now(session) == session


def test_of_one_that_is_awake_it_is_ready_once_that_has_packed(here: World) -> None:
    session = here.keep_turn(here.create())
    template = made(here, session)
    assert template.status is TemplateStatus.PREPARING
    here.pack(session)
    assert again(here, template).status is TemplateStatus.PREPARING
    packed(here, session)
    ready = again(here, template)
    assert (ready.status, ready.created_at) == (TemplateStatus.READY, template.created_at)
    assert here.now(session).live


def test_one_archive_fills_all_that_wait_for_it_and_no_others(here: World) -> None:
    session, other = here.turn(here.create()), here.turn(here.create())
    waiting = [made(here, session, name) for name in ("one", "two")]
    foreign = made(here, other)
    packed(here, session)
    assert [again(here, each).status for each in waiting] == ["ready", "ready"]
    before = [again(here, each) for each in waiting]
    here.pack(session, "full")
    assert [again(here, each) for each in waiting] == before
    assert again(here, foreign).status is TemplateStatus.PREPARING


def test_while_the_agent_works_too(here: World) -> None:
    session = here.create()
    template = made(here, session)
    here.turn(session)
    packed(here, session)
    assert again(here, template).status is TemplateStatus.READY


def test_after_twenty_minutes_it_has_failed(here: World) -> None:
    session = here.turn(here.create())
    template = made(here, session)
    here.clock.tick(20 * 60)
    assert again(here, template).status is TemplateStatus.PREPARING
    here.clock.tick(1)
    assert again(here, template).status is TemplateStatus.FAILED
    assert [each.status for each in here.service.templates.list("acme")] == ["failed"]
    with pytest.raises(Conflict, match="failed"):
        begun(here, template)


def empty(here: World, session: Session) -> None:
    here.service.end("acme", session.id)


def lost(here: World, session: Session) -> None:
    here.keep_turn(session)
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "Gone.")


@pytest.mark.parametrize("reach", [empty, lost])
def test_of_a_session_of_which_not_all_is_kept_there_is_none(here: World, reach: Any) -> None:
    session = here.create()
    reach(here, session)
    with pytest.raises(Conflict, match="not all is kept"):
        made(here, session)
    assert here.service.templates.list("acme") == []


def test_one_that_falls_asleep_just_now(here: World) -> None:
    session = here.keep_turn(here.create())
    awake = here.now(session)
    here.sleep(session)
    with pytest.raises(Conflict, match="just now"):
        here.service.templates.create(awake, "Vite")
    assert here.service.templates.list("acme") == []
    assert made(here, session).status is TemplateStatus.READY


@pytest.mark.parametrize("failure", [OSError("The disk is full."), Conflict("It was replaced.")])
def test_a_copy_that_is_cut_short_can_be_deleted(
    here: World, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    session = here.sleep(here.turn(here.create()))

    def cut(source: str, target: str) -> None:
        here.blobs.put(f"{target}/0", b"half")
        raise failure

    with monkeypatch.context() as patched, pytest.raises(type(failure)):
        patched.setattr(here.blobs, "copy", cut)
        made(here, session)
    for template in here.service.templates.list("acme"):
        assert template.status is TemplateStatus.PREPARING
        here.service.templates.delete("acme", template.id)
        assert here.blobs.names("templates") == []
    assert made(here, session).status is TemplateStatus.READY


def test_a_session_that_begins_with_it_remembers_nothing(here: World) -> None:
    session = here.sleep(here.keep_turn(here.create(), claude_session_id="c1"))
    child = begun(here, made(here, session))
    assert (child.version, child.versions, here.service.versions(child.id, 0, 9)) == (0, 0, [])
    item = here.testimony.inbox(child, 0)[0][1]
    assert isinstance(item, Assign)
    beginning = item.beginning
    assert [source.kind for source in beginning.sources] == ["full"]
    assert (beginning.fresh, beginning.commit, beginning.claude_session_id) == (True, None, None)
    first = here.keep_turn(child, claude_session_id="c9")
    assert (first.version, here.service.version(child.id, 1).parent) == (1, 0)
    after = here.keeper.beginning(first)
    assert [source.kind for source in after.sources] == ["full", "light"]
    assert (after.fresh, after.claude_session_id) == (False, "c9")


def test_what_began_with_it_stays_and_so_does_it(here: World) -> None:
    session = here.sleep(here.turn(here.create()))
    template = made(here, session)
    here.service.purge("acme", session.id)
    child = begun(here, again(here, template))
    here.service.templates.delete("acme", template.id)
    assert here.blobs.names("templates") == []
    assert here.sleep(here.turn(child)).archives
    with pytest.raises(NotFound, match="Template"):
        begun(here, template)
    with pytest.raises(NotFound, match="Template"):
        here.service.templates.delete("acme", template.id)


def test_what_waits_cannot_be_begun_with(here: World) -> None:
    template = made(here, here.turn(here.create()))
    with pytest.raises(Conflict, match="preparing"):
        begun(here, template)
    assert len(here.service.page("acme", None, None, 9, None).sessions) == 1


def test_another_accounts_is_not_found(here: World) -> None:
    session = here.sleep(here.turn(here.create()))
    template = made(here, session)
    for call in (here.service.templates.get, here.service.templates.delete):
        with pytest.raises(NotFound, match="Template"):
            call("other", template.id)
    with pytest.raises(NotFound, match="Template"):
        begun(here, template, account="other")
    assert here.service.templates.list("other") == []
    assert here.blobs.names("sessions") == [session.id]
    assert begun(here, template, user_id="another of this account").live


def test_templates_are_listed_in_the_order_they_were_made(here: World) -> None:
    session = here.sleep(here.turn(here.create()))
    names = ["one", "two", "three"]
    for name in names:
        made(here, session, name)
        here.clock.tick(1)
    assert [each.name for each in here.service.templates.list("acme")] == names


def test_they_outlive_the_server(here: World, tmp_path: Path) -> None:
    template = made(here, here.sleep(here.turn(here.create())))
    assert World(here.store, tmp_path).service.templates.get("acme", template.id) == template
