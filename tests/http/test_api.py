import re
import statistics
import time
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest
from fastapi.testclient import TestClient

from opensessions.events import Assistant, Result, TurnComplete
from opensessions.http.api import create_app
from opensessions.http.views import SESSION_ID, TIME
from opensessions.notices import SessionStarted
from opensessions.sessions.service import Quota
from tests.fakes import World, open_account, world
from tests.http.conftest import Dump

SESSIONS = "/v1/sessions"
PROMPT = "Build a todo app with Next.js and Tailwind"
GOOD: dict[str, Any] = {"prompt": PROMPT, "user_id": "u1"}
FIELDS = [
    "id", "status", "sandboxId", "previewUrl", "project", "messages", "events", "userId", "createdAt",
    "updatedAt", "sandboxStatus", "usage", "limits", "metadata", "lastSeq", "version", "preview",
]  # fmt: skip


def created(client: TestClient, **more: Any) -> Any:
    response = client.post(SESSIONS, json={**GOOD, **more})
    assert response.status_code == 201, response.text
    return response.json()


def test_create_answers_with_the_whole_session(client: TestClient) -> None:
    response = client.post(SESSIONS, json={**GOOD, "metadata": {"plan": "pro"}})
    session = response.json()
    assert response.status_code == 201
    assert urljoin(SESSIONS, response.headers["Location"]) == f"{SESSIONS}/{session['id']}"
    assert list(session) == FIELDS
    assert re.match(SESSION_ID, session["id"]) and re.fullmatch("sb-[0-9a-f]{32}", session["sandboxId"])
    assert session["previewUrl"] == f"https://{session['sandboxId']}-p3000.preview.test"
    assert session["project"] == {"title": "Build a todo app", "framework": "nextjs", "artifacts": []}
    assert (session["status"], session["sandboxStatus"], session["userId"]) == ("running", "starting", "u1")
    assert re.match(TIME, session["createdAt"]) and re.match(TIME, session["updatedAt"])
    (message,) = session["messages"]
    assert list(message) == ["id", "role", "content", "createdAt"]
    assert (message["role"], message["content"]) == ("user", PROMPT) and message["id"].startswith("msg_")
    first = session["events"][0]
    assert list(first) == ["id", "type", "level", "message", "createdAt"]
    assert first["id"].startswith("evt_")
    assert (first["type"], first["level"]) == ("session_started", "info")
    assert first["message"] == "Bootstrapping sandbox..."
    assert (session["metadata"], session["version"]) == ({"plan": "pro"}, 0)
    assert len(session["usage"]) == 8 and not any(session["usage"].values())
    bounds = {name: bound for name, bound in session["limits"].items() if bound is not None}
    assert bounds == {"idleSeconds": 600, "workspaceBytes": 2_000_000_000}
    assert session["lastSeq"] == len(session["events"])
    assert client.get(f"{SESSIONS}/{session['id']}").json() == session


