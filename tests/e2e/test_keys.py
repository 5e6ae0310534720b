"""API keys of a running server: made, rotated and revoked by its command, and who did what."""

import time
from threading import Thread
from typing import Any

import httpx2

from tests.e2e.server import KEY, Server
from tests.e2e.target import until


def shown(server: Server, key: str) -> dict[str, Any]:
    return {"base_url": server.url, "headers": {"X-API-Key": key}, "timeout": 30}


def ids(server: Server, name: str) -> list[str]:
    """Of the good keys of this name."""
    lines = [line.split() for line in server.keys("list").splitlines()]
    return [line[0] for line in lines if line[1] == name]


def test_a_key_is_replaced_while_callers_use_it(server: Server) -> None:
    old = server.keys("create", "--name", "backend", "--scopes", "write").strip()
    session = server.create()
    url = f"/v1/sessions/{session['id']}"
    with httpx2.Client(**shown(server, old)) as before:
        assert before.get(url).status_code == 200
        new = server.keys("create", "--name", "backend", "--scopes", "write").strip()
        first, second = ids(server, "backend")
        with httpx2.Client(**shown(server, new)) as after:
            for client in (before, after):
                assert client.get(url).status_code == 200
                assert client.get("/v1/audit").status_code == 403
            closed: list[float] = []

            def watch() -> None:
                with before.stream("GET", f"{url}/events", timeout=60) as answer:
                    for line in answer.iter_lines():
                        if line.startswith("data: "):
                            closed.append(0)
                closed.append(time.monotonic())

            watching = Thread(target=watch)
            watching.start()
            until(lambda: closed)
            server.keys("revoke", first)
            revoked = time.monotonic()
            assert before.get(url).status_code == 401
            watching.join(10)
            assert 0 < closed[-1] - revoked < 5
            assert after.get(url).status_code == 200
    assert ids(server, "backend") == [second]
    server.delete(session)


def test_the_record_tells_who(server: Server) -> None:
    secret = server.keys("create", "--name", "ci", "--scopes", "write").strip()
    (key,) = ids(server, "ci")
    with httpx2.Client(**shown(server, secret)) as ci:
        body = {"prompt": "canary-of-an-audit", "user_id": "user_7"}
        session = ci.post("/v1/sessions", json=body).json()
        token = ci.post(f"/v1/sessions/{session['id']}/tokens", json={"scope": "read"}).json()["token"]
        ci.delete(f"/v1/sessions/{session['id']}")
        assert ci.put("/v1/users/user_7/limits", json={}).status_code == 403
    events = f"{server.url}/v1/sessions/{session['id']}/events?after=0&token={token}"
    assert httpx2.get(events).status_code == 401  # it ended with the session
    own = server.create("Build a page")
    token = server.http.post(f"/v1/sessions/{own['id']}/tokens", json={"scope": "read"}).json()["token"]
    with httpx2.stream("GET", f"{server.url}/v1/sessions/{own['id']}/events?token={token}") as answer:
        assert answer.status_code == 200
    server.keys("revoke", key)

    def told() -> list[dict[str, Any]]:
        return server.http.get("/v1/audit", params={"limit": 500}).json()["data"]  # type: ignore[no-any-return]

    def stream_is_told() -> bool:
        return any(e["action"] == "stream_events" and e["target"] == own["id"] for e in told())

    until(stream_is_told)
    entries = told()
    by_ci = [(e["action"], e["result"]) for e in reversed(entries) if e["by"]["id"] == key]
    assert sorted(by_ci) == [
        ("create_session", 201),
        ("create_token", 201),
        ("end_session", 200),
        ("put_user_limits", 403),
    ]
    (made,) = [e for e in entries if e["action"] == "create_session" and e["by"]["id"] == key]
    assert (made["target"], made["userId"], made["by"]["name"]) == (session["id"], "user_7", "ci")
    (read,) = [e for e in entries if e["action"] == "stream_events" and e["target"] == own["id"]]
    assert (read["by"]["kind"], read["by"]["session"], read["ip"]) == ("token", own["id"], "127.0.0.1")
    by_operator = [e["action"] for e in entries if e["by"]["kind"] == "operator" and e["target"] == key]
    assert by_operator == ["revoke_key", "create_key"]
    assert "canary" not in str(entries) and secret not in server.log() and KEY not in server.log()
    server.delete(own)


def test_a_key_of_another_account_sees_nothing_of_this_one(server: Server) -> None:
    secret = server.keys("create", "--account", "globex").strip()
    session = server.create("Build a page")
    with httpx2.Client(**shown(server, secret)) as other:
        assert other.get(f"/v1/sessions/{session['id']}").status_code == 404
        assert other.get("/v1/sessions").json()["data"] == []
        assert [e["action"] for e in other.get("/v1/audit").json()["data"]][-1] == "create_key"
    server.delete(session)
