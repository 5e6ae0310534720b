"""API keys of a running system: made, replaced and revoked by its command, and who did what."""

import time
from threading import Thread
from typing import Any

import httpx2

from tests.e2e.target import Target, until


def shown(server: Target, key: str) -> dict[str, Any]:
    return {"base_url": server.url, "headers": {"X-API-Key": key}, "timeout": 40}


def recorded(server: Target) -> list[dict[str, Any]]:
    """Newest first."""
    answer = server.http.get("/v1/audit", params={"limit": 500})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]  # type: ignore[no-any-return]


class Watching(Thread):
    """Reads a stream to its end: `began` and `ended` are when."""

    def __init__(self, client: httpx2.Client, path: str) -> None:
        super().__init__()
        self._client, self._path = client, path
        self.began = self.ended = 0.0
        self.start()

    def run(self) -> None:
        with self._client.stream("GET", self._path, timeout=60) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    self.began = time.monotonic()
        self.ended = time.monotonic()


def test_a_key_is_replaced_while_callers_use_it(server: Target) -> None:
    old, session = server.new_key("backend", "write"), server.create("Build a page")
    url = f"/v1/sessions/{session['id']}"
    with httpx2.Client(**shown(server, old)) as before:
        assert before.get(url).status_code == 200
        new = server.new_key("backend", "write")
        first, second = server.good_keys("backend")
        with httpx2.Client(**shown(server, new)) as after:
            for client in (before, after):
                assert client.get(url).status_code == 200
                assert client.get("/v1/audit").status_code == 403
            watching = Watching(before, f"{url}/events")
            until(lambda: watching.began)
            server.revoke_key(first)
            revoked = time.monotonic()
            assert before.get(url).status_code == 401
            watching.join(10)
            assert 0 < watching.ended < revoked + 5
            assert after.get(url).status_code == 200
    assert server.good_keys("backend") == [second]
    server.revoke_key(second)
    server.delete(session)


def test_the_record_tells_who(server: Target) -> None:
    secret = server.new_key("ci", "write")
    (key,) = server.good_keys("ci")
    with httpx2.Client(**shown(server, secret)) as ci:
        body = {"prompt": "canary-of-an-audit", "user_id": "user_7"}
        session = ci.post("/v1/sessions", json=body).json()
        ci.post(f"/v1/sessions/{session['id']}/tokens", json={"scope": "read"})
        ci.delete(f"/v1/sessions/{session['id']}")
        assert ci.put("/v1/users/user_7/limits", json={}).status_code == 403
    server.revoke_key(key)
    entries = recorded(server)
    assert sorted((e["action"], e["result"]) for e in entries if e["by"]["id"] == key) == [
        ("create_session", 201),
        ("create_token", 201),
        ("end_session", 200),
        ("put_user_limits", 403),
    ]
    (made,) = [e for e in entries if e["action"] == "create_session" and e["by"]["id"] == key]
    assert (made["target"], made["userId"], made["by"]["name"]) == (session["id"], "user_7", "ci")
    assert made["ip"]
    by_operator = [e["action"] for e in entries if e["by"]["kind"] == "operator" and e["target"] == key]
    assert by_operator == ["revoke_key", "create_key"]
    assert "canary" not in str(entries)
    assert secret not in server.log() and server.key not in server.log()


def test_the_record_tells_what_a_token_read(server: Target) -> None:
    session = server.create("Build a page")
    token = server.http.post(f"/v1/sessions/{session['id']}/tokens", json={"scope": "read"}).json()["token"]
    for _ in range(2):
        url = f"{server.url}/v1/sessions/{session['id']}/events?token={token}"
        with httpx2.stream("GET", url, timeout=40) as answer:
            assert answer.status_code == 200

    def reads() -> list[dict[str, Any]]:
        return [
            e for e in recorded(server) if e["action"] == "stream_events" and e["target"] == session["id"]
        ]

    read = until(reads)[0]
    assert read["by"] == {
        "kind": "token",
        "id": None,
        "name": None,
        "scope": "read",
        "session": session["id"],
    }
    assert read["ip"]
    server.delete(session)


def test_a_key_of_another_account_sees_nothing_of_this_one(server: Target) -> None:
    secret, session = server.new_key("theirs", account="globex"), server.create("Build a page")
    with httpx2.Client(**shown(server, secret)) as other:
        assert other.get(f"/v1/sessions/{session['id']}").status_code == 404
        assert other.get("/v1/sessions").json()["data"] == []
        assert [e["action"] for e in other.get("/v1/audit").json()["data"]][-1] == "create_key"
    server.delete(session)
