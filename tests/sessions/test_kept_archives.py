"""Which archives of a session are kept, and which are none."""

from typing import Any

import pytest

from opensessions.access import tokens
from opensessions.errors import Conflict, Unauthorized
from opensessions.models import Session
from opensessions.sessions.keeping import place
from tests.fakes import World, archived, changed, commit

OTHER = "f" * 32


@pytest.mark.parametrize(
    ("made", "kept", "needed"),
    [
        ("l", [0], [0]),
        ("f", [0], [0]),
        ("lll", [1, 2], [2]),
        ("lf", [0, 1], [1]),
        ("fl", [0, 1], [0, 1]),
        ("flll", [0, 2, 3], [0, 3]),
        ("fff", [1, 2], [2]),
        ("fflll", [1, 3, 4], [1, 4]),
        ("flf", [1, 2], [2]),
    ],
)
def test_the_newest_two_archives_are_kept_and_the_newest_full_one(
    here: World, made: str, kept: list[int], needed: list[int]
) -> None:
    session = here.turn(here.create())
    ids = [f"{n:032x}" for n in range(len(made))]
    for kind, archive_id in zip(made, ids, strict=True):
        here.pack(session, {"l": "light", "f": "full"}[kind], archive_id)
    assert [archive_id for _, archive_id in here.kept(session)] == [ids[n] for n in kept]
    beginning = here.keeper.beginning(here.now(session))
    assert [source.id for source in beginning.sources] == [ids[n] for n in needed]
    assert (beginning.commit, beginning.claude_session_id, beginning.fresh) == (None, "c1", False)


def test_what_was_begun_and_never_finished_is_thrown_away(here: World) -> None:
    session = here.turn(here.create())
    orphan = place(session.id, OTHER)
    here.blobs.put(f"{orphan}/0", b"half")
    here.pack(session)
    assert here.blobs.names(orphan) == []
    here.sleep(session)
    here.blobs.put(f"{orphan}/0", b"half")
    here.clock.tick(61)
    here.supervisor.sweep()
    assert here.blobs.names(orphan) == []
    assert len(here.kept(session)) == 2


def test_an_archive_that_is_begun_meanwhile_is_left_alone(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = here.turn(here.create())
    commits = here.store.commit

    def and_on(*args: Any, **more: Any) -> Session:
        saved = commits(*args, **more)
        here.blobs.put(f"{place(session.id, OTHER)}/0", b"next")
        return saved

    with monkeypatch.context() as patched:
        patched.setattr(here.store, "commit", and_on)
        here.pack(session)
    assert here.blobs.size(f"{place(session.id, OTHER)}/0") == 4


def test_one_that_is_woken_under_the_sweep_keeps_all(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = here.sleep(here.turn(here.create()))
    stop = here.runtime.stop

    def and_wake(sandbox_id: str) -> None:
        stop(sandbox_id)
        monkeypatch.undo()
        here.keep_turn(here.service.send("acme", session.id, "u1", "Wake up"))

    monkeypatch.setattr(here.runtime, "stop", and_wake)
    here.clock.tick(61)
    here.supervisor.sweep()
    assert [kind for kind, _ in here.kept(session)] == ["full", "light"]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"turns": [changed(number=1)], "commit": commit(1)}, 1),
        ({"turns": [changed(number=1), changed(number=2)], "commit": commit(2)}, 2),
        ({"turns": [changed()]}, None),
        ({"commit": commit(1)}, None),
        ({"kind": "full", "inbox_seq": 1}, None),
    ],
)
def test_an_archive_that_is_told_again_changes_nothing(
    here: World, said: dict[str, Any], answer: int | None
) -> None:
    session = here.keep_turn(here.create())
    answer = answer and answer + 1
    kept = here.pack(session, archive_id=OTHER, **said)
    assert (kept.version, kept.stop) == (answer, False)
    once = here.now(session)
    assert here.pack(session, archive_id=OTHER, **said) == kept
    assert here.now(session) == once


def test_the_archive_of_bedtime_is_the_last_word(here: World) -> None:
    session = here.turn(here.create())
    token = here.token(session)
    asleep = here.sleep(session)
    with pytest.raises(Unauthorized):
        here.testimony.archived(token, asleep.archives[-1].id, archived("full", inbox_seq=2))
    assert here.now(session) == asleep


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("0", {}),
        ("256", {}),
        (None, {"parts": archived().parts * 2}),
        (None, {"parts": [archived().listing]}),
        (None, {"bytes": 2_000_000_001}),
    ],
)
def test_a_partial_or_too_large_archive_is_none(
    here: World, missing: str | None, said: dict[str, Any]
) -> None:
    session = here.keep_turn(here.create())
    here.service.hibernate("acme", session.id)
    before, kept = here.now(session), here.kept(session)
    put = here.blobs.put
    here.blobs.put = lambda key, data: None if key.endswith(f"/{missing}") else put(key, data)  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        here.fall_asleep(session, **said)
    here.blobs.put = put  # type: ignore[method-assign]
    assert here.now(session) == before
    assert here.fall_asleep(session).archives[0].id == kept[0][1]
    assert len(here.kept(session)) == 2


def test_nobody_elses_archive_is_taken(here: World) -> None:
    session, dead = here.turn(here.create()), here.create()
    mine, theirs = here.token(session), here.token(dead)
    here.service.end("acme", dead.id)
    for token in ("", "osw_x", theirs, mine[:-64] + "0" * 64, tokens.derived_token(mine, "egress")):
        with pytest.raises(Unauthorized):
            here.testimony.archived(token, OTHER, archived())
    assert here.now(session).archives == ()