def test_a_key_is_taken_from_either_header(here: World, keyless: TestClient) -> None:
    key = open_account(here.keyring)
    for headers in (
        {"X-API-Key": key},
        {"Authorization": f"Bearer {key}"},
        {"authorization": f"bearer {key}"},
    ):
        assert keyless.get(SESSIONS, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-API-Key": "osb_wrong"}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer"},
     {"X-API-Key": "é".encode("latin-1") * 30}, {"X-API-Key": "x" * 5000}],
)  # fmt: skip
def test_no_key_no_answer(keyless: TestClient, headers: Any) -> None:
    response = keyless.get(SESSIONS, headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "unauthorized"
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_stranger_is_turned_away_before_the_request_is_looked_at(keyless: TestClient) -> None:
    assert keyless.post(SESSIONS, content=b"{").status_code == 401
    assert keyless.get(f"{SESSIONS}?limit=0").status_code == 401
    assert keyless.get(f"{SESSIONS}/nothing").status_code == 401


def test_o23_a_key_in_the_url_is_not_taken(here: World, keyless: TestClient, dump: Dump) -> None:
    key, session = open_account(here.keyring), here.create()
    before, one = dump(), f"{SESSIONS}/{session.id}"
    message = {"message": "x", "user_id": "u1"}
    for method, url, body in [
        ("POST", SESSIONS, GOOD),
        ("GET", SESSIONS, None),
        ("GET", one, None),
        ("DELETE", one, None),
        ("POST", f"{one}/messages", message),
        ("POST", f"{one}/interrupt", None),
        ("GET", f"{one}/events/page", None),
        ("POST", f"{one}/hibernate", None),
        ("GET", f"{one}/versions", None),
        ("POST", f"{one}/restore", {"version": 1}),
        ("GET", "/v1/templates", None),
        ("POST", "/v1/templates", {"session": session.id, "name": "x"}),
    ]:
        assert keyless.request(method, f"{url}?api_key={key}", json=body).status_code == 401
    assert dump() == before


def test_o05_a_web_page_cannot_post_a_form(here: World, keyless: TestClient, dump: Dump) -> None:
    before = dump()
    headers = {"Content-Type": "text/plain", "Origin": "https://evil.test"}
    response = keyless.post(SESSIONS, content=b'{"prompt": "x", "user_id": "u"}', headers=headers)
    assert response.status_code == 401 and dump() == before
    assert "Access-Control-Allow-Credentials" not in response.headers
    key = open_account(here.keyring)
    known = keyless.post(SESSIONS, content=b"{}", headers=headers | {"X-API-Key": key})
    assert known.status_code == 400


CALLS = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("POST", "/messages", {"message": "x", "user_id": "u1"}),
    ("POST", "/interrupt", None),
    ("GET", "/events/page", None),
    ("POST", "/hibernate", None),
    ("GET", "/versions", None),
    ("GET", "/versions/1/diff", None),
    ("POST", "/restore", {"version": 1}),
    ("DELETE", "?purge=true", None),
]


@pytest.mark.parametrize(("method", "rest", "body"), CALLS, ids=[m + r for m, r, _ in CALLS])
def test_o20_another_account_sees_what_an_unknown_id_shows(
    client: TestClient, other: TestClient, dump: Dump, method: str, rest: str, body: Any
) -> None:
    theirs, before = created(client)["id"], dump()
    answers = [
        caller.request(method, f"{SESSIONS}/{session_id}{rest}", json=body)
        for caller, session_id in [
            (other, theirs),
            (client, f"session_{'0' * 32}"),
            (client, "session_1"),
            (client, f"session_{'0' * 33}"),
            (client, f"session_{'A' * 32}"),
            (client, f"session_{'0' * 32}%0A"),
        ]
    ]
    bodies = [{**answer.json()["error"], "request_id": ""} for answer in answers]
    assert {answer.status_code for answer in answers} == {404}
    assert all(
        body == {"type": "not_found", "message": "Session not found", "request_id": ""} for body in bodies
    )
    assert dump() == before


@pytest.mark.parametrize(("method", "rest", "body"), CALLS, ids=[m + r for m, r, _ in CALLS])
def test_another_user_sees_the_same(client: TestClient, method: str, rest: str, body: Any) -> None:
    mine = f"{SESSIONS}/{created(client)['id']}{rest}"
    if body:
        response = client.request(method, mine, json={**body, "user_id": "u2"})
    else:
        response = client.request(
            method, mine, params={"user_id": "u2"} | dict(parse_qsl(urlsplit(rest).query))
        )
    assert response.status_code == 404
    assert response.json()["error"]["message"] == "Session not found"


def test_o24_a_key_repeats_one_request_and_no_other(client: TestClient, other: TestClient) -> None:
    key = {"Idempotency-Key": "order 7"}
    first = client.post(SESSIONS, json=GOOD, headers=key).json()
    assert client.post(SESSIONS, json=GOOD, headers=key).json()["id"] == first["id"]
    for changed in ({**GOOD, "prompt": "x"}, {**GOOD, "user_id": "u2"}, {**GOOD, "metadata": {"a": "b"}}):
        response = client.post(SESSIONS, json=changed, headers=key)
        assert (response.status_code, response.json()["error"]["type"]) == (409, "conflict")
    assert other.post(SESSIONS, json=GOOD, headers=key).json()["id"] != first["id"]
    assert len(client.get(SESSIONS).json()["data"]) == 1


def test_o24_a_message_under_one_key_is_sent_once(here: World, client: TestClient) -> None:
    url, key = f"{SESSIONS}/{created(client)['id']}/messages", {"Idempotency-Key": "m1"}
    body = {"message": "Make it blue", "user_id": "u1"}
    assert len(client.post(url, json=body, headers=key).json()["messages"]) == 2
    assert len(client.post(url, json=body, headers=key).json()["messages"]) == 2
    assert client.post(url, json={**body, "message": "red"}, headers=key).status_code == 409


