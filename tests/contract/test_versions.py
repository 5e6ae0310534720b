"""Versions of a session, and templates of an account."""

from datetime import timedelta

import pytest

from opensessions.archives import Change
from opensessions.errors import Stale, TooLarge
from opensessions.models import Archive, Changes, Template, TemplateStatus
from opensessions.ports import SessionStore
from tests.contract.engines import Engine
from tests.contract.samples import START, append, create, new, save_version, version, with_head
from tests.contract.test_commits import incompressible

# ---- versions ----


def test_a_version_is_read_back_as_it_was_written(store: SessionStore) -> None:
    fields = {
        "parent": 3,
        "title": "Ünïcode \N{ROCKET}",
        "message_id": "msg_1",
        "files": (Change(path="src/ü.tsx", change="added"), Change(path="b", change="deleted")),
        "changed": 700,
        "claude_session_id": "c-1",
        "turn": 4,
    }
    session = save_version(store, create(store), **fields)
    assert store.get(session.id) == session and session.versions == 1
    assert store.version(session.id, 1) == version(1, **fields)
    assert store.versions(session.id, 0, 9) == [version(1, **fields)]


def test_versions_are_in_order_and_their_sessions_alone(store: SessionStore) -> None:
    session, other = create(store), save_version(store, create(store), title="elsewhere")
    for _ in range(12):
        session = save_version(store, append(store, session))
    for after in (0, 1, 8, 9, 11, 12, 99):
        for limit in (1, 3, 99):
            found = [one.number for one in store.versions(session.id, after, limit)]
            assert found == list(range(1, 13))[after : after + limit]
    assert [one.title for one in store.versions(other.id, 0, 9)] == ["elsewhere"]
    assert store.version(other.id, 2) is store.version("session_x", 1) is None
    assert store.versions("session_x", 0, 9) == []


def test_a_session_can_begin_with_the_newest_of_anothers(store: SessionStore) -> None:
    inherited = tuple(version(number) for number in range(8, 58))
    session = store.commit(None, new(version=57, versions=57), Changes(versions=inherited))
    session = save_version(store, session)
    assert [one.number for one in store.versions(session.id, 0, 99)] == list(range(8, 59))


def test_a_version_is_committed_with_the_session_or_not_at_all(engine: Engine, store: SessionStore) -> None:
    old = create(store)
    append(store, old)
    stored = engine.dump()
    with pytest.raises(Stale):
        save_version(store, old)
    with pytest.raises(TooLarge, match=r"version 1 takes .* at most 350,000"):
        save_version(store, create(store, account="other"), title=incompressible(480_000))
    kinds = {kind for kind, items in engine.dump().items() if items != stored.get(kind)}
    assert not [kind for kind in kinds if "version" in kind or "VER" in kind]
    assert store.versions(old.id, 0, 9) == []


@pytest.mark.parametrize(("numbers", "counted"), [((1,), 2), ((4,), 3), ((4, 3), 4), ((3, 3), 3), ((3,), 2)])
def test_versions_that_do_not_continue_are_a_mistake(
    engine: Engine, store: SessionStore, numbers: tuple[int, ...], counted: int
) -> None:
    session = save_version(store, save_version(store, create(store)))
    stored = engine.dump()
    after = session.model_copy(update={"versions": counted})
    with pytest.raises(ValueError, match="versions"):
        store.commit(session, after, Changes(versions=tuple(map(version, numbers))))
    assert engine.dump() == stored


# ---- templates ----


def template(number: int, **fields: object) -> Template:
    made = START + timedelta(seconds=fields.pop("second", 0))  # type: ignore[arg-type]
    defaults = {
        "id": f"tpl_{number:032x}",
        "account": "acme",
        "name": "Next.js \N{ROCKET}",
        "session_id": "session_1",
        "status": TemplateStatus.PREPARING,
        "created_at": made,
    }
    return Template.model_validate({**defaults, **fields})


def test_a_template_is_written_whole(store: SessionStore) -> None:
    one = template(1)
    assert store.template("acme", one.id) is None
    store.put_template(one)
    assert store.template("acme", one.id) == one
    archive = Archive(
        id="ab" * 16, kind="full", size=1, bytes=2, files=3, commit="cd" * 20, fresh=True, created_at=START
    )
    ready = one.model_copy(update={"status": TemplateStatus.READY, "archive": archive})
    store.put_template(ready)
    assert store.template("acme", one.id) == ready and store.templates("acme") == [ready]


def test_templates_are_of_an_account_and_the_oldest_first(store: SessionStore) -> None:
    create(store)  # whose place among the live ones lies beside the templates
    made = [template(number, second=-number // 2) for number in range(30)]
    for one in made:
        store.put_template(one)
    store.put_template(template(7, account="other"))
    assert store.templates("acme") == sorted(made, key=lambda one: (one.created_at, one.id))
    assert store.templates("none") == []
    assert store.template("other", made[3].id) is None


def test_a_template_can_be_forgotten(store: SessionStore) -> None:
    one, two = template(1), template(2)
    for each in (one, two):
        store.put_template(each)
    for _ in range(2):
        store.drop_template("acme", one.id)
        store.drop_template("other", two.id)
    assert store.templates("acme") == [two] and store.template("acme", one.id) is None


def test_a_template_over_the_bound_is_refused(store: SessionStore) -> None:
    with pytest.raises(TooLarge, match="the template"):
        store.put_template(template(1, name=incompressible(480_000)))
    assert store.templates("acme") == []


def test_versions_and_a_head_go_together(store: SessionStore) -> None:
    """A turn's end: events and the version in one commit."""
    session = append(store, create(store), 3)
    after = with_head(session, asked_seq=1).model_copy(update={"version": 1, "versions": 1})
    session = store.commit(session, after, Changes(versions=(version(1),)))
    assert store.get(session.id) == session and len(store.versions(session.id, 0, 9)) == 1
