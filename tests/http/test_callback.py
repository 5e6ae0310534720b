from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from opensessions.http import callback
from tests.fakes import World
from tests.http.conftest import Dump

EVENTS, NOTICES = "/callback/v1/events", "/callback/v1/notices"
SAID = {"type": "assistant", "message": {"content": [{"type": "text", "text": "Hi"}]}}


@pytest.fixture
def gateway(here: World) -> Iterator[TestClient]:
    with TestClient(callback.create_app(here.testimony), raise_server_exceptions=False) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def batch(*events: Any, first_seq: int = 1) -> dict[str, Any]:
    return {"v": 1, "first_seq": first_seq, "events": list(events), "ports": [3000], "state": "working"}


def test_a_batch_is_stored_once(here: World, gateway: TestClient) -> None:
    session = here.create()
    for _ in range(2):
        response = gateway.post(EVENTS, json=batch(SAID, SAID), headers=bearer(here.token(session)))
        assert response.status_code == 200
        answer = {"acked": 2, "expected": 3, "session_id": session.id, "last_seq": 4}
        assert response.json() == answer
    assert list(here.types(session)) == ["session_started", "user_message", "assistant", "assistant"]


def test_a_gap_says_what_is_expected(here: World, gateway: TestClient, dump: Dump) -> None:
    session = here.create()
    before = dump()
    response = gateway.post(EVENTS, json=batch(SAID, first_seq=3), headers=bearer(here.token(session)))
    assert (response.status_code, response.json()["expected"]) == (409, 1)
    assert response.json()["error"]["type"] == "conflict" and dump() == before


def test_a_token_is_needed_and_dies_with_its_session(here: World, gateway: TestClient, dump: Dump) -> None:
    session = here.create()
    token = here.token(session)
    here.service.end("acme", session.id)
    before = dump()
    for headers in (bearer(token), bearer("osw_x"), bearer(""), {}, {"X-API-Key": token}):
        response = gateway.post(EVENTS, json=batch(SAID), headers=headers)
        assert (response.status_code, response.json()["error"]["type"]) == (401, "unauthorized")
    assert dump() == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "first_seq"),
        (batch(first_seq=0), "first_seq"),
        (batch({"type": "session_ended", "reason": "x"}), "events[0]"),
        (batch({"type": "user_message", "message_id": "m", "text": "x"}), "events[0]"),
        (batch({"type": "preview_ready", "port": 80}), "events[0].preview_ready.port"),
        (batch(*[SAID] * 501), "events"),
        ({**batch(), "ports": "3000"}, "ports"),
        ({**batch(), "state": "happy"}, "state"),
    ],
)
def test_what_is_no_batch_is_refused(
    here: World, gateway: TestClient, dump: Dump, body: Any, field: str
) -> None:
    session = here.create()
    before = dump()
    response = gateway.post(EVENTS, json=body, headers=bearer(here.token(session)))
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["field"]) == (400, "invalid_request", field)
    assert dump() == before


@pytest.mark.parametrize(
    ("raw", "status"), [(b"[]", 400), (b'{"first_seq": NaN}', 400), (b" " * (2**20 + 1), 413), (b"", 400)]
)
def test_what_is_no_json_is_refused(here: World, gateway: TestClient, raw: bytes, status: int) -> None:
    headers = bearer(here.token(here.create())) | {"Content-Type": "application/json"}
    assert gateway.post(EVENTS, content=raw, headers=headers).status_code == status


def test_a_binary_file_that_a_tool_printed_is_stored_mended(here: World, gateway: TestClient) -> None:
    session = here.create()
    content = rb'[{"type": "tool_result", "content": "\u0000\u0001 \ud83d"}]'
    raw = b'{"first_seq": 1, "events": [{"type": "user", "message": {"content": ' + content + b"}}]}"
    headers = bearer(here.token(session)) | {"Content-Type": "application/json"}
    assert gateway.post(EVENTS, content=raw, headers=headers).json()["acked"] == 1
    stored = here.store.events(session.id, 2, 1)[0].payload["message"]["content"][0]["content"]
    assert stored == "�\x01 �"


def test_a_notice_is_a_warning_to_the_watchers(here: World, gateway: TestClient) -> None:
    session = here.create()
    body = {"session_id": session.id, "message": "example.com is not allowed", "code": "egress_refused"}
    assert gateway.post(NOTICES, json=body).status_code == 204
    event = here.store.latest_events(session.id, 1)[0]
    assert (event.type, event.level) == ("error", "warning")
    assert event.payload["message"] == "example.com is not allowed"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"session_id": "x"}, "session_id"),
        ({"message": ""}, "message"),
        ({"code": None}, "code"),
        ({"a": 1}, "a"),
    ],
)
def test_a_notice_is_checked(here: World, gateway: TestClient, change: dict[str, Any], field: str) -> None:
    body = {"session_id": here.create().id, "message": "m", "code": "c", **change}
    response = gateway.post(NOTICES, json=body)
    assert (response.status_code, response.json()["error"]["field"]) == (400, field)


def test_it_is_no_public_api(gateway: TestClient) -> None:
    response = gateway.options(EVENTS, headers={"Origin": "https://evil.test"})
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert gateway.get("/openapi.json").status_code == gateway.get("/docs").status_code == 404