def test_o28_a_prompt_of_nearly_1_mib_costs_no_more_than_its_bytes(client: TestClient) -> None:
    def seconds(prompt: str) -> float:
        start = time.perf_counter()
        client.post(SESSIONS, json={**GOOD, "prompt": prompt})
        return time.perf_counter() - start

    largest = "Build a " * 25_000
    short, long = (statistics.median(seconds(text) for _ in range(7)) for text in (PROMPT, largest))
    assert client.post(SESSIONS, json={**GOOD, "prompt": largest}).json()["project"]["title"]
    assert long - short < 0.25
    assert client.post(SESSIONS, json={**GOOD, "prompt": "Build a " * 130_000}).status_code == 413


def test_lists_are_newest_first_and_go_on_where_they_stopped(here: World, client: TestClient) -> None:
    made = []
    for _ in range(5):
        made.insert(0, created(client)["id"])
        here.clock.tick(1)
    seen: list[str] = []
    url: str | None = f"{SESSIONS}?limit=2"
    while url:
        page = client.get(url).json()
        assert list(page) == ["data", "has_more", "next_cursor"]
        seen += [session["id"] for session in page["data"]]
        assert page["has_more"] == (page["next_cursor"] is not None)
        url = page["has_more"] and f"{SESSIONS}?limit=2&cursor={page['next_cursor']}"
    assert seen == made
    assert list(page["data"][0]) == [name for name in FIELDS if name not in ("messages", "events", "usage")]


def test_lists_by_user_and_by_status(here: World, client: TestClient, other: TestClient) -> None:
    first, second = created(client), created(client, user_id="u2")
    created(other)
    client.delete(f"{SESSIONS}/{second['id']}")

    def ids(query: str) -> list[str]:
        return [session["id"] for session in client.get(f"{SESSIONS}?{query}").json()["data"]]

    assert ids("user_id=u1") == ids("status=running") == [first["id"]]
    assert ids("user_id=u2") == ids("status=ended") == [second["id"]]
    assert ids("user_id=u2&status=running") == ids("user_id=u3") == []


def test_o25_a_cursor_is_good_for_its_own_list(client: TestClient, other: TestClient) -> None:
    for _ in range(2):
        created(client)
    cursor = client.get(f"{SESSIONS}?limit=1").json()["next_cursor"]
    for response in (
        other.get(f"{SESSIONS}?cursor={cursor}"),
        client.get(f"{SESSIONS}?cursor={cursor}&user_id=u1"),
        client.get(f"{SESSIONS}?cursor={cursor[:-2]}"),
    ):
        assert (response.status_code, response.json()["error"]["field"]) == (400, "cursor")


def test_a_turn_as_the_caller_sees_it(here: World, client: TestClient) -> None:
    session_id = created(client)["id"]
    session = here.service.read("acme", session_id)
    here.say(session, Assistant(message={"content": [{"type": "text", "text": "Here it is."}]}))
    artifacts = [{"path": "app/page.tsx", "summary": "The page"}]
    here.turn(session, "It is done.", framework="vite", artifacts=artifacts)
    seen = client.get(f"{SESSIONS}/{session_id}?user_id=u1").json()
    assert seen["status"] == "ready"
    assert [message["role"] for message in seen["messages"]] == ["user", "assistant"]
    assert seen["messages"][1]["content"] == "It is done."
    assert seen["project"] == {"title": "Build a todo app", "framework": "vite", "artifacts": artifacts}
    assert "Here it is." in [event["message"] for event in seen["events"]]


def test_messages_queue_and_ended_sessions_take_none(here: World, client: TestClient) -> None:
    session_id = created(client)["id"]
    body = {"message": "Make it blue", "userId": "u1"}
    sent = client.post(f"{SESSIONS}/{session_id}/messages", json=body)
    assert (sent.status_code, sent.json()["status"]) == (200, "running")
    assert [message["content"] for message in sent.json()["messages"]] == [PROMPT, "Make it blue"]
    client.delete(f"{SESSIONS}/{session_id}")
    late = client.post(f"{SESSIONS}/{session_id}/messages", json=body)
    assert (late.status_code, late.json()["error"]["type"]) == (409, "conflict")


