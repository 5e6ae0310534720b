"""Two gateways behind one name: what goes through one is seen at the other, and either may go."""

import asyncio
import json
import statistics
import time
from typing import Any

import httpx2
import pytest

from tests.e2e.target import until
from tests.rehearsal.gateway_process import GatewayProcess
from tests.rehearsal.rehearsal import Rehearsal

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(240)]

WATCHERS = 50


def events(line: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:])] if line.startswith("data: {") and '"seq"' in line else []


async def arrivals(server: Rehearsal, gateway: GatewayProcess, session: dict[str, Any]) -> dict[int, float]:
    """When each event of a session came to a watcher at one gateway, up to the end of the turn."""
    url, seen = f"http://{gateway.host}:{gateway.public[1]}", {}
    path = f"/v1/sessions/{session['id']}/events"
    async with (
        httpx2.AsyncClient(base_url=url, headers={"X-API-Key": server.key}, timeout=60) as http,
        http.stream("GET", path, params={"after": "2"}) as answer,
    ):
        async for line in answer.aiter_lines():
            for event in events(line):
                seen[event["seq"]] = time.monotonic()
                if event["type"] == "turn_complete":
                    return seen
    raise AssertionError(f"the stream closed after {len(seen)} events")


def test_an_event_that_came_by_one_reaches_a_watcher_at_the_other(
    server: Rehearsal, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = server.gateways
    server.lead(here)
    try:
        session = server.create()

        async def watch() -> list[dict[int, float]]:
            return await asyncio.gather(*(arrivals(server, each, session) for each in (here, there)))

        first, second = asyncio.run(watch())
    finally:
        server.lead(here, there)
    server.delete(session)
    assert first.keys() == second.keys() and len(first) > 10
    later = [second[seq] - first[seq] for seq in first]
    with capsys.disabled():
        print(f"\nthe other gateway's watcher: {statistics.median(later) * 1000:.0f} ms later (median)")
    assert statistics.median(later) < 1, "a poll brought them, not the peer"


async def faithful(server: Rehearsal, session: dict[str, Any]) -> list[int]:
    """Every number that came, by as many connections as it takes, until the session has ended."""
    seen: list[int] = []
    path = f"/v1/sessions/{session['id']}/events"
    deadline = time.monotonic() + 200
    async with httpx2.AsyncClient(
        base_url=server.url, headers={"X-API-Key": server.key}, timeout=60, verify=False
    ) as http:
        while time.monotonic() < deadline:
            told = {"Last-Event-ID": str(seen[-1])} if seen else {}
            try:
                async with http.stream("GET", path, headers=told) as answer:
                    async for line in answer.aiter_lines():
                        for event in events(line):
                            seen.append(event["seq"])
                            if event["type"] == "session_ended":
                                return seen
            except httpx2.HTTPError:
                await asyncio.sleep(0.1)
    raise AssertionError(f"no end of the session after {seen[-3:]}")


def test_gateways_restart_while_50_clients_stream(server: Rehearsal) -> None:
    session = server.create()
    for text in ("Make the header blue", "call it Chores", "dark mode", "sleep 2"):
        server.send(session, text)

    def restart() -> None:
        for gateway, other in (server.gateways, server.gateways[::-1]):
            until(
                lambda: server.get(session)["events"][-1]["type"] not in ("session_started", "user_message")
            )
            server.lead(other)
            assert gateway.stop() == 0, server.log()[-3000:]
            gateway.start()
            server.lead(*server.gateways)
        until(lambda: server.get(session)["status"] == "ready", 90)
        server.delete(session)

    async def watch() -> list[list[int]]:
        watching = [asyncio.create_task(faithful(server, session)) for _ in range(WATCHERS)]
        await asyncio.to_thread(restart)
        return await asyncio.gather(*watching)

    seen = asyncio.run(watch())
    whole = list(range(1, server.get(session)["lastSeq"] + 1))
    assert [numbers for numbers in seen if numbers != whole] == []
    assert server.running(session) == []
