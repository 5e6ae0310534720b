"""The server is killed while calls run: what was used is what the model counted, by class, to the token.

1,000 calls and two kills by default; 10,000 and five with `OPENSESSIONS_SLOW_TESTS`.
"""

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse, Response, StreamingResponse

from opensessions import codec
from opensessions.handshake import derived_token
from opensessions.local.database import Database
from opensessions.local.ledger import SqliteLedger
from opensessions.money.ledger import Amounts, Call, Meter
from opensessions.money.prices import Prices
from tests.e2e.server import Server
from tests.e2e.target import until
from tests.e2e.unpeopled import tokens
from tests.gateway.model_parts import Sent, Stub, end, frames, serving, start, text

SLOW = bool(os.environ.get("OPENSESSIONS_SLOW_TESTS"))
SESSIONS, USERS = 50, 5
CALLS, KILLS = (10_000, 5) if SLOW else (1_000, 2)
LATER = 20 * 60
MODEL = "claude-sonnet-4-5"
CLASSES = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
)


def usage_of(number: int) -> dict[str, Any]:
    """What a call with this number uses: its max_tokens is its number."""
    short, long = number % 7, number % 11
    kept = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    return {
        "input_tokens": 5 + number % 13,
        "cache_read_input_tokens": number % 101,
        "cache_creation_input_tokens": short + long,
        "cache_creation": kept,
        "output_tokens": 1 + number % 50,
    }


def counted(numbers: Iterable[int]) -> dict[str, int]:
    """What the model counted for these calls, by class."""
    total = dict.fromkeys(CLASSES, 0)
    for usage in map(usage_of, numbers):
        total["input_tokens"] += usage["input_tokens"]
        total["output_tokens"] += usage["output_tokens"]
        total["cache_read_tokens"] += usage["cache_read_input_tokens"]
        total["cache_write_tokens"] += usage["cache_creation"]["ephemeral_5m_input_tokens"]
        total["cache_write_1h_tokens"] += usage["cache_creation"]["ephemeral_1h_input_tokens"]
    return total


async def model(sent: Sent) -> Response:
    number = sent.body["max_tokens"]
    usage = usage_of(number)
    message = {**start(MODEL)["message"], "usage": usage}
    if number % 5 == 0:
        return JSONResponse(message)
    first = {"type": "message_start", "message": {**message, "usage": {**usage, "output_tokens": 1}}}
    last = [{**event} for event in end()]
    last[0]["usage"] = {"output_tokens": usage["output_tokens"]}

    async def body() -> AsyncIterator[bytes]:
        yield frames(first, *text("a word"))
        await asyncio.sleep(0.002 * (number % 10))
        yield frames(*last)

    return StreamingResponse(body(), media_type="text/event-stream")


@dataclass
class Run:
    """Sandboxes that call the model, each its own numbers one after the other, while the server is killed."""

    server: Server
    sessions: list[dict[str, Any]]
    asked: dict[int, str] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    lost: list[Call] = field(default_factory=list)
    done: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)

    async def go(self) -> None:
        await self._reached()
        async with asyncio.TaskGroup() as group:
            for place, session in enumerate(self.sessions):
                group.create_task(self._sandbox(session, range(1 + place, CALLS + 1, SESSIONS)))
            for kill in range(1, KILLS + 1):
                while self.done < kill * CALLS // (KILLS + 1):
                    await asyncio.sleep(0.002)
                await self._kill()
        await self.client.aclose()

    async def _reached(self) -> None:
        gateway = Path((self.server.data / "data" / "run").read_text()) / "gateway.sock"
        way = httpx2.AsyncHTTPTransport(uds=str(gateway))
        self.client = httpx2.AsyncClient(transport=way, base_url="http://gateway", timeout=30)
        self.up.set()

    async def _kill(self) -> None:
        self.up.clear()
        await asyncio.to_thread(self.server.stop, signal.SIGKILL)
        await self.client.aclose()
        self.lost = calls_under_way(self.server)
        await asyncio.to_thread(self.server.start)
        await self._reached()

    async def _sandbox(self, session: dict[str, Any], numbers: range) -> None:
        worker = (tokens(self.server.data) / session["sandboxId"]).read_text()
        headers = {"x-api-key": derived_token(worker, "model")}
        for number in numbers:
            await self.up.wait()
            self.asked[number] = session["id"]
            body = {"model": MODEL, "max_tokens": number, "stream": number % 5 > 0, "messages": [
                {"role": "user", "content": f"call {number}"}
            ]}  # fmt: skip
            with contextlib.suppress(httpx2.TransportError):
                answer = await self.client.post("/v1/messages", json=body, headers=headers)
                assert answer.status_code == 200, f"{answer.text}\n{self.server.log()[-1000:]}"
                self.whole.add(number)
            self.done += 1


