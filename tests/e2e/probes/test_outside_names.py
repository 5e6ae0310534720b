"""What a stranger tries from outside: whom he names, and as whom he comes.

The numbers are the threat model's.
"""

import json
from typing import Any

import httpx2
import pytest

from tests.e2e.probes.hostile import Inside, Model, raw
from tests.e2e.server import KEY, Server

SIGNED = f"X-API-Key: {KEY}\r\nConnection: close"


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer[9:12])


def sessions(server: Server) -> set[str]:
    return {each["id"] for each in server.http.get("/v1/sessions", params={"limit": "100"}).json()["data"]}


def test_o01_h17_a_foreign_host_is_misdirected(server: Server) -> None:
    port = server.port
    for host in ("evil.test", f"evil.test:{port}", f"127.0.0.1.evil.test:{port}", "127.0.0.1:1", "localhost.",
                 f"localhost:{port}@evil.test", f"api.preview.localhost:{port}"):  # fmt: skip
        answer = raw(server, f"GET /v1/sessions HTTP/1.1\r\nHost: {host}\r\n{SIGNED}\r\n\r\n".encode())
        assert status(answer) in (400, 404, 421) and b'"sessions"' not in answer, (host, answer)


def test_o01_a_preview_host_never_reaches_the_api_later_on_a_connection(inside: Inside) -> None:
    server, preview = inside.server, inside.session["previewUrl"].removeprefix("http://")
    first = f"GET /first HTTP/1.1\r\nHost: {preview}\r\n\r\n"
    second = f"GET /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{SIGNED}\r\n\r\n"
    answer = raw(server, (first + second).encode())
    assert answer.count(b"HTTP/1.1 ") == 2 and b"HTTP/1.1 421" in answer and b'"sessions"' not in answer
    back = f"GET /v1/sessions HTTP/1.1\r\nHost: {preview}\r\n{SIGNED}\r\n\r\n"
    whole = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
    answer = raw(server, (whole + back).encode())
    assert b"HTTP/1.1 421" in answer and b'"app"' not in answer and b'"sessions"' not in answer


def test_o02_a_port_has_one_spelling(inside: Inside) -> None:
    server, preview = inside.server, inside.session["previewUrl"].removeprefix("http://")
    name, _, own = preview.partition(":")
    hosts = [name.replace("-p3000", f"-p{port}") + f":{own}" for port in (
        "03000", "+3000", "0", "65536", "3000x", "80", "1023", "99999", "3000%20", "٣٠٠٠", "-3000", "3000.",
    )]  # fmt: skip
    hosts += [name.upper(), f"{name}.", f"{name}.:{own}", f"x@{preview}", f"{preview}@x", f"x.{preview}"]
    hosts += [f"{preview}\r\nHost: 127.0.0.1:{own}", f"127.0.0.1:{own}\r\nHost: {preview}", f"{preview} x"]
    hosts += [f"{name}:x", f"[{name}]", f"http://{preview}", f"{preview},{preview}"]
    for host in hosts:
        answer = raw(server, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert status(answer) in (400, 404, 421) and b'"app"' not in answer, (host, answer)
    assert inside.get().json()["app"] == "3000"


def test_o03_c7_the_workers_relays_are_nobodys_proxy(inside: Inside, model: Model) -> None:
    own, before = inside.environment(), len(model.calls)
    relays = [int(own[name].rsplit(":", 1)[1]) for name in ("ANTHROPIC_BASE_URL", "HTTPS_PROXY")]
    question = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "say 1 words"}]}
    for port in relays:
        host = inside.session["previewUrl"].removeprefix("http://").replace("-p3000.", f"-p{port}.")
        headers = {"Host": host, "x-api-key": own["ANTHROPIC_API_KEY"]}
        asked = httpx2.post(f"{inside.server.url}/v1/messages", json=question, headers=headers)
        assert asked.status_code == 502, asked.text
        assert "Nothing listens" in asked.text
    assert len(model.calls) == before


def test_o04_the_apis_paths_on_a_preview_host_are_the_apps(inside: Inside) -> None:
    for path in ("/v1/sessions", "/healthz", "/docs", "/sandbox/v1/inbox"):
        told = inside.get(path, **{"X-API-Key": KEY, "Cookie": "a=b"}).json()
        assert told["app"] == "3000" and told["target"] == path
        assert KEY not in json.dumps(told)


