"""A boot ticket is swapped for a worker's token: once, soon, and by one alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from opensessions.access import tokens
from opensessions.errors import Unauthorized
from opensessions.events import EventBatch, SandboxReady
from opensessions.models import Session, Status
from tests.fakes import World


def ticket(here: World, session: Session) -> str:
    return tokens.boot_ticket(here.token(session))


def test_the_token_that_a_ticket_buys_is_the_workers_from_then_on(here: World) -> None:
    session = here.create()
    token = here.testimony.boot(ticket(here, session), "10.0.0.7")
    assert here.now(session).address == "10.0.0.7"
    for kind in ("worker", "model", "egress"):
        name = token if kind == "worker" else tokens.derived_token(token, kind)  # type: ignore[arg-type]
        found = here.testimony.identify(name, kind)
        assert found and found.id == session.id
    here.testimony.record_events(token, EventBatch(first_seq=1, events=[SandboxReady()]))
    assert "sandbox_ready" in here.types(session)


def test_what_the_launch_began_with_is_worth_nothing_afterwards(here: World) -> None:
    session = here.create()
    here.testimony.boot(ticket(here, session), "10.0.0.7")
    assert here.testimony.identify(here.token(session), "worker") is None


def test_a_ticket_is_not_a_token(here: World) -> None:
    session = here.create()
    for kind in ("worker", "model", "egress"):
        assert here.testimony.identify(ticket(here, session), kind) is None


def test_a_ticket_that_is_shown_twice_ends_the_sandbox(here: World) -> None:
    session = here.create()
    shown = ticket(here, session)
    token = here.testimony.boot(shown, "10.0.0.7")
    with pytest.raises(Unauthorized):
        here.testimony.boot(shown, "10.0.0.8")
    now = here.now(session)
    assert (now.head.status, now.address) == (Status.ERROR, "10.0.0.7")
    assert here.store.events(session.id, 0, 99)[-1].payload["code"] == "boot_ticket_reused"
    assert here.testimony.identify(token, "worker") is None
    here.supervisor.sweep()
    assert here.runtime.live == {}


NONCE, OTHER = "a" * 64, "b" * 64


def test_the_same_worker_may_ask_again(here: World) -> None:
    session = here.create()
    shown = ticket(here, session)
    token = here.testimony.boot(shown, "10.0.0.7", NONCE)
    booted = here.now(session)
    assert here.testimony.boot(shown, "10.0.0.7", NONCE) == token
    here.testimony.record_events(token, EventBatch(first_seq=1, events=[SandboxReady()]))
    assert here.testimony.boot(shown, "10.0.0.7", NONCE) == token, "a try that was held up on its way"
    assert here.now(session).tokens == booted.tokens
    assert NONCE not in str(booted) and token not in str(booted)


@pytest.mark.parametrize("nonce", [OTHER, None], ids=["another", "none"])
@pytest.mark.parametrize("first", [NONCE, None], ids=["nonce", "no nonce"])
def test_whoever_shows_a_used_ticket_without_the_nonce_is_a_thief(
    here: World, first: str | None, nonce: str | None
) -> None:
    session = here.create()
    shown = ticket(here, session)
    token = here.testimony.boot(shown, "10.0.0.7", first)
    with pytest.raises(Unauthorized):
        here.testimony.boot(shown, "10.0.0.7", nonce)
    assert here.now(session).head.status is Status.ERROR
    with pytest.raises(Unauthorized):
        here.testimony.boot(shown, "10.0.0.7", first)
    assert here.testimony.identify(token, "worker") is None


def test_many_who_ask_at_once_with_one_nonce_are_one(here: World) -> None:
    session = here.create()
    shown = ticket(here, session)
    with ThreadPoolExecutor(8) as pool:
        bought = set(pool.map(lambda _: here.testimony.boot(shown, "10.0.0.7", NONCE), range(40)))
    assert len(bought) == 1 and here.now(session).live


def test_a_ticket_has_its_time(here: World) -> None:
    session = here.create()
    here.clock.tick(301)
    with pytest.raises(Unauthorized):
        here.testimony.boot(ticket(here, session), "10.0.0.7")
    assert here.now(session) == session


def test_a_ticket_of_an_older_launch_or_another_sandbox_or_of_none_buys_nothing(here: World) -> None:
    session, other = here.create(), here.create()
    old = ticket(here, session)
    here.supervisor.sandbox_stopped(session.sandbox_id, 1, "It crashed.")
    here.catch_up()
    theirs = ticket(here, other).rsplit("_", 1)[1]
    mine = ticket(here, session).rsplit("_", 1)[0]
    for wrong in (old, f"{mine}_{theirs}", here.token(session), "", "osw_x"):
        with pytest.raises(Unauthorized):
            here.testimony.boot(wrong, "10.0.0.7")
    assert here.now(session).head.status is Status.RUNNING


def test_an_ended_session_boots_no_more(here: World) -> None:
    session = here.create()
    shown = ticket(here, session)
    here.service.end("acme", session.id)
    with pytest.raises(Unauthorized):
        here.testimony.boot(shown, "10.0.0.7")
