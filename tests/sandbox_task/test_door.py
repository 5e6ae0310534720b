"""The door: who gets in, and where to."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from opensessions.handshake import FILES_PORT, door_key, proof, proven
from sandbox_task.door import Door

KEY = door_key(b"master", "sb-one")
OTHER = door_key(b"master", "sb-two")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def open_door(key: str = KEY, own: set[int] | None = None) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    door = Door(set() if own is None else own)
    door.key = key
    server = await door.listen(listener.detach(), None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def app(host: str, handle: Callable[..., Awaitable[None]]) -> AsyncIterator[int]:
    server = await asyncio.start_server(handle, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"<end>")
    writer.close()


async def head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    raw = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = raw.split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:] if line)


async def knock(door: int, port: int | str, key: str = KEY) -> tuple[int, Streams, bool]:
    """The door's last answer (0: hung up), the streams, and whether it proved itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door)
    g = secrets.token_hex(16)
    line = f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    try:
        writer.write(f"{line}Door-Challenge: {g}\r\n\r\n".encode())
        status, fields = await head(reader)
        assert status == 407
        d = fields["Door-Challenge"]
        honest = proven(fields["Door-Proof"], key, "door", g, d, int(port))
        writer.write(f"{line}Door-Proof: {proof(key, 'gateway', g, d, int(port))}\r\n\r\n".encode())
        return (await head(reader))[0], (reader, writer), honest
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, (reader, writer), False


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
async def test_the_gateway_reaches_an_app_wherever_it_listens(host: str) -> None:
    async with open_door() as door, app(host, echo) as port:
        status, (reader, writer), honest = await knock(door, port)
        assert (status, honest) == (200, True)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.write_eof()
        assert await reader.read() == b"<end>"
        writer.close()


async def test_a_wrong_key_is_refused_and_a_swapped_door_is_found_out() -> None:
    async with open_door() as door, app("127.0.0.1", echo) as port:
        status, (_, writer), honest = await knock(door, port, OTHER)
        assert (status, honest) == (403, False)
        writer.close()


async def test_own_ports_stay_shut_and_a_dead_port_is_told_apart() -> None:
    async with app("127.0.0.1", echo) as port, open_door(own={port}) as door:
        status, (_, writer), _ = await knock(door, port)
        assert status == 403
        writer.close()
    async with open_door() as door:
        status, (_, writer), _ = await knock(door, port)
        assert status == 502
        writer.close()


async def test_without_the_service_of_the_files_its_port_is_dead() -> None:
    async with open_door() as door:
        status, (_, writer), honest = await knock(door, FILES_PORT)
        assert (status, honest) == (502, True)
        writer.close()
        status, (_, writer), _ = await knock(door, FILES_PORT, OTHER)
        assert status == 403
        writer.close()


async def test_the_door_itself_is_an_own_port() -> None:
    async with open_door() as door:
        status, (_, writer), _ = await knock(door, door)
        assert status == 403
        writer.close()


@pytest.mark.parametrize(
    "port", ["80", "1023", "2", "01", "0001", "11", "65536", "03000", "+3000", "3000x", "0", "-1"]
)
async def test_a_port_has_one_spelling(port: str) -> None:
    async with open_door() as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door)
        writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nDoor-Challenge: {'0' * 32}\r\n\r\n".encode())
        assert await hung_up(reader)
        writer.close()


async def test_before_the_assignment_it_hangs_up() -> None:
    async with open_door(key="") as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door)
        assert await hung_up(reader)
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n", b"CONNECT 10.0.0.1:3000 HTTP/1.1\r\n\r\n", b"x" * 5000,
        b"CONNECT 127.0.0.1:3000 HTTP/1.1\r\n\r\n",
        b"CONNECT 127.0.0.1:3000 HTTP/1.1\r\nDoor-Challenge: " + b"0" * 32 + b"\r\n\r\nearly",
    ],
    ids=["not CONNECT", "another host", "endless head", "no nonce", "bytes after the head"],
)  # fmt: skip
async def test_whatever_is_not_the_protocol_is_hung_up_on(sent: bytes) -> None:
    async with open_door() as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door)
        writer.write(sent)
        assert await hung_up(reader)
        writer.close()


async def hung_up(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(), 3) == b""
    except ConnectionError:
        return True


async def test_who_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox_task.door.DEADLINE", 0.1)
    async with open_door() as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door)
        assert await hung_up(reader)
        writer.close()


async def test_a_slow_reader_holds_its_writer_back() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        block = b"x" * 65536
        for _ in range(1024):
            writer.write(block)
            await writer.drain()
            sent += len(block)
        writer.close()

    async with open_door() as door, app("127.0.0.1", flood) as port:
        _, (reader, writer), _ = await knock(door, port)
        before = -1
        while sent != before:  # until the flood stands still
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 32 * 1024 * 1024
        total = 0
        while data := await reader.read(1 << 20):
            total += len(data)
        assert total == 64 * 1024 * 1024
        writer.close()


async def test_many_at_once() -> None:
    async def once(door: int, port: int, number: int) -> bytes:
        _, (reader, writer), _ = await knock(door, port)
        writer.write(b"%d" % number * 1000)
        writer.write_eof()
        data = await reader.read()
        writer.close()
        return data

    async with open_door() as door, app("127.0.0.1", echo) as port:
        answers = await asyncio.gather(*(once(door, port, number) for number in range(100)))
    assert answers == [b"%d" % number * 1000 + b"<end>" for number in range(100)]
