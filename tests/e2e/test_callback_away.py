"""The callback fails while the agent works: what the sandbox says is stored once, in order, when it is
back.
"""

import asyncio
import os
import random
import time
from pathlib import Path

import httpx2
import pytest
import uvloop
from starlette.types import ASGIApp

from opensessions.local.server import serve
from opensessions.local.settings import from_environment
from opensessions.local.wiring import System
from opensessions.models import NewSession

AWAY_SECONDS = 60.0 if os.environ.get("OPENSESSIONS_SLOW_TESTS") else 8.0


class Faulty(httpx2.AsyncBaseTransport):
    """By chance, until `until`: answers 500, or hangs up before the callback is asked, or after it stored."""

    def __init__(self, app: ASGIApp) -> None:
        self.straight = httpx2.ASGITransport(app=app)
        self.until = time.monotonic() + 3600
        self.faults = 0
        self.chance = random.Random(7)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if time.monotonic() > self.until:
            return await self.straight.handle_async_request(request)
        self.faults += 1
        kind = self.chance.choice(["500", "before", "after"] if self.faults > 1 else ["500"])
        if kind == "500":
            return httpx2.Response(500, request=request)
        if kind == "after":
            await self.straight.handle_async_request(request)
        raise httpx2.RemoteProtocolError("the callback hung up", request=request)


@pytest.fixture
def made() -> list[Faulty]:
    return []


def test_the_callback_is_away_and_nothing_is_lost_or_told_twice(tmp_path: Path, made: list[Faulty]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_away(tmp_path, made))


async def _away(tmp_path: Path, made: list[Faulty]) -> None:
    systems: list[System] = []

    def wire(*args: object) -> System:
        def transport(app: ASGIApp) -> Faulty:
            made.append(Faulty(app))
            return made[0]

        systems.append(System(*args, callback_transport=transport))  # type: ignore[arg-type]
        return systems[0]

    stop, settings = (
        asyncio.Event(),
        from_environment({"PORT": "0", "OPENSESSIONS_DATA_DIR": str(tmp_path / "data")}),
    )
    serving = asyncio.create_task(serve(settings, stop, wire))
    while not (systems and systems[0].runtime and systems[0].sockets.gateway.exists()):
        await asyncio.sleep(0.01)
        assert not serving.done(), await serving
    store, service = systems[0].store, systems[0].service
    session = await asyncio.to_thread(
        service.create, "local", NewSession(prompt="Build a todo app", user_id="u")
    )
    made[0].until = time.monotonic() + AWAY_SECONDS
    async with asyncio.timeout(AWAY_SECONDS + 60):
        while not any(event.type == "turn_complete" for event in store.events(session.id, 0, 1000)):
            await asyncio.sleep(0.1)
    events = store.events(session.id, 0, 1000)
    stop.set()
    await serving
    assert made[0].faults > 3
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    kinds = [event.type for event in events]
    for once in ("sandbox_ready", "configured", "ready", "turn_started", "result", "turn_complete"):
        assert kinds.count(once) == 1, kinds
    calls = [
        b["id"] for e in events if e.type == "assistant" for b in e.payload["message"]["content"] if "id" in b
    ]
    answers = [b["tool_use_id"] for e in events if e.type == "user" for b in e.payload["message"]["content"]]
    assert calls == answers and len(set(calls)) == len(calls)
