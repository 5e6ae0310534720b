"""The sandbox's side of a gateway, on a unix socket, with everything that can go wrong at will."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import BaseModel

from opensessions.events import EventBatch, InboxItem, Prepare
from tests.sandbox_task import model
from tests.sandbox_task.fake_archives import FakeArchives

Send = Callable[[dict[str, Any]], Awaitable[None]]
DEADLINE = 30.0


class FakeGateway:
    """`events` holds what was stored, `batches` every request that came. `faults` are used up one a request:
    a status to answer with, or "drop" to store the batch and hang up without an answer.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.batches: list[EventBatch] = []
        self.arrivals: list[float] = []
        self.faults: deque[int | str | tuple[int, dict[str, Any], dict[str, str]]] = deque()
        self.tokens: set[str] = set()
        self.model_requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.model_status = 200
        self.items: list[InboxItem] = []
        self.prepare: Prepare | None = None
        self.inbox_status = 200
        self.inbox_connections = 0
        self.cut_inbox = False
        self.hold_answers = 0.0
        self.archives = FakeArchives()
        self._news = asyncio.Condition()

    async def say(self, item: InboxItem) -> int:
        """Put an item into the inbox."""
        async with self._news:
            self.items.append(item)
            self._news.notify_all()
        return len(self.items)

    async def until(self, happened: Callable[[list[dict[str, Any]]], Any], within: float = DEADLINE) -> Any:
        """What `happened` says about the stored events, as soon as it is something."""

        async def wait() -> Any:
            async with self._news:
                while not (found := happened(self.events)):
                    await self._news.wait()
                return found

        try:
            return await asyncio.wait_for(wait(), within)
        except TimeoutError:
            shown = [json.dumps(event)[:300] for event in self.events]
            raise AssertionError("It did not happen. Stored:\n" + "\n".join(shown)) from None

    async def first(self, kind: str, number: int = 1, **fields: Any) -> dict[str, Any]:
        """The `number`th event of a kind with these fields."""

        def matching(events: list[dict[str, Any]]) -> dict[str, Any] | None:
            found = [e for e in events if e["type"] == kind and fields.items() <= e.items()]
            return found[number - 1] if len(found) >= number else None

        result: dict[str, Any] = await self.until(matching)
        return result

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Any], send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.tokens.add(headers.get("authorization", headers.get("x-api-key", "")))
        if scope["path"] == "/sandbox/v1/inbox":
            await self._inbox(scope, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if scope["path"] == "/sandbox/v1/events":
            await self._store(body, send)
        elif scope["path"].startswith("/sandbox/v1/archives/"):
            async with self._news:
                status, answer = self.archives.answer(scope["method"], scope["path"], body)
                self._news.notify_all()
            await _reply(send, status, answer)
        else:
            await self._model(scope, headers, body, send)

    async def _inbox(self, scope: dict[str, Any], send: Send) -> None:
        self.inbox_connections += 1
        if self.inbox_status != 200:
            await _reply(send, self.inbox_status, b"")
            return
        after = int(scope["query_string"].decode().partition("after=")[2] or 0)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        await send({"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": True})
        if self.prepare is not None:
            told = f"id: 0\ndata: {self.prepare.model_dump_json()}\n\n".encode()
            await send({"type": "http.response.body", "body": told, "more_body": True})
        while True:
            for number in range(after + 1, len(self.items) + 1):
                data = self.items[number - 1].model_dump_json()
                frame = f"event: ping\ndata:\n\nid: {number}\ndata: {data}\n\n".encode()
                await send({"type": "http.response.body", "body": frame, "more_body": True})
            after = len(self.items)
            if self.cut_inbox:
                break
            async with self._news:
                if len(self.items) == after and not self.cut_inbox:
                    await self._news.wait()
        await send({"type": "http.response.body", "body": b""})

    async def _store(self, body: bytes, send: Send) -> None:
        batch = EventBatch.model_validate_json(body)
        self.batches.append(batch)
        self.arrivals.append(asyncio.get_running_loop().time())
        if self.hold_answers:
            await asyncio.sleep(self.hold_answers)
        fault = self.faults.popleft() if self.faults else 200
        if isinstance(fault, tuple):
            status, answer, headers = fault
            await _reply(send, status, json.dumps(answer).encode(), headers)
            return
        if isinstance(fault, int) and fault != 200:
            await _reply(send, fault, b"{}")
            return
        expected = len(self.events) + 1
        if batch.first_seq > expected:
            await _reply(
                send, 409, json.dumps({"error": {"type": "conflict", "expected": expected}}).encode()
            )
            return
        async with self._news:
            for event in json.loads(body)["events"][expected - batch.first_seq :]:
                self.events.append(event)
            self._news.notify_all()
        acked = len(self.events)
        if fault == "drop":
            raise ConnectionError("hang up without an answer")
        await _reply(send, 200, json.dumps({"acked": acked, "expected": acked + 1}).encode())

    async def _model(self, scope: dict[str, Any], headers: dict[str, str], body: bytes, send: Send) -> None:
        if scope["method"] != "POST" or scope["path"] != "/v1/messages":
            await _reply(send, 404 if scope["method"] == "POST" else 200, b"{}")
            return
        asked = json.loads(body)
        self.model_requests.append((headers, asked))
        if self.model_status != 200:
            error = {
                "type": "error",
                "error": {"type": "invalid_request_error", "message": "refused by the test"},
            }
            await _reply(send, self.model_status, json.dumps(error).encode())
            return
        await _reply(send, 200, model.answer(asked), {"content-type": "text/event-stream"})


async def eventually(happened: Callable[[], Any], within: float = 10.0) -> None:
    """Return as soon as `happened` is true."""
    async with asyncio.timeout(within):
        while not happened():
            await asyncio.sleep(0.005)


async def _reply(send: Send, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    fields = {"content-type": "application/json", **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(app: Any, path: Path) -> AsyncIterator[None]:
    """Serve `app` on the unix socket `path`."""
    config = uvicorn.Config(app, uds=str(path), log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        await task


class Raw(BaseModel):
    """An event of a test's own making."""

    type: str = "assistant"
    message: dict[str, Any] = {}
