"""Who takes too much is kept waiting, and nobody else is."""

import asyncio
import time

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.paces import REFUSALS_BURST, Paces, Slowed


async def took(*takes: "asyncio.Future[None] | object") -> float:
    began = time.monotonic()
    await asyncio.gather(*takes)  # type: ignore[call-overload]
    return time.monotonic() - began


async def test_a_burst_is_free_and_what_is_above_it_comes_at_the_rate() -> None:
    paces = Paces(rate=20, burst=10)
    assert await took(*(paces.take("a") for _ in range(10))) < 0.04
    assert 0.15 < await took(*(paces.take("a") for _ in range(4))) < 2
    assert await took(paces.take("b", 10)) < 0.04


async def test_nobody_waits_longer_than_the_longest() -> None:
    paces = Paces(rate=1, burst=1, longest=0.1)
    assert 0.05 < await took(*(paces.take("a", 100) for _ in range(50))) < 2


async def test_who_is_quiet_is_forgotten() -> None:
    now = 0.0
    paces = Paces(rate=10, burst=10, clock=lambda: now)
    for key in "abc":
        await paces.take(key)
    assert len(paces) == 3
    now = 1.0
    await paces.take("d")
    assert len(paces) == 1


async def answer(request: Request) -> Response:
    return Response(status_code=int(request.path_params["status"]))


def client(token: str, app: Slowed) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=app)
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)


async def test_refusals_become_slow_for_their_sender_alone() -> None:
    app = Slowed(Starlette(routes=[Route("/{status}", answer)]))
    async with client("hostile", app) as hostile, client("peaceful", app) as peaceful:
        for _ in range(int(REFUSALS_BURST)):
            await hostile.get("/429")
        waiting = [asyncio.create_task(hostile.get("/429")) for _ in range(20)]
        await asyncio.sleep(0)
        for status in (200, 429, 503):
            assert (await peaceful.get(f"/{status}")).status_code == status
        assert (await hostile.get("/200")).status_code == 200
        assert sum(task.done() for task in waiting) < 10
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_strangers_wait_in_one_line() -> None:
    app = Slowed(Starlette(routes=[Route("/{status}", answer)]))
    for number in range(int(REFUSALS_BURST)):
        async with client(f"made up {number}", app) as stranger:
            await stranger.get("/401")
    async with client("made up again", app) as stranger:
        late = asyncio.create_task(stranger.get("/401"))
        done, _ = await asyncio.wait([late], timeout=0.03)
        assert not done and (await late).status_code == 401
