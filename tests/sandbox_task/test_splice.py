"""Two connections made one: what the far end is told of what has arrived."""

import asyncio
import socket

import pytest

from sandbox_task.splice import End, Upstream


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux acknowledges on request")
async def test_what_an_app_sends_is_acknowledged_at_once() -> None:
    loop = asyncio.get_running_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            writer.write(b"yes")
        writer.close()

    app = await asyncio.start_server(answer, "127.0.0.1", 0)
    ours, theirs = socket.socketpair()
    _, near = await loop.create_connection(End, sock=ours)
    port = app.sockets[0].getsockname()[1]
    transport, _ = await loop.create_connection(lambda: Upstream(near, lambda: None), "127.0.0.1", port)
    raw = transport.get_extra_info("socket")
    reader, writer = await asyncio.open_connection(sock=theirs)
    for _ in range(20):  # each request makes the kernel put acknowledgements off again
        writer.write(b"now")
        assert await reader.readexactly(3) == b"yes"
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    app.close()
    await app.wait_closed()
