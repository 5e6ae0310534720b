import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from opensessions.archives import LISTING
from opensessions.http import callback
from opensessions.models import Session, Status
from opensessions.sessions import lifecycle
from opensessions.sessions.keeping import place
from tests.fakes import World
from tests.http.conftest import Dump

EVENTS, NOTICES = "/callback/v1/events", "/callback/v1/notices"
ARCHIVES, WAKES, USES = (f"/callback/v1/{name}" for name in ("archives", "wakes", "uses"))
ARCHIVE = "a" * 32
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
        (batch({"type": "budget_exceeded", "budget": "session", "message": "x"}), "events[0]"),
        (batch({"type": "budget_warning", "budget": "session", "message": "x"}), "events[0]"),
        (batch({"type": "limit_reached", "limit": "turn_seconds", "message": "x"}), "events[0]"),
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


def archived(here: World, session: Session, **change: Any) -> dict[str, Any]:
    """What is said of an archive whose parts are there."""
    part = {"size": 4, "sha256": "0" * 64}
    for name in ("0", str(LISTING)):
        here.blobs.put(f"{place(session.id, ARCHIVE)}/{name}", b"part")
    return {"kind": "full", "parts": [part], "listing": part, "bytes": 9, "files": 1, **change}


def test_an_archive_is_kept_once(here: World, gateway: TestClient) -> None:
    session = here.create()
    body = {"id": ARCHIVE, "archive": archived(here, session)}
    for _ in range(2):
        response = gateway.post(ARCHIVES, json=body, headers=bearer(here.token(session)))
        assert (response.status_code, response.json()) == (200, {"version": None, "stop": False})
    assert [archive.id for archive in here.now(session).archives] == [ARCHIVE]
    for headers in (bearer("osw_x"), {}):
        assert gateway.post(ARCHIVES, json=body, headers=headers).status_code == 401


def test_an_archive_of_which_a_part_is_missing_is_none(here: World, gateway: TestClient) -> None:
    session = here.create()
    said = archived(here, session, parts=[{"size": 4, "sha256": "0" * 64}] * 2)
    body = {"id": ARCHIVE, "archive": said}
    response = gateway.post(ARCHIVES, json=body, headers=bearer(here.token(session)))
    assert (response.status_code, response.json()["error"]["type"]) == (409, "conflict")
    assert here.now(session).archives == ()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "x"}, "id"),
        ({"archive": None}, "archive"),
        ({"kind": "half"}, "archive.kind"),
        ({"parts": []}, "archive.parts"),
        ({"files": 200_001}, "archive.files"),
        ({"commit": "HEAD"}, "archive.commit"),
        ({"listing": {"size": 2**40, "sha256": "0" * 64}}, "archive.listing.size"),
    ],
)
def test_what_is_said_of_an_archive_is_checked(
    here: World, gateway: TestClient, change: dict[str, Any], field: str
) -> None:
    session = here.create()
    body = {"id": ARCHIVE, "archive": archived(here, session)}
    body.update(change) if field in body else body["archive"].update(change)
    response = gateway.post(ARCHIVES, json=body, headers=bearer(here.token(session)))
    assert (response.status_code, response.json()["error"]["field"]) == (400, field)


def test_a_long_diff_in_odd_characters_is_kept(here: World, gateway: TestClient) -> None:
    session = here.create()
    turn = {"text": "Draw it", "commit": "a" * 40, "diff": "字" * 299_999 + "\0"}
    body = {"id": ARCHIVE, "archive": archived(here, session, turns=[turn], commit="a" * 40)}
    raw = json.dumps(body, ensure_ascii=False).encode()
    headers = bearer(here.token(session)) | {"Content-Type": "application/json"}
    assert gateway.post(ARCHIVES, content=raw, headers=headers).json()["version"] == 1
    assert gateway.post(ARCHIVES, content=b" " * (4 * 2**20 + 1), headers=headers).status_code == 413


def test_a_visit_wakes_a_session_that_sleeps_and_no_other(here: World, gateway: TestClient) -> None:
    awake, asleep = here.create(), here.create()
    now = here.now(asleep)
    here.store.commit(now, lifecycle.asleep(lifecycle.move(now, Status.READY), here.clock()))
    for session_id in (awake.id, asleep.id, f"session_{32 * '0'}"):
        assert gateway.post(WAKES, json={"session_id": session_id}).status_code == 204
    assert here.now(asleep).head.sandbox_status == "starting" and here.types(asleep)[-1] == "woken"
    assert [sandbox_id for sandbox_id, *_ in here.put_off] == [asleep.sandbox_id]
    assert gateway.post(WAKES, json={"session_id": "x"}).json()["error"]["field"] == "session_id"


def test_sessions_in_use_are_noted(here: World, gateway: TestClient) -> None:
    used, other = here.create(), here.create()
    before = here.now(other).head.active_at
    here.clock.tick(100)
    ids = [used.id, f"session_{32 * '0'}"]
    assert gateway.post(USES, json={"session_ids": ids}).status_code == 204
    assert here.now(used).head.active_at == here.clock() and here.now(other).head.active_at == before


@pytest.mark.parametrize("ids", [[], ["x"], [f"session_{32 * '0'}"] * 101, None])
def test_what_is_said_of_uses_is_checked(gateway: TestClient, ids: Any) -> None:
    assert gateway.post(USES, json={"session_ids": ids}).status_code == 400


def test_it_is_no_public_api(gateway: TestClient) -> None:
    response = gateway.options(EVENTS, headers={"Origin": "https://evil.test"})
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert gateway.get("/openapi.json").status_code == gateway.get("/docs").status_code == 404
