"""A model proxy on a real port, in front of a stub of the Messages API that records what reaches it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from gateway.calls import Calls
from gateway.grants import SandboxGrant, TokenKind
from gateway.model import ModelListeners, ModelProxy
from gateway.model_body import ModelRules
from gateway.model_upstream import Upstream
from tests.gateway.calls_parts import Book, Settled

REAL_KEY = "sk-real-canary-8d1f"
TOKEN = "model-token-of-a"
OTHER_TOKEN = "model-token-of-b"
GRANTS = {
    TOKEN: SandboxGrant("session_a", "sb-a", None, None, "acme"),
    OTHER_TOKEN: SandboxGrant("session_b", "sb-b", None, None, "globex"),
}
ASK = {"model": "claude-test", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}


async def authorize(token: str, kind: TokenKind) -> SandboxGrant | None:
    return GRANTS.get(token) if kind == "model" else None


@dataclass
class Sent:
    """One request as it reached the stub."""

    path: str
    query: str
    headers: dict[str, str]
    body: dict[str, Any]
    raw: bytes = b""


Answer = Callable[[Sent], Awaitable[Response]]


@dataclass
class Stub:
    """A Messages API; `answer` may be replaced by a test."""

    answer: Answer
    requests: list[Sent] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        text = await request.body()
        headers = {k.lower(): v for k, v in request.headers.items()}
        path = scope["raw_path"].decode()
        sent = Sent(path, scope["query_string"].decode(), headers, json.loads(text) if text else {}, text)
        self.requests.append(sent)
        await (await self.answer(sent))(scope, receive, send)


def frames(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


def start(model: str = "claude-test") -> dict[str, Any]:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    return {"type": "message_start", "message": message}


def block(content: dict[str, Any], delta: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": 0, "content_block": content},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
    ]


def text(words: str) -> list[dict[str, Any]]:
    return block({"type": "text", "text": ""}, {"type": "text_delta", "text": words})


def end(reason: str = "end_turn") -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": delta, "usage": {"input_tokens": None, "output_tokens": 7}},
        {"type": "message_stop"},
    ]


def streaming(*pieces: bytes) -> Answer:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def answer(sent: Sent) -> Response:
        return StreamingResponse(body(), media_type="text/event-stream")

    return answer


def fixed(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    async def answer(sent: Sent) -> Response:
        return JSONResponse(content, status, headers)

    return answer


@dataclass
class Place:
    """The proxy under test, the stub behind it, what the proxy told its listeners, and the callback."""

    url: str
    proxy: ModelProxy
    stub: Stub
    client: httpx2.AsyncClient
    deltas: list[tuple[str, str]] = field(default_factory=list)
    book: Book = field(default_factory=Book)
    listening: bool = True

    async def ask(self, body: Any = None, **more: Any) -> httpx2.Response:
        more.setdefault("headers", {"x-api-key": TOKEN})
        return await self.client.post("/v1/messages", json=ASK if body is None else body, **more)

    async def settled(self, count: int) -> list[Settled]:
        """The first so many settlements, once there are as many."""
        await until(lambda: len(self.book.settled) >= count)
        return self.book.settled[:count]


@asynccontextmanager
async def serving(app: Any, unix_socket: Path | None = None) -> AsyncIterator[str]:
    """`app` under uvicorn on a free port of loopback, or on `unix_socket`; yields its URL."""
    if unix_socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(unix_socket))
    else:
        listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", ws="none", log_level="critical", timeout_keep_alive=60)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield "http://stub" if unix_socket else f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.force_exit = True
        await server.shutdown(sockets=[listener])


@asynccontextmanager
async def model_place(
    answer: Answer | None = None,
    rules: ModelRules | None = None,
    url: str | None = None,
    unix_socket: Path | None = None,
    auth: httpx2.Auth | None = None,
    book: Book | None = None,
    **more: Any,
) -> AsyncIterator[Place]:
    """Proxy and stub, both up; `url` puts another upstream in the stub's place, `auth` another proof than
    the key.
    """
    stub = Stub(answer or streaming(frames(start(), *text("hello "), *text("there"), *end())))
    async with serving(stub, unix_socket) as stub_url:
        upstream = Upstream(url or stub_url, None if auth else REAL_KEY, unix_socket, auth)
        heard = ModelListeners(
            lambda session: place.listening,
            lambda session, words: place.deltas.append((session, words)),
        )
        book = book or Book()
        async with (
            book.client() as callback,
            serving(
                proxy := ModelProxy(authorize, upstream, Calls(callback, (0.01,)), rules, heard, **more)
            ) as proxy_url,
            httpx2.AsyncClient(base_url=proxy_url, trust_env=False, timeout=20, verify=False) as client,
        ):
            place = Place(proxy_url, proxy, stub, client, book=book)
            yield place
            await proxy.aclose(deadline=0)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Waits for `condition`, which nobody signals, to hold."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def raw_exchange(url: str, request: bytes, seconds: float = 10) -> bytes:
    """Sends bytes as they are and reads until the other side closes or a whole short answer is there."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        async with asyncio.timeout(seconds):
            return await reader.read(65536)
    finally:
        writer.close()
        await writer.wait_closed()
