"""Gateways tell each other what is new, and believe nobody else on the port that sandboxes reach too."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx2
import pytest
from starlette.applications import Starlette

from gateway.peers import AGE_SECONDS, PATH, Peers
from tests.gateway.model_parts import serving

KEY = b"k" * 32


@dataclass
class Group:
    """Two gateways, each of which finds both, and an address at which nobody is."""

    urls: list[str] = field(default_factory=lambda: ["http://127.0.0.1:9"])
    woken: list[list[str]] = field(default_factory=lambda: [[], []])
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def make(self, number: int) -> Peers:
        def wake(session_id: str) -> None:
            self.woken[number].append(session_id)
            self.heard.set()

        async def addresses() -> list[str]:
            return self.urls

        return Peers(KEY, addresses, wake)

    async def post(self, peer: Peers, **message: object) -> httpx2.Response:
        """A message of `peer`'s key to the second gateway."""
        body = json.dumps(message).encode()
        headers = {"Signature": peer._signature(body)}
        async with httpx2.AsyncClient(trust_env=False) as client:
            return await client.post(self.urls[-1] + PATH, content=body, headers=headers)


@pytest.fixture
async def group() -> AsyncIterator[tuple[Group, Peers]]:
    made = Group()
    peers = [made.make(number) for number in range(2)]
    async with AsyncExitStack() as stack:
        for peer in peers:
            made.urls.append(await stack.enter_async_context(serving(Starlette(routes=[peer.route()]))))
        running = asyncio.create_task(peers[0].run())
        yield made, peers[0]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_others_are_woken_and_not_oneself(group: tuple[Group, Peers]) -> None:
    there, one = group
    for number in range(25):
        one.tell(f"session_{number:032x}")
        one.tell(f"session_{number:032x}")
    async with asyncio.timeout(10):
        while len(there.woken[1]) < 25:
            there.heard.clear()
            await there.heard.wait()
    assert there.woken == [[], [f"session_{number:032x}" for number in range(25)]]


async def test_old_and_forged_messages_wake_nobody(group: tuple[Group, Peers]) -> None:
    there, one = group
    now, sessions = time.time(), ["session_1"]
    stranger = Peers(b"another key", there.make(0)._addresses, lambda session_id: None)
    forged = await there.post(stranger, **{"from": "x", "at": now, "sessions": sessions})
    old = await there.post(one, **{"from": "x", "at": now - AGE_SECONDS - 1, "sessions": sessions})
    long = await there.post(one, **{"from": "x" * 2000, "at": now, "sessions": sessions})
    assert (forged.status_code, old.status_code, long.status_code) == (404, 204, 404)
    assert there.woken[1] == []
    await there.post(one, **{"from": "x", "at": now, "sessions": sessions})
    assert there.woken[1] == sessions
