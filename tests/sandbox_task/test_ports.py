"""Ports that come, go and come back."""

import asyncio
import socket

from pydantic import BaseModel

from sandbox_task.ports import listening, watch
from tests.sandbox_task.fake_gateway import eventually


async def test_a_port_is_announced_each_time_it_begins_to_answer() -> None:
    announced: list[int] = []
    told: list[list[int]] = []

    async def put(event: BaseModel) -> None:
        announced.append(event.port)  # type: ignore[attr-defined]

    def listener(port: int = 0) -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        made.listen()
        return made

    with listener() as own_socket, listener() as first:
        own, port = own_socket.getsockname()[1], first.getsockname()[1]
        mine = {own, port, 80}
        watching = asyncio.create_task(
            watch({own}, put, told.append, seen=lambda: listening() & mine | {80}, interval=0.01)
        )
        await eventually(lambda: announced == [port])
        assert told == [[port]]
        first.close()
        await eventually(lambda: told[-1] == [])
        with listener(port):
            await eventually(lambda: announced == [port, port])
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert own not in announced and 80 not in announced
