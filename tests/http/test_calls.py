"""The callback's routes on model calls and egress."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from opensessions.handshake import derived_token
from opensessions.http import callback
from opensessions.models import Limits, Session
from tests.fakes import World
from tests.http.conftest import Dump

CALLS, EGRESS = "/callback/v1/calls", "/callback/v1/egress"
ONE, OTHER = "1" * 32, "2" * 32
INTENT = {"id": ONE, "model": "claude-test", "input_tokens": 1000, "max_tokens": 100}
USAGE = {"input_tokens": 900, "output_tokens": 10, "cache_read_input_tokens": 40}


@pytest.fixture
def gateway(here: World) -> Iterator[TestClient]:
    with TestClient(callback.create_app(here.testimony), raise_server_exceptions=False) as client:
        yield client


def bearer(here: World, session: Session) -> dict[str, str]:
    return {"Authorization": f"Bearer {derived_token(here.token(session), 'model')}"}


def settlement(session: Session, usage: Any = USAGE, **more: Any) -> dict[str, Any]:
    return {"session_id": session.id, "model": "claude-test", "usage": usage, "estimated": False, **more}


def test_a_call_is_reserved_and_settled_once(here: World, gateway: TestClient) -> None:
    session = here.create()
    for _ in range(2):
        assert gateway.post(CALLS, json=INTENT, headers=bearer(here, session)).status_code == 204
    for _ in range(2):
        answer = gateway.post(f"{CALLS}/{ONE}/settlement", json=settlement(session))
        assert (answer.status_code, answer.content) == (204, b"")
    used = here.metering.used(session)
    assert (used.calls, used.input_tokens, used.output_tokens, used.cache_read_tokens) == (1, 900, 10, 40)
    assert used.cost_usd == (900 + 10 * 10 + 40 / 10) / 1e6


def test_only_a_live_sandbox_s_model_token_reserves(here: World, gateway: TestClient, dump: Dump) -> None:
    session = here.create()
    dead = here.create()
    ended = bearer(here, dead)
    here.service.end("acme", dead.id)
    before = dump()
    worker = {"Authorization": f"Bearer {here.token(session)}"}
    for headers in ({}, worker, ended, {"Authorization": "Bearer osw_x"}):
        answer = gateway.post(CALLS, json=INTENT, headers=headers)
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "unauthorized")
    assert dump() == before


def test_a_budget_that_is_used_up_is_a_402(here: World, gateway: TestClient) -> None:
    session = here.create(limits=Limits(tokens=500))
    assert gateway.post(CALLS, json=INTENT, headers=bearer(here, session)).status_code == 204
    busy = gateway.post(CALLS, json={**INTENT, "id": OTHER}, headers=bearer(here, session))
    assert (busy.status_code, busy.json()["error"]["type"]) == (429, "rate_limited")
    assert gateway.post(f"{CALLS}/{ONE}/settlement", json=settlement(session)).status_code == 204
    spent = gateway.post(CALLS, json={**INTENT, "id": OTHER}, headers=bearer(here, session))
    assert (spent.status_code, spent.json()["error"]["type"]) == (402, "budget_exceeded")
    assert "500 tokens for this session is used up" in spent.json()["error"]["message"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "x"}, "id"),
        ({"id": ONE.upper().replace("1", "A")}, "id"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"input_tokens": -1}, "input_tokens"),
        ({"input_tokens": 1.5}, "input_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 10**10}, "max_tokens"),
        ({"fallbacks": ["x"] * 9}, "fallbacks"),
        ({"session_id": "session_" + ONE}, "session_id"),
    ],
)
def test_what_is_no_intent_is_refused(
    here: World, gateway: TestClient, dump: Dump, change: dict[str, Any], field: str
) -> None:
    session = here.create()
    before = dump()
    answer = gateway.post(CALLS, json={**INTENT, **change}, headers=bearer(here, session))
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)
    assert dump() == before


@pytest.mark.parametrize(
    ("usage", "tokens", "lost"),
    [
        ({}, 0, 0),
        (None, 1100, 1),
        ({"input_tokens": -5, "output_tokens": 10**6 + 0.5, "cache_read_input_tokens": "9"}, 0, 0),
        ({"input_tokens": 7, "cache_creation": [], "server_tool_use": {"web_search_requests": 3}}, 7, 0),
        ({"input_tokens": True, "output_tokens": None}, 0, 0),
    ],
)
def test_usage_is_read_with_care(
    here: World, gateway: TestClient, usage: Any, tokens: int, lost: int
) -> None:
    session = here.create()
    gateway.post(CALLS, json=INTENT, headers=bearer(here, session))
    assert gateway.post(f"{CALLS}/{ONE}/settlement", json=settlement(session, usage)).status_code == 204
    used = here.metering.used(session)
    assert (used.tokens, used.lost) == (tokens, lost)


def test_an_answer_under_an_unknown_name_costs_what_the_asked_model_does(
    here: World, gateway: TestClient
) -> None:
    session = here.create()
    gateway.post(CALLS, json=INTENT, headers=bearer(here, session))
    said = settlement(session, model="the-same-by-another-name", asked="claude-test")
    assert gateway.post(f"{CALLS}/{ONE}/settlement", json=said).status_code == 204
    assert here.metering.used(session).cost_usd == (900 + 10 * 10 + 40 / 10) / 1e6


def test_a_settlement_of_what_is_not_known_changes_nothing(
    here: World, gateway: TestClient, dump: Dump
) -> None:
    session = here.create()
    before = dump()
    for body in (settlement(session), settlement(session, None)):
        assert gateway.post(f"{CALLS}/{OTHER}/settlement", json=body).status_code == 204
    assert gateway.post(f"{CALLS}/x/settlement", json=settlement(session)).status_code == 404
    assert gateway.post(f"{CALLS}/{ONE}/settlement", json={}).status_code == 400
    assert dump() == before


def test_egress_counts_once_and_tells_what_is_left(here: World, gateway: TestClient) -> None:
    free, session = here.create(), here.create(limits=Limits(egress_bytes=1000))
    body = {"session_id": session.id, "id": ONE, "bytes": 600}
    for _ in range(2):
        assert gateway.post(EGRESS, json=body).json() == {"left": 400}
    assert gateway.post(EGRESS, json={**body, "id": OTHER}).json() == {"left": 0}
    assert here.types(session)[-1] == "limit_reached"
    assert gateway.post(EGRESS, json={**body, "session_id": free.id}).json() == {"left": None}
    assert gateway.post(EGRESS, json={**body, "session_id": "session_" + ONE}).json() == {"left": 0}
    assert gateway.post(EGRESS, json={**body, "bytes": -1}).status_code == 400
