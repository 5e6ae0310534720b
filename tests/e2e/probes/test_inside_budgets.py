"""What a sandbox tries, to spend more than its session may: many calls at once, and hanging up."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.responses import Response, StreamingResponse

from opensessions.handshake import derived_token
from tests.e2e.server import Server
from tests.e2e.unpeopled import tokens
from tests.gateway.model_parts import Sent, Stub, end, frames, serving, start, text

MODEL = "claude-sonnet-4-5"
MOST = 1000
"""The `max_tokens` of a call."""
WORST = (300 * 6 + MOST * 15) / 1e6
"""Dollars that a call costs at most: its prompt is shorter than 300 tokens, in bytes / 3."""
BUDGET = WORST


@pytest.fixture
def stub() -> Stub:
    async def answer(sent: Sent) -> Response:
        async def body() -> AsyncIterator[bytes]:
            yield frames(start(MODEL), *text("word " * 100))
            await asyncio.sleep(0.05)
            last = end()
            last[0]["usage"] = {"output_tokens": MOST - 1}
            yield frames(*last)

        return StreamingResponse(body(), media_type="text/event-stream")

    return Stub(answer)


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path, module="tests.e2e.unpeopled")
    yield made
    assert made.stop() == 0, made.log()


class Sandbox:
    """The way of one session's sandbox to the model."""

    def __init__(self, server: Server, session: dict[str, Any]) -> None:
        worker = (tokens(server.data) / session["sandboxId"]).read_text()
        gateway = Path((server.data / "data" / "run").read_text()) / "gateway.sock"
        self.client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(gateway)),
            base_url="http://gateway",
            headers={"x-api-key": derived_token(worker, "model")},
            timeout=30,
        )
        asked = [{"role": "user", "content": "more"}]
        self.call = {"model": MODEL, "max_tokens": MOST, "stream": True, "messages": asked}

    async def ask(self) -> int:
        return (await self.client.post("/v1/messages", json=self.call)).status_code

    async def hang_up(self) -> int:
        async with self.client.stream("POST", "/v1/messages", json=self.call) as answer:
            if answer.status_code == 200:
                await anext(answer.aiter_raw())
            return answer.status_code


async def spent(server: Server, session: dict[str, Any]) -> float:
    """What the session used, once no call of it is under way."""
    await asyncio.sleep(0.5)
    usage = (await asyncio.to_thread(server.get, session))["usage"]
    return float(usage["costUsd"])


@pytest.mark.parametrize("way", ["at once", "hanging up"])
async def test_i27_no_more_than_the_budget_and_one_call(stub: Stub, quiet: Server, way: str) -> None:
    async with serving(stub) as url:
        quiet.environment["OPENSESSIONS_MODEL_URL"] = url
        await asyncio.to_thread(quiet.start)
        session = await asyncio.to_thread(quiet.create, "spend", limits={"cost_usd": BUDGET})
        sandbox = Sandbox(quiet, session)
        if way == "at once":
            answers = await asyncio.gather(*(sandbox.ask() for _ in range(50)))
        else:
            answers = [await sandbox.hang_up() for _ in range(20)]
        answers += [await sandbox.ask() for _ in range(3)]
        await sandbox.client.aclose()
        assert 200 in answers and set(answers) <= {200, 401, 402, 429}
        assert 0 < await spent(quiet, session) <= BUDGET + WORST
        assert len(stub.requests) == answers.count(200)
        await asyncio.to_thread(exceeded, quiet, session)


def exceeded(server: Server, session: dict[str, Any]) -> None:
    """It is told once, and the sandbox gets no more leave."""
    path = f"/v1/sessions/{session['id']}/events/page"
    told = server.http.get(path, params={"limit": "500"}).json()["data"]
    assert [event["type"] for event in told].count("budget_exceeded") == 1
    assert server.get(session)["usage"]["calls"] < 20
