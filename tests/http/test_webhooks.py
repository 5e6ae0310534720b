"""Webhooks, as callers see them."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from opensessions.http.webhook_shapes import TYPES
from opensessions.webhooks.hooks import Letter
from tests.fakes import World
from tests.http.conftest import Dump

WEBHOOKS = "/v1/webhooks"
URL = "https://example.com/hook"
FIELDS = ["id", "url", "events", "session", "status", "reason", "createdAt"]
SESSION = f"session_{'0' * 32}"


@pytest.fixture
def made(client: TestClient) -> Any:
    return client.post(WEBHOOKS, json={"url": URL, "events": ["turn_complete", "session_ended"]}).json()


def dead(here: World, webhook_id: str, *seqs: int, session_id: str = SESSION) -> None:
    for seq in seqs:
        letter = {
            "event_type": "result",
            "attempts": 8,
            "error": "It answered 500.",
            "died_at": here.clock.now,
        }
        here.hooks.bury(Letter(hook_id=webhook_id, session_id=session_id, seq=seq, **letter))


def test_the_secret_is_shown_once(client: TestClient) -> None:
    response = client.post(WEBHOOKS, json={"url": URL})
    made = response.json()
    assert (response.status_code, response.headers["Location"]) == (201, f"webhooks/{made['id']}")
    assert list(made) == [*FIELDS, "secret"] and made["secret"].startswith("whsec_")
    assert (made["url"], made["events"], made["status"]) == (URL, ["*"], "on")
    kept = {name: made[name] for name in FIELDS}
    assert client.get(f"{WEBHOOKS}/{made['id']}").json() == kept
    assert client.get(WEBHOOKS).json() == {"data": [kept]}


def test_each_has_a_secret_of_its_own(client: TestClient) -> None:
    secrets = {client.post(WEBHOOKS, json={"url": URL}).json()["secret"] for _ in range(2)}
    assert len(secrets) == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "http://127.0.0.1:9000/"}, "url"),
        ({"url": "https://example.com/" + "a" * 2048}, "url"),
        ({"url": 1}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["turn_completed"]}, "events"),
        ({"url": URL, "events": "*"}, "events"),
        ({"url": URL, "secret": "whsec_"}, "secret"),
    ],
)
def test_what_is_wrong_is_named(client: TestClient, body: Any, field: str) -> None:
    response = client.post(WEBHOOKS, json=body)
    assert (response.status_code, response.json()["error"]["field"]) == (400, field)
    created = client.post("/v1/sessions", json={"prompt": "Build", "user_id": "u1", "webhook": body})
    assert (created.status_code, created.json()["error"]["field"]) == (400, f"webhook.{field}")
    assert client.get(WEBHOOKS).json() == {"data": []}


def test_every_type_of_events_can_be_asked_for(client: TestClient) -> None:
    response = client.post(WEBHOOKS, json={"url": URL, "events": [*TYPES, "result"][1:]})
    assert response.status_code == 201 and sorted(response.json()["events"]) == sorted(TYPES[1:])


def test_an_account_has_ten(client: TestClient, other: TestClient) -> None:
    answers = [client.post(WEBHOOKS, json={"url": URL}) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [201] * 10 + [409]
    assert other.post(WEBHOOKS, json={"url": URL}).status_code == 201
    client.delete(f"{WEBHOOKS}/{answers[0].json()['id']}")
    assert client.post(WEBHOOKS, json={"url": URL}).status_code == 201


@pytest.mark.parametrize("which", ["another's", f"whk_{'0' * 32}", "whk_1", f"tpl_{'0' * 32}"])
def test_what_is_anothers_or_nothing_is_not_found(
    client: TestClient, other: TestClient, made: Any, which: str
) -> None:
    caller = other if which == "another's" else client
    one = f"{WEBHOOKS}/{made['id'] if caller is other else which}"
    calls = [("GET", one), ("DELETE", one), ("GET", f"{one}/deliveries"), ("POST", f"{one}/redeliver")]
    for method, path in calls:
        response = caller.request(method, path)
        assert (response.status_code, response.json()["error"]["message"]) == (404, "Webhook not found")
    assert other.get(WEBHOOKS).json() == {"data": []}
    assert client.get(f"{WEBHOOKS}/{made['id']}").status_code == 200


def test_deleted_it_is_gone(client: TestClient, made: Any) -> None:
    assert client.delete(f"{WEBHOOKS}/{made['id']}").status_code == 204
    assert client.delete(f"{WEBHOOKS}/{made['id']}").status_code == 404
    assert client.get(WEBHOOKS).json() == {"data": []}


def test_one_that_is_off_says_why(here: World, client: TestClient, made: Any) -> None:
    here.hooks.switch_off(made["id"], "The receiver answered 410.")
    now = client.get(f"{WEBHOOKS}/{made['id']}").json()
    assert (now["status"], now["reason"]) == ("off", "The receiver answered 410.")
    assert client.post(f"{WEBHOOKS}/{made['id']}/redeliver").status_code == 409


def test_a_session_gets_one_of_its_own_with_create(here: World, client: TestClient) -> None:
    body = {"prompt": "Build", "user_id": "u1", "webhook": {"url": URL, "events": ["result"]}}
    answers = [client.post("/v1/sessions", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json(), "the secret is in the answer that is given again, too"
    session, own = answers[0].json(), answers[0].json()["webhook"]
    assert (own["session"], own["events"], own["url"]) == (session["id"], ["result"], URL)
    assert own["secret"].startswith("whsec_")
    assert "webhook" not in client.get(f"/v1/sessions/{session['id']}").json()
    assert client.get(WEBHOOKS).json() == {"data": []}
    assert client.get(f"{WEBHOOKS}/{own['id']}").json()["session"] == session["id"]
    assert client.delete(f"{WEBHOOKS}/{own['id']}").status_code == 204
    plain = client.post("/v1/sessions", json={"prompt": "Build", "user_id": "u1"}).json()
    assert "webhook" not in plain


def test_a_session_that_is_refused_leaves_no_webhook(here: World, client: TestClient, dump: Dump) -> None:
    body = {"prompt": "x", "user_id": "u1", "webhook": {"url": URL}, "from": {"template": f"tpl_{'0' * 32}"}}
    assert client.post("/v1/sessions", json=body).status_code == 404
    assert not [line for line in dump() if "INTO" in line and "whk_" in line]


def test_dead_deliveries_page_by_page(here: World, client: TestClient, made: Any) -> None:
    dead(here, made["id"], 9, 10, 11)
    path = f"{WEBHOOKS}/{made['id']}/deliveries?status=dead&limit=2"
    first = client.get(path).json()
    assert [each["seq"] for each in first["data"]] == [9, 10] and first["has_more"]
    assert list(first["data"][0]) == [
        "id", "status", "session", "seq", "eventType", "attempts", "error", "diedAt",
    ]  # fmt: skip
    second = client.get(f"{path}&cursor={first['next_cursor']}").json()
    assert [each["seq"] for each in second["data"]] == [11]
    assert (second["has_more"], second["next_cursor"]) == (False, None)
    for query in ("status=alive", "cursor=x", "limit=0", f"cursor={SESSION}.-1"):
        assert client.get(f"{WEBHOOKS}/{made['id']}/deliveries?{query}").status_code == 400


def test_redelivery_of_one_of_a_session_of_all(here: World, client: TestClient, made: Any) -> None:
    another = f"session_{'1' * 32}"
    dead(here, made["id"], 9, 10)
    dead(here, made["id"], 4, session_id=another)
    path = f"{WEBHOOKS}/{made['id']}/redeliver"
    for body, queued in [
        ({"session": SESSION, "seq": 10}, [(SESSION, 10)]),
        ({"session": SESSION}, [(SESSION, 9), (SESSION, 10)]),
        ({}, [(SESSION, 9), (SESSION, 10), (another, 4)]),
    ]:
        here.errands.clear()
        response = client.post(path, json=body)
        assert (response.status_code, response.json()) == (202, {"queued": len(queued)})
        assert [(errand.session_id, errand.seq) for errand, _ in here.errands] == queued
    assert client.post(path).json() == {"queued": 3}
    assert client.post(path, json={"session": SESSION, "seq": 11}).status_code == 404
    assert client.post(path, json={"session": SESSION, "seq": 8}).status_code == 404
    assert client.post(path, json={"seq": 9}).json()["error"]["field"] == "session"


def test_a_sessions_token_sees_no_webhooks(client: TestClient, keyless: TestClient, made: Any) -> None:
    session = client.post("/v1/sessions?token=write", json={"prompt": "Build", "user_id": "u1"}).json()
    headers = {"X-API-Key": session["token"]["token"]}
    one = f"{WEBHOOKS}/{made['id']}"
    for method, path in [
        ("GET", WEBHOOKS), ("POST", WEBHOOKS), ("GET", one), ("DELETE", one), ("GET", f"{one}/deliveries"),
        ("POST", f"{one}/redeliver"),
    ]:  # fmt: skip
        assert keyless.request(method, path, headers=headers).status_code == 403
        assert keyless.request(method, path).status_code == 401
