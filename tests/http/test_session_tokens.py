"""Tokens of one session: what they open, and all that they do not."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from opensessions.access.passes import PREVIEW_SECONDS
from opensessions.models import AgentConfig, Session
from tests.fakes import World
from tests.http.conftest import Dump


def path(session: Session, rest: str = "/tokens") -> str:
    return f"/v1/sessions/{session.id}{rest}"


def issue(client: TestClient, session: Session, **body: Any) -> Any:
    answer = client.post(path(session), json={"scope": "read", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def kind(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["type"] if answer.status_code >= 400 else ""


READ = [("GET", ""), ("GET", "/events/page"), ("GET", "/versions"), ("GET", "/versions/1/diff")]
WRITE: list[tuple[str, str, Any]] = [
    ("POST", "/interrupt", None),
    ("POST", "/restore", {"version": 1}),
    ("POST", "/messages", {"message": "hi", "user_id": "u1"}),
]
NEVER: list[tuple[str, str, Any]] = [
    ("DELETE", "", None),
    ("DELETE", "?purge=true", None),
    ("POST", "/hibernate", None),
    ("POST", "/tokens", {"scope": "read"}),
    ("DELETE", "/tokens", None),
]
ELSEWHERE: list[tuple[str, str, Any]] = [
    ("POST", "/v1/sessions", {"prompt": "x", "user_id": "u1"}),
    ("GET", "/v1/sessions", None),
    ("GET", "/v1/templates", None),
    ("POST", "/v1/templates", {"session": "session_" + "0" * 32, "name": "x"}),
]


def test_a_token_is_told_once_and_opens_its_session(
    here: World, client: TestClient, keyless: TestClient, dump: Dump
) -> None:
    session = here.create()
    made = issue(client, session)
    assert sorted(made) == ["events_url", "expires_at", "scope", "token"]
    assert re.fullmatch("oss_[0-9a-f]{32}_[0-9a-f]{64}", made["token"])
    assert made["events_url"] == f"http://testserver/v1/sessions/{session.id}/events?token={made['token']}"
    assert (made["scope"], made["expires_at"]) == ("read", "2026-11-24T12:15:00.000Z")
    assert not [line for line in dump() if made["token"] in line]
    for headers in (bearer(made["token"]), {"X-API-Key": made["token"]}):
        assert keyless.get(path(session, ""), headers=headers).json()["id"] == session.id
    assert keyless.get(path(session, f"?token={made['token']}")).status_code == 401


@pytest.mark.parametrize("scope", ["read", "write"])
def test_the_scope_says_what_it_opens(
    here: World, client: TestClient, keyless: TestClient, scope: str
) -> None:
    session = here.keep_turn(here.create())
    headers = bearer(issue(client, session, scope=scope)["token"])
    for verb, rest in READ:
        assert keyless.request(verb, path(session, rest), headers=headers).status_code == 200, rest
    for verb, rest, body in WRITE:
        told = kind(keyless.request(verb, path(session, rest), headers=headers, json=body))
        assert told == ((200, "") if scope == "write" else (403, "forbidden")), rest
    before = here.now(session)
    for verb, rest, body in NEVER:
        answer = keyless.request(verb, path(session, rest), headers=headers, json=body)
        assert kind(answer) == (403, "forbidden"), rest
    for verb, url, body in ELSEWHERE:
        assert kind(keyless.request(verb, url, headers=headers, json=body)) == (403, "forbidden"), url
    assert here.now(session) == before


def test_another_session_is_not_found_and_another_user_neither(
    here: World, client: TestClient, keyless: TestClient
) -> None:
    session, other = here.create(), here.create()
    headers = bearer(issue(client, session, scope="write")["token"])
    nobodys = other.model_copy(update={"id": "session_" + "0" * 32})
    for one in (other, nobodys):
        for verb, rest in READ:
            assert kind(keyless.request(verb, path(one, rest), headers=headers)) == (404, "not_found")
        for verb, rest, body in WRITE:
            told = kind(keyless.request(verb, path(one, rest), headers=headers, json=body))
            assert told == (404, "not_found")
    assert kind(keyless.get(path(session, "?user_id=u2"), headers=headers)) == (404, "not_found")
    wrong = {"message": "hi", "user_id": "u2"}
    answer = keyless.post(path(session, "/messages"), headers=headers, json=wrong)
    assert kind(answer) == (404, "not_found")


def test_only_whose_session_it_is_gets_tokens(
    here: World, client: TestClient, other: TestClient, keyless: TestClient
) -> None:
    session = here.create()
    for user, status in (("u1", 201), ("u2", 404)):
        assert client.post(path(session), json={"scope": "read", "user_id": user}).status_code == status
        assert client.delete(path(session), params={"user_id": user}).status_code in (status, 204)
    assert kind(other.post(path(session), json={"scope": "read"})) == (404, "not_found")
    assert kind(other.delete(path(session))) == (404, "not_found")
    assert kind(keyless.post(path(session), json={"scope": "read"})) == (401, "unauthorized")


def test_it_dies_by_time_by_revocation_and_with_its_session(
    here: World, client: TestClient, keyless: TestClient
) -> None:
    session = here.create()

    def opens(token: str) -> bool:
        answer = keyless.get(path(session, ""), headers=bearer(token))
        assert answer.status_code in (200, 401)
        return answer.status_code == 200

    short, long = (issue(client, session, ttl=ttl)["token"] for ttl in (60, 3600))
    here.clock.tick(59)
    assert opens(short) and opens(long)
    here.clock.tick(1)
    assert not opens(short) and opens(long)
    assert client.delete(path(session)).status_code == 204
    assert not opens(long) and session.id in here.woken
    later = issue(client, session)["token"]
    assert opens(later)
    client.delete(path(session, ""))
    assert not opens(later)
    assert kind(client.post(path(session), json={"scope": "read"})) == (409, "conflict")
    assert client.delete(path(session)).status_code == 204
    client.delete(path(session, "?purge=true"))
    assert not opens(later)


def test_create_gives_one_when_asked(here: World, client: TestClient, keyless: TestClient) -> None:
    body = {"prompt": "Build a todo app", "user_id": "u1"}
    assert "token" not in client.post("/v1/sessions", json=body).json()
    keyed = {"Idempotency-Key": "k"}
    made = [client.post("/v1/sessions?token=write", json=body, headers=keyed).json() for _ in range(2)]
    assert made[0]["id"] == made[1]["id"] and made[0]["token"] != made[1]["token"]
    for each in made:
        assert each["token"]["scope"] == "write"
        opened = keyless.get(f"/v1/sessions/{each['id']}", headers=bearer(each["token"]["token"]))
        assert opened.status_code == 200
    assert kind(client.post("/v1/sessions?token=preview", json=body)) == (400, "invalid_request")
    client.delete(f"/v1/sessions/{made[0]['id']}")
    again = client.post("/v1/sessions?token=read", json=body, headers=keyed)
    assert again.status_code == 201 or again.json()["error"]["type"] == "conflict"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "scope"),
        ({"scope": "all"}, "scope"),
        ({"scope": "read", "ttl": 59}, "ttl"),
        ({"scope": "read", "ttl": 3601}, "ttl"),
        ({"scope": "read", "ttl": "60"}, "ttl"),
        ({"scope": "read", "sessions": 1}, "sessions"),
        ({"scope": "read", "port": 3000}, None),
        ({"scope": "preview", "ttl": 60}, None),
        ({"scope": "preview", "port": 80}, "port"),
    ],
)
def test_what_makes_no_sense_is_400(here: World, client: TestClient, body: Any, field: str | None) -> None:
    error = client.post(path(here.create()), json=body).json()["error"]
    assert (error["type"], error.get("field")) == ("invalid_request", field), error


def test_what_is_no_token_opens_nothing(here: World, client: TestClient, keyless: TestClient) -> None:
    session = here.create()
    token = issue(client, session)["token"]
    for wrong in (token[:-1], token + "0", token.upper(), token[:-1] + "g", f"osp{token[3:]}", "oss_"):
        answer = keyless.get(path(session, ""), headers=bearer(wrong))
        assert kind(answer) == (401, "unauthorized")


def private(here: World) -> Session:
    return here.create(config=AgentConfig(preview="private"))


def test_a_private_preview_has_an_address_that_opens_it_once(
    here: World, client: TestClient, keyless: TestClient
) -> None:
    session = private(here)
    made = issue(client, session, scope="preview", port=3001)
    address, _, token = made["url"].partition("/?os_token=")
    assert address == f"https://{session.sandbox_id}-p3001.preview.test"
    assert made["expires_at"] == "2026-11-24T12:01:00.000Z"
    assert kind(keyless.get(path(session, ""), headers=bearer(token))) == (401, "unauthorized")
    assert here.service.admission.redeem(token).port == 3001
    for _ in range(2):
        with pytest.raises(Exception, match="was used"):
            here.service.admission.redeem(token)


def test_a_previews_token_dies_like_the_others(here: World, client: TestClient) -> None:
    session = private(here)

    def token() -> str:
        return str(issue(client, session, scope="preview")["url"].partition("=")[2])

    late, revoked = token(), token()
    here.clock.tick(PREVIEW_SECONDS)
    fresh = token()
    client.delete(path(session))
    for dead in (late, revoked, fresh, issue(client, session)["token"]):
        with pytest.raises(Exception, match="not known"):
            here.service.admission.redeem(dead)


def test_a_public_preview_needs_none(here: World, client: TestClient) -> None:
    assert kind(client.post(path(here.create()), json={"scope": "preview"})) == (409, "conflict")


def test_a_session_tells_who_sees_its_previews(here: World, client: TestClient) -> None:
    body = {"prompt": "x", "user_id": "u1", "agent_config": {"preview": "private"}}
    assert client.post("/v1/sessions", json=body).json()["preview"] == "private"
    body["agent_config"] = {"preview": "hidden"}
    assert kind(client.post("/v1/sessions", json=body)) == (400, "invalid_request")


def test_private_previews_are_refused_where_they_would_not_hold(
    here: World, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here.service, "_private_previews", False)
    body = {"prompt": "x", "user_id": "u1", "agent_config": {"preview": "private"}}
    error = client.post("/v1/sessions", json=body).json()["error"]
    assert (error["type"], error["field"]) == ("invalid_request", "agent_config.preview")
