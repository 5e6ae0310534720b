"""Who did what, as `GET /v1/audit` tells it."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from opensessions.models import timestamp
from tests.fakes import World, open_account
from tests.http.conftest import Dump

NEW = {"prompt": "Build a canary-of-a-prompt", "user_id": "u1"}


def record(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    """All of it, oldest first."""
    answer = client.get("/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    return list(reversed(answer.json()["data"]))


def told(client: TestClient, **query: Any) -> list[tuple[str, str | None, str | None, int]]:
    return [(e["action"], e["target"], e["userId"], e["result"]) for e in record(client, **query)]


def test_what_is_done_is_on_the_record(here: World, client: TestClient) -> None:
    id = client.post("/v1/sessions", json=NEW).json()["id"]
    client.post(f"/v1/sessions/{id}/messages", json={"message": "canary-of-a-message", "userId": "u1"})
    here.turn(here.store.get(id))  # type: ignore[arg-type]
    client.post(f"/v1/sessions/{id}/restore", json={"version": 7})
    client.post(f"/v1/sessions/{id}/hibernate", params={"user_id": "u1"})
    client.post(f"/v1/sessions/{id}/tokens", json={"scope": "read"})
    client.delete(f"/v1/sessions/{id}/tokens")
    client.put("/v1/users/u1/limits", json={"day": {"tokens": 5}})
    hook = client.post("/v1/webhooks", json={"url": "https://example.com/", "events": ["*"]}).json()["id"]
    client.delete(f"/v1/webhooks/{hook}")
    client.get(f"/v1/sessions/{id}")
    client.delete(f"/v1/sessions/{id}")
    client.delete(f"/v1/sessions/{id}?purge=true")
    entries = told(client)
    assert sorted(entries) == sorted([
        ("create_session", id, "u1", 201),
        ("send_message", id, "u1", 200),
        ("restore_session", id, None, 404),
        ("hibernate_session", id, "u1", 200),
        ("create_token", id, None, 201),
        ("revoke_tokens", id, None, 204),
        ("put_user_limits", "u1", None, 200),
        ("create_webhook", hook, None, 201),
        ("delete_webhook", hook, None, 204),
        ("end_session", id, None, 200),
        ("purge_session", id, None, 200),
    ])  # fmt: skip
    (key,) = here.keyring.of_account("acme")
    by = {"kind": "key", "id": key.id, "name": key.name, "scope": "admin", "session": None}
    assert all(entry["by"] == by and entry["ip"] == "testclient" for entry in record(client))


def test_a_tokens_reads_are_told_once_a_minute_and_a_keys_are_not(here: World, client: TestClient) -> None:
    here.clock.now = here.clock.now.replace(second=0, microsecond=0)
    id = client.post("/v1/sessions", json=NEW).json()["id"]
    token = client.post(f"/v1/sessions/{id}/tokens", json={"scope": "read"}).json()["token"]
    with TestClient(client.app, headers={"Authorization": f"Bearer {token}"}) as visitor:
        for _ in range(3):
            for path in ("", "/events/page", "/versions"):
                assert visitor.get(f"/v1/sessions/{id}{path}").status_code == 200
                assert client.get(f"/v1/sessions/{id}{path}").status_code == 200
        here.clock.tick(60)
        visitor.get(f"/v1/sessions/{id}")
        assert visitor.get("/v1/sessions").status_code == 403
        client.delete(f"/v1/sessions/{id}/tokens")
        assert visitor.get(f"/v1/sessions/{id}").status_code == 401
    by_token = [entry for entry in record(client) if entry["by"]["kind"] == "token"]
    assert {(e["by"]["scope"], e["by"]["session"]) for e in by_token} == {("read", id)}
    assert sorted((e["action"], e["target"], e["result"]) for e in by_token) == [
        ("get_session", id, 200),
        ("get_session", id, 200),
        ("get_session", id, 401),
        ("list_sessions", None, 403),
        ("list_versions", id, 200),
        ("page_events", id, 200),
    ]


def test_refusals_of_what_was_a_key_are_told_and_of_what_never_was_are_not(
    here: World, client: TestClient
) -> None:
    reader = open_account(here.keyring, scope="read")
    for _ in range(3):
        assert client.post("/v1/sessions", json=NEW, headers={"X-API-Key": reader}).status_code == 403
        assert client.get("/v1/sessions", headers={"X-API-Key": "osb_" + "0" * 64}).status_code == 401
    (key,) = (key for key in here.keyring.of_account("acme") if key.scope == "read")
    here.keyring.revoke(key, here.clock())
    for _ in range(3):
        assert client.get("/v1/sessions", headers={"X-API-Key": reader}).status_code == 401
    entries = record(client)
    assert sorted((e["action"], e["result"]) for e in entries) == [
        ("create_session", 403),
        ("list_sessions", 401),
    ]
    assert {e["by"]["id"] for e in entries} == {key.id}


def test_it_is_of_one_account_in_pages_and_between_two_times(
    here: World, client: TestClient, other: TestClient
) -> None:
    times = []
    for _ in range(4):
        times.append(timestamp(here.clock.now))
        client.post("/v1/sessions", json=NEW)
        here.clock.tick(3600)
    assert told(other) == []
    assert len(told(client)) == 4
    assert [e["at"] for e in record(client, **{"from": times[1], "to": times[3]})] == times[1:3]
    day = here.clock.now.date()
    assert (
        len(told(client, **{"from": str(day - timedelta(days=1)), "to": str(day + timedelta(days=2))})) == 4
    )
    seen, cursor = [], None
    while True:
        page = client.get("/v1/audit", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [entry["at"] for entry in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert seen == times[::-1]


@pytest.mark.parametrize(
    "query", [{"from": "yesterday"}, {"to": "x"}, {"limit": 0}, {"limit": 501}, {"cursor": "xyz"}]
)
def test_a_wrong_question_is_refused(client: TestClient, query: dict[str, Any]) -> None:
    answer = client.get("/v1/audit", params=query)
    assert answer.status_code == 400 and answer.json()["error"]["field"] == next(iter(query))


def test_it_takes_the_scope_admin_and_survives_a_purge_without_what_was_said(
    here: World, client: TestClient, dump: Dump
) -> None:
    for scope in ("read", "write"):
        key = open_account(here.keyring, scope=scope)  # type: ignore[arg-type]
        assert client.get("/v1/audit", headers={"X-API-Key": key}).status_code == 403
    id = client.post("/v1/sessions", json=NEW).json()["id"]
    client.delete(f"/v1/sessions/{id}?purge=1")
    assert ("purge_session", id, None, 200) in told(client)
    assert not [line for line in dump() if "canary" in line]


def test_the_answer_is_given_though_nothing_can_be_recorded(
    here: World, client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(here.audit, "add", fails)
    assert client.post("/v1/sessions", json=NEW).status_code == 201
    assert "is not on the record" in caplog.text and "canary" not in caplog.text
