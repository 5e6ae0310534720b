"""Tokens of a session from outside: each of them at each door, and how soon they are dead."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from tests.e2e.target import Target, until

TALKING = (Path(__file__).parent / "talking.py").read_text()
START = "run: setsid python3 -I /workspace/agent/talking/app.py 3000 </dev/null >/dev/null 2>&1 &"
NAVIGATION = {"Sec-Fetch-Dest": "document", "Accept": "text/html"}
BYTES = {"Content-Type": "application/octet-stream"}
REVOKED_SECONDS = 5.0
NOBODYS = "session_" + "0" * 32


def talking(server: Target, **config: Any) -> dict[str, Any]:
    """A session whose app talks on port 3000."""
    config = {"skills": {"talking/app.py": TALKING}, **config}
    session = server.create(START, agent_config=config)
    server.turn(session)
    server.events(session, "preview_ready")
    return session


def token(server: Target, session: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = server.http.post(f"/v1/sessions/{session['id']}/tokens", json={"scope": "read", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def revoke(server: Target, session: dict[str, Any]) -> None:
    assert server.http.delete(f"/v1/sessions/{session['id']}/tokens").status_code == 204


def asked(server: Target, secret: str, method: str, path: str, body: Any = None) -> int:
    """The status of an answer, which may be a stream."""
    headers = {"X-API-Key": "", "Authorization": f"Bearer {secret}" if secret else ""}
    content: dict[str, Any] = {"json": body}
    if isinstance(body, bytes):
        content, headers = {"content": body}, headers | BYTES
    with server.http.stream(method, path, headers=headers, **content) as answer:
        return int(answer.status_code)


class Door(NamedTuple):
    """What is asked of a session S, and what it answers to: its own token for reading, its own for writing,
    a token for writing of another session of the account, another account's token and key.
    """

    method: str
    path: str
    body: Any
    read: int
    write: int
    others: int


M = {"message": "say 1 words", "user_id": "user_42"}
NEW = {"prompt": "x", "user_id": "user_42"}
DOORS = [
    Door("GET", "/v1/sessions/S", None, 200, 200, 404),
    Door("GET", "/v1/sessions/S?user_id=user_42", None, 200, 200, 404),
    Door("GET", "/v1/sessions/S?user_id=user_7", None, 404, 404, 404),
    Door("GET", "/v1/sessions/S/events", None, 200, 200, 404),
    Door("GET", "/v1/sessions/S/events/page", None, 200, 200, 404),
    Door("GET", "/v1/sessions/S/versions", None, 200, 200, 404),
    Door("GET", "/v1/sessions/S/versions/1/diff", None, 200, 200, 404),
    Door("GET", "/v1/sessions/S/files", None, 200, 200, 404),
    Door("GET", "/v1/sessions/S/files/app/index.html", None, 200, 200, 404),
    Door("GET", "/v1/sessions/S/archive", None, 200, 200, 404),
    Door("PUT", "/v1/sessions/S/files/app/new.txt", b"new", 403, 204, 404),
    Door("POST", "/v1/sessions/S/interrupt", {}, 403, 200, 404),
    Door("POST", "/v1/sessions/S/restore", {"version": 99}, 403, 404, 404),
    Door("POST", "/v1/sessions/S/messages", {**M, "user_id": "user_7"}, 403, 404, 404),
    Door("POST", "/v1/sessions/S/messages", M, 403, 200, 404),
    Door("POST", "/v1/sessions/S/hibernate", None, 403, 403, 403),
    Door("POST", "/v1/sessions/S/tokens", {"scope": "read"}, 403, 403, 403),
    Door("DELETE", "/v1/sessions/S/tokens", None, 403, 403, 403),
    Door("DELETE", "/v1/sessions/S", None, 403, 403, 403),
    Door("DELETE", "/v1/sessions/S?purge=true", None, 403, 403, 403),
    Door("GET", "/v1/sessions", None, 403, 403, 403),
    Door("POST", "/v1/sessions", NEW, 403, 403, 403),
    Door("GET", "/v1/usage", None, 403, 403, 403),
    Door("GET", "/v1/templates", None, 403, 403, 403),
    Door("POST", "/v1/templates", {"session": NOBODYS, "name": "x"}, 403, 403, 403),
]


class Keys(NamedTuple):
    session: str
    read: str
    write: str
    sibling: str
    foreign: str
    other_key: str
    revoked: str


@pytest.fixture(scope="module")
def keys(server: Target) -> Iterator[Keys]:
    """One session with an app, and who else there is."""
    mine, siblings = server.create("Build a counter app"), server.create("say 1 words", user_id="user_7")
    key = server.key_of("other")
    theirs = httpx2.post(
        f"{server.url}/v1/sessions?token=write", json={**NEW, "prompt": "say 1 words"},
        headers={"X-API-Key": key}, timeout=40,
    ).json()  # fmt: skip
    server.turn(mine)
    until(lambda: server.get(mine)["version"])
    revoked = token(server, mine, scope="write")["token"]
    revoke(server, mine)
    read, write = (token(server, mine, scope=scope)["token"] for scope in ("read", "write"))
    sibling = token(server, siblings, scope="write")["token"]
    yield Keys(mine["id"], read, write, sibling, theirs["token"]["token"], key, revoked)
    for each in (mine, siblings):
        server.delete(each)
    httpx2.delete(f"{server.url}/v1/sessions/{theirs['id']}", headers={"X-API-Key": key}, timeout=40)


def test_O21_each_token_at_each_door(server: Target, keys: Keys) -> None:
    wrong, crossings = [], 0
    for door in DOORS:
        path = door.path.replace("S", keys.session, 1) if "/S" in door.path else door.path
        of_session = "/S" in door.path
        expected = [
            ("no token", "", 401),
            ("revoked", keys.revoked, 401),
            ("nobody's", f"oss_{'0' * 32}_{'0' * 64}", 401),
            ("sibling's", keys.sibling, door.others),
            ("foreign", keys.foreign, door.others),
            *([("another account's key", keys.other_key, 404)] if of_session else []),
            ("read", keys.read, door.read),
            ("write", keys.write, door.write),
        ]
        for name, secret, status in expected:
            crossings += 1
            got = asked(server, secret, door.method, path, door.body)
            if got != status:
                wrong.append(f"{name} {door.method} {door.path}: {got}, not {status}")
    assert wrong == []
    assert crossings >= 40


def test_O21_a_token_in_the_address_opens_the_stream_alone(server: Target, keys: Keys) -> None:
    for path in ("", "/events/page", "/versions", "/files", "/archive", "/files/app/index.html"):
        assert asked(server, "", "GET", f"/v1/sessions/{keys.session}{path}?token={keys.write}") == 401, path
    stream = f"/v1/sessions/{keys.session}/events?token="
    assert asked(server, "", "GET", stream + keys.read) == 200
    assert asked(server, "", "GET", stream + keys.sibling) == 404
    for wrong in (keys.revoked, server.key, keys.read[:-1]):
        assert asked(server, "", "GET", stream + wrong) == 401


def ends(server: Target, shown: dict[str, Any], end: Any) -> float:
    """In how many seconds the stream at a token's address closes after that. What stands before the API may
    have led here from another host."""
    way = shown["events_url"].partition("/v1/")[2]
    with httpx2.stream("GET", f"{server.url}/v1/{way}", timeout=30) as answer:
        assert answer.status_code == 200
        chunks = answer.iter_bytes()
        assert b"session_started" in next(chunks) + next(chunks)
        end()
        began = time.monotonic()
        for _ in chunks:
            pass
        return time.monotonic() - began


def test_a_stream_closes_soon_after_its_token_is_revoked_or_its_session_ends(server: Target) -> None:
    made = server.http.post("/v1/sessions?token=read", json={"prompt": "say 1 words", "user_id": "u"}).json()
    assert ends(server, made["token"], lambda: revoke(server, made)) < REVOKED_SECONDS
    again = token(server, made)
    assert ends(server, again, lambda: server.delete(made)) < REVOKED_SECONDS
    assert asked(server, again["token"], "GET", f"/v1/sessions/{made['id']}") == 401
    assert server.http.post(f"/v1/sessions/{made['id']}/tokens", json={"scope": "read"}).status_code == 409


def test_O08_a_private_preview_opens_once_and_closes_when_it_is_revoked(server: Target) -> None:
    session = talking(server, preview="private")
    assert session["preview"] == "private"
    read, write = (token(server, session, scope=scope)["token"] for scope in ("read", "write"))
    assert server.preview(session, **NAVIGATION).status_code == 401
    for wrong in (read, write, "x"):
        assert server.preview(session, f"/?os_token={wrong}", **NAVIGATION).status_code == 401
        assert server.preview(session, Authorization=f"Bearer {wrong}").status_code == 401
    made = token(server, session, scope="preview")
    origin, _, way = made["url"].partition("/?")
    assert origin == session["previewUrl"]
    opened = server.preview(session, f"/?{way}", **NAVIGATION)
    assert (opened.status_code, opened.headers["location"]) == (302, "/")
    cookie = opened.headers["set-cookie"].partition(";")[0]
    assert "<h1>app</h1>" in server.preview(session, Cookie=cookie).text
    assert server.preview(session, f"/?{way}", **NAVIGATION).status_code == 401
    assert server.preview(session, port=3001, Cookie=cookie).status_code == 401
    seen = server.preview(session, "/seen", Cookie=cookie)
    assert "os_token" not in seen.text and "os_pass" not in seen.text
    late = token(server, session, scope="preview")["url"].partition("/?")[2]
    revoke(server, session)
    until(lambda: server.preview(session, Cookie=cookie).status_code == 401, REVOKED_SECONDS)
    assert server.preview(session, f"/?{late}", **NAVIGATION).status_code == 401
    server.delete(session)
    assert server.preview(session, Cookie=cookie).status_code in (401, 410)
    for secret in (read, write, way, cookie):
        assert secret not in server.log()


def test_O22_the_log_holds_no_token(server: Target, keys: Keys) -> None:
    log = server.log()
    assert not [each for each in keys[1:] if each in log]
    assert "token=os" not in log
