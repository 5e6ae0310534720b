"""Templates, as callers see them."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.fakes import World

TEMPLATES = "/v1/templates"
FIELDS = ["id", "name", "status", "session", "files", "bytes", "createdAt"]


@pytest.fixture
def made(here: World, client: TestClient) -> Any:
    """A template of a sleeping session."""
    session = here.sleep(here.keep_turn(here.create()))
    return client.post(TEMPLATES, json={"session": session.id, "name": "Vite"}).json()


def test_of_a_sleeping_session_it_is_ready_at_once(client: TestClient, made: Any) -> None:
    assert list(made) == FIELDS
    assert (made["name"], made["status"], made["files"], made["bytes"]) == ("Vite", "ready", 3, 1000)
    assert client.get(f"{TEMPLATES}/{made['id']}").json() == made
    assert client.get(TEMPLATES).json() == {"data": [made]}


def test_of_one_that_is_awake_it_is_ready_once_all_is_packed(here: World, client: TestClient) -> None:
    session = here.turn(here.create())
    response = client.post(TEMPLATES, json={"session": session.id, "name": "Vite", "userId": "u1"})
    assert (response.status_code, response.headers["Location"]) == (201, f"templates/{response.json()['id']}")
    assert (response.json()["status"], response.json()["files"]) == ("preparing", None)
    here.pack(session, "full", inbox_seq=here.now(session).head.inbox_seq)
    assert client.get(f"{TEMPLATES}/{response.json()['id']}").json()["status"] == "ready"


def test_sessions_begin_with_it_and_outlive_it(here: World, client: TestClient, made: Any) -> None:
    body = {"prompt": "Build a todo app", "user_id": "u2", "from": {"template": made["id"]}}
    session = client.post("/v1/sessions", json=body).json()
    assert client.delete(f"{TEMPLATES}/{made['id']}").status_code == 204
    assert client.get(f"{TEMPLATES}/{made['id']}").status_code == 404
    assert client.post("/v1/sessions", json=body).status_code == 404
    assert here.testimony.inbox(here.service.read("acme", session["id"]), 0)


@pytest.mark.parametrize(
    "which", ["another's", f"tpl_{'0' * 32}", "tpl_1", f"tpl_{'A' * 32}", f"session_{'0' * 32}"]
)
def test_what_is_anothers_or_nothing_is_not_found(
    client: TestClient, other: TestClient, made: Any, which: str
) -> None:
    caller = other if which == "another's" else client
    template = made["id"] if which == "another's" else which
    for method in ("GET", "DELETE"):
        error = caller.request(method, f"{TEMPLATES}/{template}").json()["error"]
        assert (error["type"], error["message"]) == ("not_found", "Template not found")
    assert other.get(TEMPLATES).json() == {"data": []}
    assert client.get(TEMPLATES).json() == {"data": [made]}


def test_a_template_of_anothers_session_or_of_none(
    here: World, client: TestClient, other: TestClient
) -> None:
    mine, done = here.create(), here.create()
    here.service.end("acme", done.id)
    for caller, body, status in [
        (other, {"session": mine.id, "name": "x"}, 404),
        (client, {"session": mine.id, "name": "x", "user_id": "u2"}, 404),
        (client, {"session": f"session_{'0' * 32}", "name": "x"}, 404),
        (client, {"session": done.id, "name": "x"}, 409),
    ]:
        assert caller.post(TEMPLATES, json=body).status_code == status
    assert client.get(TEMPLATES).json() == other.get(TEMPLATES).json() == {"data": []}