@pytest.mark.parametrize(
    "sent", [{}, {"json": {}}, {"json": {"user_id": "u1"}}, {"params": {"user_id": "u1"}}]
)
def test_interrupt_needs_no_body(client: TestClient, sent: dict[str, Any]) -> None:
    response = client.post(f"{SESSIONS}/{created(client)['id']}/interrupt", **sent)
    assert (response.status_code, list(response.json())) == (200, FIELDS)


@pytest.mark.parametrize("sent", [{"json": {"user_id": "u2"}}, {"json": {"userId": "u2"}}])
def test_interrupt_minds_the_user_in_the_body(client: TestClient, sent: dict[str, Any]) -> None:
    url = f"{SESSIONS}/{created(client)['id']}/interrupt"
    assert client.post(url, **sent).status_code == 404
    assert client.post(f"{url}?user_id=u1", **sent).json()["error"]["field"] == "user_id"


def test_delete_is_the_same_each_time(here: World, client: TestClient) -> None:
    session_id = created(client)["id"]
    for _ in range(2):
        response = client.delete(f"{SESSIONS}/{session_id}")
        assert (response.status_code, response.json()) == (200, {"id": session_id, "status": "ended"})
    assert here.runtime.live == {}
    assert client.get(f"{SESSIONS}/{session_id}").json()["status"] == "ended"


def test_events_by_pages(here: World, client: TestClient) -> None:
    session_id = created(client)["id"]
    session = here.service.read("acme", session_id)
    here.say(session, *(Assistant(message={"content": [], "n": n}) for n in range(5)))
    url = f"{SESSIONS}/{session_id}/events/page"
    seen: list[Any] = []
    has_more = True
    while has_more:
        page = client.get(url, params={"after": seen[-1]["seq"] if seen else 0, "limit": 3}).json()
        assert list(page) == ["data", "has_more", "last_seq"] and page["last_seq"] == 7
        seen, has_more = seen + page["data"], page["has_more"]
    assert [event["seq"] for event in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert seen[0]["message"] == SessionStarted().message and seen[6]["message"]["n"] == 4
    assert client.get(f"{url}?after=7").json() == {"data": [], "has_more": False, "last_seq": 7}
    assert client.get(f"{url}?after=900").json() == {"data": [], "has_more": False, "last_seq": 7}


def test_a_page_of_large_events_stays_within_what_can_be_answered(here: World, client: TestClient) -> None:
    session_id = created(client)["id"]
    session = here.service.read("acme", session_id)
    for _ in range(25):
        here.say(session, Result(subtype="success", result="x" * 240_000))
    response = client.get(f"{SESSIONS}/{session_id}/events/page?limit=500")
    assert len(response.content) < 4.5 * 2**20
    page = response.json()
    assert page["has_more"] and 2 < len(page["data"]) < 27


def test_a_used_up_quota_says_when_to_come_back(tmp_path: Any) -> None:
    here = world(tmp_path, quota=Quota(live=10, creates=1))
    client = TestClient(create_app(here.service), headers={"X-API-Key": open_account(here.keyring)})
    created(client)
    response = client.post(SESSIONS, json=GOOD)
    assert (response.status_code, response.json()["error"]["type"]) == (429, "rate_limited")
    assert int(response.headers["Retry-After"]) > 0
    here.store.close()  # type: ignore[attr-defined]


def test_a_sandbox_that_does_not_start_is_an_error_of_the_session(here: World, client: TestClient) -> None:
    here.runtime.refuse = "No room for another sandbox."
    session = created(client)
    assert session["status"] == "error"
    assert session["events"][-1]["message"] == "No room for another sandbox."


def test_health_needs_no_key(keyless: TestClient) -> None:
    assert keyless.get("/healthz").json() == {"status": "ok"}


def test_a_whole_session_is_bounded(here: World, client: TestClient) -> None:
    session_id = created(client)["id"]
    session = here.service.read("acme", session_id)
    here.say(session, *(TurnComplete(reason="completed", inbox_seq=1) for _ in range(300)))
    seen = client.get(f"{SESSIONS}/{session_id}").json()
    assert len(seen["events"]) == 100 and seen["lastSeq"] == 302