def test_o05_h17_a_web_page_cannot_start_a_session(server: Server) -> None:
    before = sessions(server)
    body = json.dumps({"prompt": "Build a todo app", "user_id": "u"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        headers = {"Content-Type": kind, "Origin": "https://evil.test"}
        for key in ({}, {"X-API-Key": ""}, {"Cookie": f"X-API-Key={KEY}"}):
            answer = httpx2.post(f"{server.url}/v1/sessions", content=body, headers={**headers, **key})
            assert answer.status_code in (400, 401)
            assert "access-control-allow-credentials" not in answer.headers
        answer = server.http.post("/v1/sessions", content=body, headers=headers)
        assert answer.status_code == 400
    assert sessions(server) == before


def test_o06_the_public_port_is_nobodys_proxy(inside: Inside) -> None:
    server, preview = inside.server, inside.session["previewUrl"].removeprefix("http://")
    for host in (f"127.0.0.1:{server.port}", preview):
        for line in ("CONNECT example.com:443", f"CONNECT {host}", "GET http://example.com/",
                     f"GET http://{host}/healthz", "GET healthz", "GET *"):  # fmt: skip
            answer = raw(server, f"{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert status(answer) in (400, 404, 405) and b'"app"' not in answer, (line, answer)


def test_o07_h2_the_sandboxes_side_is_not_public(inside: Inside) -> None:
    own, session = inside.environment(), inside.session["id"]
    egress = own["HTTPS_PROXY"].split(":")[2].split("@")[0]
    tries = [("GET", "/sandbox/v1/inbox"), ("POST", "/sandbox/v1/events"), ("POST", "/v1/messages")]
    tries += [("POST", "/v1/messages/count_tokens"), ("POST", "/callback/v1/events")]
    tries += [
        ("POST", "/callback/v1/notices"),
        ("GET", "//sandbox/v1/inbox"),
        ("POST", "/v1/../v1/messages"),
    ]
    for token in (own["ANTHROPIC_API_KEY"], egress, KEY):
        for method, path in tries:
            lines = f"Authorization: Bearer {token}\r\nX-API-Key: {token}\r\nConnection: close"
            head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{inside.server.port}\r\n{lines}"
            body = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            assert status(raw(inside.server, f"{head}\r\n{body}".encode())) in (404, 405), path
        if token != KEY:
            got = httpx2.get(f"{inside.server.url}/v1/sessions/{session}", headers={"X-API-Key": token})
            assert got.status_code == 401


def test_o18_m3_no_upgrade_but_websockets(inside: Inside) -> None:
    lines = (
        "Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIA"
    )
    preview = inside.session["previewUrl"].removeprefix("http://")
    answer = raw(inside.server, f"GET /h2 HTTP/1.1\r\nHost: {preview}\r\n{lines}\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert not {"upgrade", "http2-settings"} & {name.lower() for name, _ in json.loads(body)["headers"]}
    api = f"127.0.0.1:{inside.server.port}"
    answer = raw(inside.server, f"GET /healthz HTTP/1.1\r\nHost: {api}\r\n{lines}\r\n\r\n".encode())
    assert status(answer) == 200


def other_account(server: Server) -> str:
    """The key of a second account."""
    return server.new_key("probe", account="other")


ROUTES = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("GET", "/events", None),
    ("GET", "/messages", None),
    ("POST", "/messages", {"message": "hello", "user_id": "user_42"}),
    ("POST", "/interrupt", None),
]


def test_o20_another_account_is_told_what_a_stranger_is(inside: Inside) -> None:
    server, mine, nobodys = inside.server, inside.session["id"], "session_" + "0" * 32
    before = server.get(inside.session)
    with httpx2.Client(base_url=server.url, headers={"X-API-Key": other_account(server)}) as other:

        def told(method: str, session: str, path: str, body: Any) -> tuple[int, str]:
            answer = other.request(method, f"/v1/sessions/{session}{path}", json=body)
            error = {name: text for name, text in answer.json()["error"].items() if name != "request_id"}
            return answer.status_code, json.dumps(error).replace(session, "ID")

        for method, path, body in ROUTES:
            answer = told(method, mine, path, body)
            assert answer[0] in (404, 405) and answer == told(method, nobodys, path, body), (method, path)
        for query in ({}, {"user_id": inside.session["userId"]}):
            assert other.get("/v1/sessions", params=query).json()["data"] == []
    assert server.get(inside.session) == before


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/messages")])
def test_o23_h9_a_key_in_the_url_opens_nothing_but_a_stream(inside: Inside, method: str, path: str) -> None:
    body = {"message": "hello", "user_id": "user_42"} if method == "POST" else None
    url = f"{inside.server.url}/v1/sessions/{inside.session['id']}{path}"
    assert httpx2.request(method, url, params={"api_key": KEY}, json=body).status_code in (401, 405)
    everything = httpx2.get(f"{inside.server.url}/v1/sessions", params={"api_key": KEY})
    assert everything.status_code == 401


def test_o22_the_log_holds_no_key(inside: Inside) -> None:
    url = f"{inside.server.url}/v1/sessions/{inside.session['id']}/events"
    with httpx2.stream("GET", url, params={"api_key": KEY}) as answer:
        assert answer.status_code == 200
    log = inside.server.log()
    assert KEY not in log and "api_key=" not in log
