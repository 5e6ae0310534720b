"""Sleep, going back, branches and purges, as callers see them."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from opensessions.events import Restored
from opensessions.models import Session
from tests.fakes import World
from tests.http.conftest import Dump

SESSIONS = "/v1/sessions"
VERSION = [
    "number",
    "parent",
    "current",
    "title",
    "messageId",
    "filesChanged",
    "files",
    "costUsd",
    "createdAt",
]


@pytest.fixture
def session(here: World) -> Session:
    """A session with two versions."""
    session = here.keep_turn(here.create(), "Build a todo app")
    here.service.send("acme", session.id, "u1", "Make it blue")
    return here.keep_turn(session)


def test_a_session_sleeps_and_wakes(here: World, client: TestClient, session: Session) -> None:
    url = f"{SESSIONS}/{session.id}"
    for _ in range(2):
        asked = client.post(f"{url}/hibernate", params={"user_id": "u1"})
        assert (asked.status_code, asked.json()["sandboxStatus"]) == (200, "running")
    here.fall_asleep(session)
    for seen in (client.get(url), client.post(f"{url}/hibernate")):
        assert (seen.json()["status"], seen.json()["sandboxStatus"]) == ("ready", "hibernated")
    sent = client.post(f"{url}/messages", json={"message": "Go on", "user_id": "u1"}).json()
    assert (sent["status"], sent["sandboxStatus"]) == ("running", "starting")
    lines = {event["type"]: event["message"] for event in sent["events"]}
    assert "a message or a visit of its preview wakes it" in lines["hibernated"]
    assert lines["woken"] and lines["version_saved"]


def test_at_work_it_does_not_sleep(client: TestClient, here: World, dump: Dump) -> None:
    session, before = here.create(), dump()
    response = client.post(f"{SESSIONS}/{session.id}/hibernate")
    assert (response.status_code, response.json()["error"]["type"]) == (409, "conflict")
    assert "interrupt it first" in response.json()["error"]["message"]
    response = client.post(f"{SESSIONS}/{session.id}/restore", json={"version": 1})
    assert response.status_code == 409
    assert dump()[:-1] == before[:-1]


def test_versions_by_pages(client: TestClient, session: Session) -> None:
    url = f"{SESSIONS}/{session.id}/versions"
    first = client.get(url, params={"limit": 1}).json()
    assert first["has_more"] and [each["number"] for each in first["data"]] == [1]
    rest = client.get(url, params={"after": 1, "limit": 1, "user_id": "u1"}).json()
    (newest,) = rest["data"]
    assert not rest["has_more"] and list(newest) == VERSION
    assert (newest["number"], newest["parent"], newest["current"]) == (2, 1, True)
    assert (newest["title"], newest["filesChanged"], newest["costUsd"]) == ("Make it blue", 1, None)
    assert newest["files"] == [{"path": "app/index.html", "change": "added"}]
    assert client.get(f"{url}?after=2").json() == {"data": [], "has_more": False}


def test_a_diff_is_text_that_no_browser_runs(client: TestClient, session: Session) -> None:
    response = client.get(f"{SESSIONS}/{session.id}/versions/2/diff")
    assert (response.status_code, response.text) == (200, "+Make it blue")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize(
    ("method", "rest", "body"), [("GET", "versions/3/diff", None), ("POST", "restore", {"version": 3})]
)
def test_a_version_that_is_not_there(
    client: TestClient, session: Session, method: str, rest: str, body: Any
) -> None:
    error = client.request(method, f"{SESSIONS}/{session.id}/{rest}", json=body).json()["error"]
    assert (error["type"], error["message"]) == ("not_found", "Version not found")


def test_going_back(here: World, client: TestClient, session: Session) -> None:
    asked = client.post(f"{SESSIONS}/{session.id}/restore", json={"version": 1, "userId": "u1"})
    assert (asked.status_code, asked.json()["status"], asked.json()["version"]) == (200, "running", 2)
    here.say(session, Restored(version=1, inbox_seq=here.now(session).head.asked_seq))
    seen = client.get(f"{SESSIONS}/{session.id}").json()
    assert (seen["status"], seen["version"], seen["events"][-1]["type"]) == ("ready", 1, "restored")
    versions = client.get(f"{SESSIONS}/{session.id}/versions").json()["data"]
    assert [each["current"] for each in versions] == [True, False]


@pytest.mark.parametrize(("origin", "version"), [({}, 2), ({"version": 1}, 1)])
def test_a_branch(client: TestClient, session: Session, origin: dict[str, int], version: int) -> None:
    body = {"prompt": "Now in green", "user_id": "u1", "from": {"session": session.id, **origin}}
    response = client.post(SESSIONS, json=body)
    assert (response.status_code, response.json()["version"]) == (201, version)
    branch = response.json()["id"]
    versions = client.get(f"{SESSIONS}/{branch}/versions").json()
    assert len(versions["data"]) == version and not versions["has_more"]
    assert client.get(f"{SESSIONS}/{branch}/versions/1/diff").text == "+Build a todo app"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"from": {"session": f"session_{'0' * 32}"}}, 404),
        ({"from": {"template": f"tpl_{'0' * 32}"}}, 404),
        ({"user_id": "u2"}, 404),
        ({"version": 3}, 404),
    ],
)
def test_a_branch_of_what_is_not_there(
    here: World, client: TestClient, session: Session, change: dict[str, Any], status: int
) -> None:
    origin = {"session": session.id} | {name: value for name, value in change.items() if name == "version"}
    body = {"prompt": "x", "user_id": "u1", "from": origin} | {
        k: v for k, v in change.items() if k != "version"
    }
    assert client.post(SESSIONS, json=body).status_code == status
    assert len(client.get(SESSIONS).json()["data"]) == 1
    assert here.blobs.names("sessions") == [session.id]


def test_a_branch_of_nothing_and_of_another_accounts(
    here: World, client: TestClient, other: TestClient
) -> None:
    body = {"prompt": "x", "user_id": "u1", "from": {"session": here.create().id}}
    assert client.post(SESSIONS, json=body).status_code == 409
    assert other.post(SESSIONS, json=body).status_code == 404


def test_a_purge_leaves_nothing(here: World, client: TestClient, session: Session, dump: Dump) -> None:
    url = f"{SESSIONS}/{session.id}"
    response = client.delete(url, params={"purge": "true", "user_id": "u1"})
    assert response.json() == {"id": session.id, "status": "ended", "purged": True}
    for again in (client.delete(f"{url}?purge=true"), client.get(url), client.get(f"{url}/versions")):
        assert again.status_code == 404
    assert here.blobs.names("sessions") == [] and not [line for line in dump() if session.id in line]
