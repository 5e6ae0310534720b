"""Runs in a sandbox, before and beside its worker: TCP ports for what comes and goes by unix sockets.

    relay.py DOOR_FD DOOR_PORT ADDRESS PORT... -- COMMAND...

ADDRESS:PORT, where the gateway's name leads to, is served by /run/<PORT>.sock; what comes by the inherited
socket goes to DOOR_PORT. The address is not one of those at which the worker looks for the ports of apps, and
it is no child of the worker's, who ends what it has started.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Dial = Callable[[], Awaitable[tuple[Reader, Writer]]]


def main() -> None:
    end = sys.argv.index("--")
    door, inner, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    ports = [int(word) for word in sys.argv[4:end]]
    listeners = {port: socket.create_server((address, port), backlog=512) for port in ports}
    if parted := os.fork():
        os.waitpid(parted, 0)
        os.close(door)
        for listener in listeners.values():
            listener.close()
        os.execv(sys.argv[end + 1], sys.argv[end + 1 :])
    if os.fork():
        os._exit(0)
    nowhere = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(door, inner, listeners))


async def serve(door: int, inner: int, listeners: dict[int, socket.socket]) -> None:
    def to(port: int) -> Dial:
        return lambda: asyncio.open_unix_connection(f"/run/{port}.sock")

    for port, listener in listeners.items():
        await asyncio.start_server(passing(to(port)), sock=listener)
    knocks = socket.socket(fileno=door)
    await asyncio.start_unix_server(passing(lambda: asyncio.open_connection("127.0.0.1", inner)), sock=knocks)
    await asyncio.Event().wait()


def passing(dial: Dial) -> Callable[[Reader, Writer], Awaitable[None]]:
    async def passed(reader: Reader, writer: Writer) -> None:
        try:
            there = await dial()
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
        for each in (writer, there[1]):
            each.close()

    return passed


async def pump(reader: Reader, writer: Writer) -> None:
    """Bytes one way; the end of a stream is passed on, and a broken one breaks the other side."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


if __name__ == "__main__":
    main()
