"""Streams that are cut, and many of them: nobody misses an event and nobody sees one twice."""

import asyncio
import json
import random
import ssl
from typing import Any

import httpx2
import pytest

from tests.e2e.target import Target, until

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Nothing here is TLS, and a context of its own for each of many clients takes seconds."""


async def cut_and_resume(server: Target, session: dict[str, Any], cuts: int, **query: str) -> list[int]:
    """Read the stream, hanging up after a few events at a time, and return every number that came."""
    seen: list[int] = []
    path = f"/v1/sessions/{session['id']}/events"
    headers = {"X-API-Key": server.key}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=30, verify=PLAIN) as http:
        for cut in range(cuts + 1):
            patience = random.randint(1, 2) if cut < cuts else 10_000
            headers = {"Last-Event-ID": str(seen[-1])} if seen else {}
            async with http.stream("GET", path, params=query, headers=headers) as answer:
                if answer.status_code == 204:
                    break
                async for line in answer.aiter_lines():
                    if line.startswith("data: {") and '"seq"' in line:
                        seen.append(json.loads(line[6:])["seq"])
                        patience -= 1
                        if not patience:
                            break
    return seen


@pytest.mark.parametrize("query", [{}, {"after": "0"}], ids=["resume", "resume-beside-after-0"])
def test_a_client_that_is_cut_off_50_times_sees_every_event_once(
    server: Target, query: dict[str, str]
) -> None:
    session = server.create()
    for text in ("Make the header blue", "call it Chores", "dark mode"):
        server.send(session, text)

    async def watch() -> list[int]:
        watching = asyncio.create_task(cut_and_resume(server, session, 50, **query))
        await asyncio.to_thread(until, lambda: server.get(session)["status"] == "ready", 60)
        await asyncio.to_thread(server.delete, session)
        return await watching

    assert asyncio.run(watch()) == list(range(1, server.get(session)["lastSeq"] + 1))


def test_two_hundred_clients_watch_one_session(server: Target) -> None:
    session = server.create()

    async def watch() -> list[list[int]]:
        watching = [asyncio.create_task(cut_and_resume(server, session, 0)) for _ in range(200)]
        await asyncio.to_thread(until, lambda: server.get(session)["status"] == "ready", 60)
        await asyncio.to_thread(server.delete, session)
        return await asyncio.gather(*watching)

    seen = asyncio.run(watch())
    assert all(numbers == list(range(1, server.get(session)["lastSeq"] + 1)) for numbers in seen)
