from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from opensessions.http import api
from opensessions.http.cors import Cors
from tests.fakes import World, open_account

ORIGIN = "https://app.example.com"

CALLS = [
    ("GET", "/v1/sessions", 200),
    ("GET", "/healthz", 200),
    ("GET", "/v1/sessions?limit=0", 400),
    ("POST", "/v1/sessions", 400),
    ("GET", f"/v1/sessions/session_{'0' * 32}", 404),
    ("GET", "/nothing", 404),
    ("PATCH", "/v1/sessions", 405),
    ("DELETE", f"/v1/sessions/session_{'0' * 32}", 404),
    ("GET", "/v1/sessions?user_id=broken", 500),
]


@pytest.fixture
def caller(here: World) -> Iterator[TestClient]:
    """A caller whose lists fail when they are of the user "broken"."""
    read = here.service.page

    def page(account: str, user_id: str | None, *rest: object) -> object:
        assert user_id != "broken", "a secret"
        return read(account, user_id, *rest)  # type: ignore[arg-type]

    here.service.page = page  # type: ignore[assignment]
    with TestClient(api.create_app(here.service), raise_server_exceptions=False) as client:
        client.headers["X-API-Key"] = open_account(here.keyring)
        yield client


@pytest.mark.parametrize(("method", "url", "status"), CALLS)
def test_every_answer_can_be_read_by_every_page(
    caller: TestClient, method: str, url: str, status: int
) -> None:
    response = caller.request(method, url, headers={"Origin": ORIGIN})
    assert response.status_code == status
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers["Access-Control-Expose-Headers"].startswith("X-Request-Id, Retry-After, ")
    assert "Origin" in response.headers["Vary"]
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert response.headers["X-Request-Id"].startswith("req_")


def test_a_refused_key_can_be_read_too(keyless: TestClient) -> None:
    response = keyless.get("/v1/sessions", headers={"Origin": "null"})
    assert response.status_code == 401
    assert response.headers["Access-Control-Allow-Origin"] == "null"


@pytest.mark.parametrize(
    "path", ["/v1/sessions", f"/v1/sessions/session_{'0' * 32}/events", "/nothing", "/docs"]
)
def test_preflights_need_no_key(keyless: TestClient, path: str) -> None:
    asked = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "x-api-key"}
    response = keyless.options(path, headers={"Origin": ORIGIN, **asked})
    assert (response.status_code, response.content) == (204, b"")
    allowed = {
        "Access-Control-Allow-Origin": ORIGIN,
        "Access-Control-Allow-Headers": "Content-Type, X-API-Key, Authorization, Idempotency-Key, "
        "Last-Event-ID, Range, If-Range",
        "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    }
    assert {name: response.headers[name] for name in allowed} == allowed
    assert int(response.headers["Access-Control-Max-Age"]) >= 600
    assert response.headers["X-Request-Id"].startswith("req_")


def test_without_an_origin_nothing_is_allowed_but_caches_know(keyless: TestClient) -> None:
    response = keyless.get("/healthz")
    assert response.headers["Vary"] == "Origin"
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_any_asgi_app_can_be_shared() -> None:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"vary", b"Accept")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n"})

    response = TestClient(Cors(stream)).get("/", headers={"Origin": ORIGIN})
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers["Vary"] == "Accept, Origin"
