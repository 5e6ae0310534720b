"""The inbox over connections that break."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from opensessions.events import InboxItem, Message
from sandbox_task.gateway import Backoff, Revoked, client
from sandbox_task.inbox import Inbox
from tests.sandbox_task.fake_gateway import FakeGateway, eventually


@asynccontextmanager
async def reading(folder: Path) -> AsyncIterator["asyncio.Queue[tuple[int, InboxItem]]"]:
    found: asyncio.Queue[tuple[int, InboxItem]] = asyncio.Queue()

    async def read() -> None:
        async with client(f"unix:{folder}/gateway.sock", "token") as http:
            async for item in Inbox(http, Backoff(0.01, 0.02)).items():
                found.put_nowait(item)

    task = asyncio.create_task(read())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_item_comes_once_over_many_connections(tmp_path: Path, gateway: FakeGateway) -> None:
    async with reading(tmp_path) as found, asyncio.timeout(10):
        for number in range(1, 6):
            gateway.cut_inbox = number % 2 == 0
            await gateway.say(Message(message_id=f"msg_{number}", text="hello\nthere"))
            assert (await found.get())[0] == number
    assert found.empty()
    assert gateway.tokens == {"Bearer token"}


@pytest.mark.parametrize("status", [401, 410])
async def test_it_ends_when_the_token_does(tmp_path: Path, gateway: FakeGateway, status: int) -> None:
    gateway.inbox_status = 503
    async with client(f"unix:{tmp_path}/gateway.sock", "token") as http:
        items = Inbox(http, Backoff(0.01, 0.02)).items()
        task = asyncio.ensure_future(anext(items))
        await eventually(lambda: gateway.inbox_connections >= 3)
        gateway.inbox_status = status
        with pytest.raises(Revoked):
            await asyncio.wait_for(task, 10)