def calls_under_way(server: Server) -> list[Call]:
    """Those that a server that is dead has reserved and not settled, from before its last start too."""
    with contextlib.closing(sqlite3.connect(server.data / "data" / "sessions.db")) as db:
        found = db.execute("SELECT body FROM call WHERE settled_at IS NULL").fetchall()
    return [codec.call(body) for (body,) in found]


@pytest.mark.timeout(600 if SLOW else 120)
async def test_no_call_is_lost_or_counted_twice(tmp_path: Path) -> None:
    stub = Stub(model)
    async with serving(stub) as url:
        server = Server(tmp_path, module="tests.e2e.unpeopled", environment={"OPENSESSIONS_MODEL_URL": url})
        await asyncio.to_thread(server.start)
        try:
            run = Run(server, await asyncio.to_thread(made, server))
            await run.go()
            server.environment["CLOCK_AHEAD"] = str(LATER)
            await asyncio.to_thread(server.stop)
            lost = calls_under_way(server)
            await asyncio.to_thread(server.start)
            await asyncio.to_thread(settled, server)
            usages, total = await asyncio.to_thread(told, server, run.sessions)
        finally:
            await asyncio.to_thread(server.stop)
    assert lost and {call.id for call in run.lost} == {call.id for call in lost}
    reached = Counter(sent.body["max_tokens"] for sent in stub.requests)
    assert max(reached.values()) == 1 and len(run.whole) >= CALLS - KILLS * SESSIONS
    expected = judged(run, set(reached), lost)
    whole = sum(expected.values(), Amounts())
    assert summed(server, expected) == [expected, expected, {"": whole}, {"": whole}]
    assert usages == {id: shown(used) for id, used in expected.items()}
    assert (total["cost_usd"], total["estimated_calls"]) == (whole.cost_usd, len(lost))
    assert {name: total[name] for name in CLASSES} == whole.model_dump(include=set(CLASSES))


def made(server: Server) -> list[dict[str, Any]]:
    return [server.create("be a sandbox", user_id=f"user_{number % USERS}") for number in range(SESSIONS)]


def settled(server: Server) -> None:
    """Wait until the sweep has given up every call of which nobody will tell."""

    def look() -> bool:
        with contextlib.closing(sqlite3.connect(server.data / "data" / "sessions.db")) as db:
            return not db.execute("SELECT 1 FROM call WHERE settled_at IS NULL").fetchall()

    until(look, 30)


def shown(used: Amounts) -> dict[str, Any]:
    """What a session's own usage looks like in the API, as far as it is of models."""
    kept = used.cache_write_tokens + used.cache_write_1h_tokens
    names = ("calls", "input_tokens", "output_tokens", "cache_read_tokens")
    return {to_camel(name): getattr(used, name) for name in names} | {
        "cacheWriteTokens": kept,
        "costUsd": used.cost_usd,
    }


def told(server: Server, sessions: list[dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """What the API says of each session, and of the account."""
    usages = {session["id"]: server.get(session)["usage"] for session in sessions}
    for usage in usages.values():
        del usage["sandboxSeconds"], usage["egressBytes"]
    by_user = server.http.get("/v1/usage", params={"group_by": "user"}).json()
    assert len(by_user["data"]) == USERS
    return usages, by_user["total"]


def summed(server: Server, sessions: Iterable[str]) -> list[dict[str, Amounts]]:
    """The ledger's sums of each session, of its turns, of all users' days and of the account's."""
    database = Database(server.data / "data" / "sessions.db")
    ledger, ever = SqliteLedger(database), ("local", "2000-01-01", "2999-12-31")
    try:
        return [
            {id: ledger.read(Meter("local", id)) for id in sessions},
            {id: sum(ledger.turns(id).values(), Amounts()) for id in sessions},
            {"": sum((used for _, used in ledger.days(*ever)), Amounts())},
            {"": sum((used for _, used in ledger.totals(*ever)), Amounts())},
        ]
    finally:
        database.close()


def judged(run: Run, reached: set[int], lost: list[Call]) -> dict[str, Amounts]:
    """What each session used: what the model counted, and at their worst the calls that were lost."""
    expected = dict.fromkeys((session["id"] for session in run.sessions), Amounts())
    worst = {call.worst.output_tokens: call for call in lost}
    assert len(worst) == len(lost) and worst.keys() <= run.asked.keys()
    for number, call in worst.items():
        assert call.session_id == run.asked[number] and call.worst.input_tokens > usage_of(0)["input_tokens"]
        expected[call.session_id] += call.lost
    exact = reached - worst.keys()
    for number in exact:
        expected[run.asked[number]] += Prices().priced(MODEL, usage_of(number))
    whole = sum(expected.values(), Amounts())
    of_lost = sum((call.lost for call in lost), Amounts())
    for name, count in counted(exact).items():
        assert getattr(whole, name) == count + getattr(of_lost, name)
    assert reached >= run.whole and (whole.calls, whole.lost) == (len(exact) + len(lost), len(lost))
    return expected
