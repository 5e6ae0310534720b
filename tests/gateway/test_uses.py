"""What is told of sessions that are in use: little, soon, and nothing of the others."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from gateway.uses import Uses
from tests.gateway.callback_parts import Callback
from tests.gateway.stream_parts import S1, public

USES = "/callback/v1/uses"


@pytest.fixture
def callback() -> Callback:
    return Callback()


@pytest.fixture
async def uses(callback: Callback) -> AsyncIterator[Uses]:
    made = Uses(callback.client(), every=0.2, soon=0.02)
    yield made
    await made.aclose()


async def told(callback: Callback, count: int) -> list[list[str]]:
    async with asyncio.timeout(5):
        while len(callback.asked) < count:
            await asyncio.sleep(0.005)
    return [body["session_ids"] for body in callback.to(USES)]


async def test_many_are_told_together_and_each_once_in_a_while(uses: Uses, callback: Callback) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(5):
        for session_id in ("b", "a", "c"):
            uses.note(session_id)
    assert await told(callback, 1) == [["a", "b", "c"]]
    while loop.time() - began < 0.15:
        uses.note("a")
        await asyncio.sleep(0.01)
    assert len(callback.asked) == 1
    assert await told(callback, 2) == [["a", "b", "c"], ["a"]]
    assert loop.time() - began >= 0.2


async def test_nothing_is_told_once_nothing_is_used(uses: Uses, callback: Callback) -> None:
    uses.note("a")
    await told(callback, 1)
    await asyncio.sleep(0.3)
    assert len(callback.asked) == 1 and uses._telling is None


async def test_a_hundred_fit_into_one_report(uses: Uses, callback: Callback) -> None:
    for number in range(250):
        uses.note(f"{number:03}")
    assert [len(one) for one in await told(callback, 3)] == [100, 100, 50]


async def test_a_watched_session_is_told_of_again_and_again(uses: Uses, callback: Callback) -> None:
    with uses.watching("a"), uses.watching("a"):
        assert await told(callback, 3) == [["a"]] * 3
    await asyncio.sleep(0.5)
    assert len(callback.asked) <= 4


async def test_a_report_that_is_lost_is_left_at_that(uses: Uses, callback: Callback) -> None:
    def away(path: str) -> httpx2.Response:
        if len(callback.asked) == 1:
            raise httpx2.ConnectError("away")
        return httpx2.Response(500)

    callback.answer = away
    uses.note("a")
    await told(callback, 1)
    uses.note("a")
    assert await told(callback, 2) == [["a"], ["a"]]


async def test_whoever_watches_the_events_uses_the_session(uses: Uses, callback: Callback) -> None:
    async with public(watching=uses.watching) as side:
        async with side.watch() as frames:
            await frames.take(3)
            assert await told(callback, 2) == [[S1], [S1]]
        async with asyncio.timeout(5):
            while uses._watched:
                await asyncio.sleep(0.005)
