"""Limits over HTTP: of a session, and of what a user may spend."""

from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from opensessions.events import SandboxReady
from opensessions.models import Limits
from tests.calling import call
from tests.fakes import World
from tests.http.conftest import Dump

SESSIONS = "/v1/sessions"
GOOD: dict[str, Any] = {"prompt": "Go", "user_id": "u1"}
NONE = {"day": {"costUsd": None, "tokens": None}, "month": {"costUsd": None, "tokens": None}}


def test_limits_are_taken_and_shown(client: TestClient) -> None:
    limits = {"cost_usd": 0.5, "tokens": 10, "turns": 3, "turnSeconds": 60, "lifetime_seconds": 3600}
    shown = client.post(SESSIONS, json={**GOOD, "limits": {**limits, "egress_bytes": 0}}).json()["limits"]
    assert shown == {
        "costUsd": 0.5, "tokens": 10, "turns": 3, "turnSeconds": 60, "lifetimeSeconds": 3600,
        "idleSeconds": 600, "workspaceBytes": 2_000_000_000, "egressBytes": 0,
    }  # fmt: skip


BAD_AMOUNTS: list[Any] = [0, -1, 0.001, 1_000_001, "5", True, [], 1e308]
BAD: list[tuple[str, Any]] = [
    *(("cost_usd", value) for value in BAD_AMOUNTS),
    *(("tokens", value) for value in (0, -1, 1.5, "5", True, 10**12 + 1, 10**18)),
    *(("turns", value) for value in (0, 10**6 + 1, 2.0)),
    *(("turn_seconds", value) for value in (9, 86_401, "never")),
    *(("lifetime_seconds", value) for value in (59, 10**10)),
    *(("egress_bytes", value) for value in (-1, 10**15 + 1, 0.5)),
    *(("idle_seconds", value) for value in (59, True, "always")),
    *(("workspace_bytes", value) for value in (0, 10**11)),
]


@pytest.mark.parametrize(("limit", "value"), BAD)
def test_limits_that_are_none_are_refused(client: TestClient, dump: Dump, limit: str, value: Any) -> None:
    session = client.post(SESSIONS, json=GOOD).json()["id"]
    before = dump()
    for answer in (
        client.post(SESSIONS, json={**GOOD, "limits": {limit: value}}),
        client.patch(f"{SESSIONS}/{session}", json={"limits": {limit: value}}),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["field"]) == (400, f"limits.{limit}"), answer.text
    assert dump() == before


@pytest.mark.parametrize("raw", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_amounts_that_are_no_numbers_are_refused(client: TestClient, raw: str) -> None:
    json = {"Content-Type": "application/json"}
    body = f'{{"prompt": "Go", "user_id": "u1", "limits": {{"cost_usd": {raw}}}}}'
    assert client.post(SESSIONS, content=body, headers=json).status_code == 400
    answer = client.put("/v1/users/u/limits", content=f'{{"day": {{"cost_usd": {raw}}}}}', headers=json)
    assert answer.status_code == 400


def test_a_patch_changes_what_it_names_and_null_takes_a_bound_away(client: TestClient) -> None:
    limits = {"cost_usd": 1, "tokens": 10, "turns": 3, "idle_seconds": 60, "workspace_bytes": 1_000_000}
    session = client.post(SESSIONS, json={**GOOD, "limits": limits}).json()["id"]
    changes = {"costUsd": 2.5, "tokens": None, "idle_seconds": "never", "workspace_bytes": None}
    answer = client.patch(f"{SESSIONS}/{session}", json={"limits": changes, "user_id": "u1"})
    assert answer.status_code == 200
    shown = {name: bound for name, bound in answer.json()["limits"].items() if bound is not None}
    assert shown == {"costUsd": 2.5, "turns": 3, "idleSeconds": "never", "workspaceBytes": 2_000_000_000}
    back = client.patch(f"{SESSIONS}/{session}", json={"limits": {"idle_seconds": None}}).json()
    assert back["limits"]["idleSeconds"] == 600
    assert client.patch(f"{SESSIONS}/{session}", json={"limits": {}}).json()["limits"] == back["limits"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "limits"),
        ({"limits": None}, 400, "limits"),
        ({"limits": []}, 400, "limits"),
        ({"limits": {"costs": 1}}, 400, "limits.costs"),
        ({"limits": {"cost_usd": 1, "costUsd": 2}}, 400, "limits"),
        ({"limits": {}, "title": "x"}, 400, "title"),
        ({"limits": {}, "user_id": "u2"}, 404, None),
    ],
)
def test_what_is_no_change_is_refused(
    client: TestClient, dump: Dump, body: Any, status: int, field: str | None
) -> None:
    session = client.post(SESSIONS, json=GOOD).json()["id"]
    before = dump()
    answer = client.patch(f"{SESSIONS}/{session}", json=body)
    assert (answer.status_code, answer.json()["error"].get("field")) == (status, field)
    assert dump() == before


