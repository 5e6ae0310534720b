"""The model proxy on a real port: its two routes, what leaves for the upstream, and what comes back."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from gateway.model_body import ModelRules
from tests.gateway.model_parts import (
    ASK,
    OTHER_TOKEN,
    REAL_KEY,
    TOKEN,
    Sent,
    fixed,
    model_place,
    raw_exchange,
)

PATHS = [
    "/v1/files", "/v1/messages/batches", "/v1/skills", "/v1/organizations", "//v1/messages",
    "/v1/messages/../files", "/v1/messages/", "/v1/messages/count_tokens/", "/v1/./messages",
    "/v1%2Fmessages", "/v1/messages%2Fbatches", "/v1/messages%3Fbeta=true", "/v1/messages;x",
    "/V1/messages", "/v1/%6Dessages",
    "/v1/messages/%2e%2e/files", "/", "/v1/models", "/v1/messages/count_tokens/../batches", "/v1\\messages",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_i24_other_paths_are_404_and_reach_nobody(method: str) -> None:
    async with model_place() as place:
        for path in [*PATHS, *(["/v1/messages"] if method != "POST" else [])]:
            body = json.dumps(ASK)
            answer = await raw_exchange(
                place.url,
                f"{method} {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {TOKEN}\r\nconnection: close\r\n"
                f"content-length: {len(body)}\r\n\r\n{body}".encode(),
            )
            assert answer.startswith(b"HTTP/1.1 404 ") and b'"not_found_error"' in answer, path
        assert place.stub.requests == []


BAD_BODIES = {
    "web_search": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    "mcp_servers": {"mcp_servers": [{"type": "url", "url": "https://x.test", "name": "x"}]},
    "container": {"container": "c"},
    "url source": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image", "source": {"type": "url", "url": "https://x.test"}}],
            }
        ]
    },
}


async def test_i25_what_runs_on_the_providers_side_is_400_and_reaches_nobody() -> None:
    async with model_place() as place:
        for name, more in BAD_BODIES.items():
            for path in ("/v1/messages", "/v1/messages/count_tokens"):
                answer = await place.client.post(path, json={**ASK, **more}, headers={"x-api-key": TOKEN})
                assert answer.status_code == 400, name
                assert answer.json()["type"] == "error"
                assert answer.json()["error"]["type"] == "invalid_request_error"
        assert place.stub.requests == []


async def test_i26_models_tokens_betas_and_headers() -> None:
    async with model_place(rules=ModelRules(frozenset(("claude-test",)), 100)) as place:
        assert (await place.ask({**ASK, "model": "claude-huge"})).status_code == 400
        assert (await place.ask({**ASK, "max_tokens": 10**9})).status_code == 400
        bad = await raw_exchange(
            place.url,
            f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: {TOKEN}\r\n"
            "anthropic-beta: a\rb\r\n\r\n".encode(),
        )
        assert bad.startswith(b"HTTP/1.1 400 ")
        assert place.stub.requests == []
        betas = "files-api-2025-04-14, effort-2025-11-24"
        assert (await place.ask(headers={"x-api-key": TOKEN, "anthropic-beta": betas})).status_code == 200
        assert place.stub.requests[0].headers["anthropic-beta"] == "effort-2025-11-24"


async def test_headers_are_made_from_scratch() -> None:
    mine = {
        "x-api-key": TOKEN, "authorization": "Bearer mine", "anthropic-workspace-id": "w", "cookie": "a=b",
        "anthropic-version": "1999-01-01", "x-forwarded-for": "x", "accept-encoding": "gzip",
        "user-agent": "me", "anthropic-dangerous-direct-browser-access": "true",
        "anthropic-beta": "mcp-client-2025-04-04",
    }  # fmt: skip
    async with model_place() as place:
        assert (await place.ask(headers=mine)).status_code == 200
        sent = place.stub.requests[0]
        assert sent.path == "/v1/messages" and sent.query == ""
        own = {"host", "connection", "content-length", "accept"}
        assert {name: value for name, value in sent.headers.items() if name not in own} == {
            "x-api-key": REAL_KEY,
            "content-type": "application/json",
            "anthropic-version": "2023-06-01",
            "accept-encoding": "identity",
            "user-agent": "opensessions",
        }
        assert sent.body["metadata"] == {"user_id": "session_a"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "wrong"},
        {"x-api-key": REAL_KEY},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"x-api-key": "", "authorization": f"Bearer {TOKEN}"},
        {"x-api-key": OTHER_TOKEN + ",", "authorization": "Bearer"},
    ],
)
async def test_without_a_model_token_it_is_401(headers: dict[str, str]) -> None:
    async with model_place() as place:
        answer = await place.ask(headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "authentication_error"
        assert place.stub.requests == []


async def test_a_bearer_token_and_the_query_of_the_cli_pass() -> None:
    async with model_place(fixed({"input_tokens": 3})) as place:
        answer = await place.client.post(
            "/v1/messages/count_tokens?beta=true",
            json={"model": "claude-test", "messages": []},
            headers={"authorization": f"Bearer {TOKEN}"},
        )
        assert (answer.status_code, answer.json()) == (200, {"input_tokens": 3})
        assert (place.stub.requests[0].path, place.stub.requests[0].query) == (
            "/v1/messages/count_tokens",
            "beta=true",
        )
        assert (
            await place.client.post("/v1/messages?x=1", json=ASK, headers={"x-api-key": TOKEN})
        ).status_code == 400
        assert place.book.asked == [] and not place.proxy.busy


async def test_a_body_over_the_bound_is_413() -> None:
    async with model_place() as place:
        whole = await raw_exchange(
            place.url,
            f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: {TOKEN}\r\n"
            f"content-length: {11 << 20}\r\n\r\n".encode(),
        )
        assert whole.startswith(b"HTTP/1.1 413 ") and b"request_too_large" in whole

        async def pieces():  # type: ignore[no-untyped-def]
            for _ in range(11):
                yield b" " * (1 << 20)

        answer = await place.client.post("/v1/messages", content=pieces(), headers={"x-api-key": TOKEN})
        assert answer.status_code == 413
        assert place.stub.requests == []


async def secret_answer(sent: Sent, status: int) -> Response:
    headers = {
        "anthropic-organization-id": "org_canary", "x-api-key": REAL_KEY, "request-id": "req_canary",
        "anthropic-ratelimit-tokens-limit": "canary", "set-cookie": "canary=1", "retry-after": "7",
    }  # fmt: skip
    if 300 <= status < 400:
        return RedirectResponse("/elsewhere", status, headers)
    error = {"type": "x_error", "message": f"org_canary: the key {REAL_KEY} is bad"}
    return JSONResponse({"type": "error", "error": error, "request_id": "canary"}, status, headers)


@pytest.mark.parametrize("status", [200, 302, 307, 400, 401, 403, 404, 429, 500, 503, 529])
async def test_i28_nothing_of_the_operator_comes_back(status: int) -> None:
    async with model_place(lambda sent: secret_answer(sent, status)) as place:
        answer = await place.ask()
        shown = f"{answer.headers} {answer.text if status != 200 else ''}"
        assert "canary" not in shown and REAL_KEY not in shown
        assert len(place.stub.requests) == 1
        assert set(answer.headers) <= {
            "content-type", "content-length", "transfer-encoding", "cache-control", "date", "server",
            "x-should-retry", "retry-after",
        }  # fmt: skip
        if status != 200:
            assert answer.json()["type"] == "error" and answer.json()["error"]["message"].isprintable()
            assert answer.headers["x-should-retry"] == str(status in (429, 500, 503, 529)).lower()
            assert answer.headers["retry-after"] == "7"


async def test_an_unreachable_upstream_is_told_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with model_place(url=f"http://127.0.0.1:{port}") as place:
        answer = await place.ask()
        assert answer.status_code == 502
        assert "cannot be reached" in answer.json()["error"]["message"]
        assert str(port) not in answer.text


async def test_an_upstream_on_a_unix_socket(tmp_path: Path) -> None:
    async with model_place(unix_socket=tmp_path / "demo.sock") as place:
        assert (await place.ask()).status_code == 200