def test_nobody_else_changes_limits(client: TestClient, other: TestClient, keyless: TestClient) -> None:
    session = client.post(SESSIONS, json=GOOD).json()["id"]
    body = {"limits": {"cost_usd": 5}}
    assert other.patch(f"{SESSIONS}/{session}", json=body).status_code == 404
    assert keyless.patch(f"{SESSIONS}/{session}", json=body).status_code == 401
    written = client.post(f"{SESSIONS}/{session}/tokens", json={"scope": "write"}).json()["token"]
    bearer = {"Authorization": f"Bearer {written}"}
    assert keyless.patch(f"{SESSIONS}/{session}", json=body, headers=bearer).status_code == 403
    for way in (keyless.get, lambda path, **more: keyless.put(path, json=NONE, **more)):
        assert way("/v1/users/u1/limits").status_code == 401
        assert way("/v1/users/u1/limits", headers=bearer).status_code == 403
    assert client.patch(f"{SESSIONS}/session_{'0' * 32}", json=body).status_code == 404


def test_money_and_models_without_a_price(client: TestClient) -> None:
    body = {**GOOD, "agent_config": {"model": "mystery-1"}}
    refused = client.post(SESSIONS, json={**body, "limits": {"cost_usd": 1}})
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "limits.cost_usd")
    assert refused.json()["error"]["message"] == (
        "The price of mystery-1 is not known, so a limit of money would not hold; limit tokens."
    )
    session = client.post(SESSIONS, json={**body, "limits": {"tokens": 1000}}).json()["id"]
    answer = client.patch(f"{SESSIONS}/{session}", json={"limits": {"cost_usd": 1}})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "limits.cost_usd")


def test_an_empty_budget_is_a_402_that_says_what_to_do(here: World, client: TestClient) -> None:
    session = here.create(limits=Limits(cost_usd=0.01))
    here.say(session, SandboxReady())
    call(here, session, 1000)
    message = {"message": "More", "user_id": "u1"}
    refused = client.post(f"{SESSIONS}/{session.id}/messages", json=message)
    assert (refused.status_code, refused.json()["error"]["type"]) == (402, "budget_exceeded")
    assert "raise its limit" in refused.json()["error"]["message"]
    assert client.patch(f"{SESSIONS}/{session.id}", json={"limits": {"cost_usd": 1}}).status_code == 200
    assert client.post(f"{SESSIONS}/{session.id}/messages", json=message).status_code == 200
    assert client.put("/v1/users/u1/limits", json={"day": {"cost_usd": 0.01}}).status_code == 200
    assert client.post(SESSIONS, json=GOOD).status_code == 402
    assert client.post(f"{SESSIONS}/{session.id}/messages", json=message).status_code == 402


def test_what_a_session_used_is_shown(here: World, client: TestClient) -> None:
    session = here.create()
    here.say(session, SandboxReady())
    call(here, session, 300)
    here.clock.tick(2.5)
    here.service.end("acme", session.id)
    assert client.get(f"{SESSIONS}/{session.id}").json()["usage"] == {
        "calls": 1, "inputTokens": 0, "outputTokens": 300, "cacheReadTokens": 0, "cacheWriteTokens": 0,
        "costUsd": 0.003, "sandboxSeconds": 2.5, "egressBytes": 0,
    }  # fmt: skip


def test_a_version_shows_what_its_turn_cost(here: World, client: TestClient) -> None:
    session = here.create()
    here.say(session, SandboxReady())
    call(here, session, 300)
    here.keep_turn(session, message_id=here.store.messages(session.id, 1)[0].id)
    here.service.send("acme", session.id, "u1", "More")
    here.keep_turn(session)
    shown = client.get(f"{SESSIONS}/{session.id}/versions").json()["data"]
    assert [version["costUsd"] for version in shown] == [0.003, None]


USERS = ["u1", "a/b", "ü@example.com", "100 %", "limits", "a?b#c", "x" * 256]


@pytest.mark.parametrize("user_id", USERS)
def test_a_user_s_limits_are_put_and_read_back(client: TestClient, other: TestClient, user_id: str) -> None:
    path = f"/v1/users/{quote(user_id, safe='')}/limits"
    assert client.get(path).json() == {"userId": user_id, **NONE}
    body = {"day": {"cost_usd": 5, "tokens": None}, "month": {"tokens": 10**6}}
    for _ in range(2):
        answer = client.put(path, json=body)
        assert answer.status_code == 200
    wanted = {"day": {"costUsd": 5.0, "tokens": None}, "month": {"costUsd": None, "tokens": 10**6}}
    assert answer.json() == client.get(path).json() == {"userId": user_id, **wanted}
    assert other.get(path).json() == {"userId": user_id, **NONE}
    assert client.put(path, json={}).json() == {"userId": user_id, **NONE}


@pytest.mark.parametrize("user_id", ["\x00", "a\u2028b", "x" * 257])
def test_users_that_there_cannot_be(client: TestClient, dump: Dump, user_id: str) -> None:
    before = dump()
    path = f"/v1/users/{quote(user_id, safe='')}/limits"
    for answer in (client.get(path), client.put(path, json={})):
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, "user_id")
    assert dump() == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], None),
        ({"week": {}}, "week"),
        ({"day": 5}, "day"),
        ({"day": {"cost_usd": -0.01}}, "day.cost_usd"),
        ({"day": {"cost_usd": True}}, "day.cost_usd"),
        ({"month": {"tokens": 1.5}}, "month.tokens"),
        ({"month": {"euros": 1}}, "month.euros"),
    ],
)
def test_what_is_no_wallet_is_refused(client: TestClient, dump: Dump, body: Any, field: str | None) -> None:
    before = dump()
    answer = client.put("/v1/users/u1/limits", json=body)
    assert (answer.status_code, answer.json()["error"].get("field")) == (400, field), answer.text
    assert dump() == before
