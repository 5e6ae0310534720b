"""Requests that are answered before their end, on a real port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway.api_connection import ApiConnection

MB = 1_000_000
ANSWER = b"too much"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Never reads a body; `/last` is the last answer of its connection."""
    headers = [(b"content-length", b"%d" % len(ANSWER))]
    if scope["path"] == "/last":
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


@asynccontextmanager
async def port(seconds: float = 5.0, limit: int = 16 * MB) -> AsyncIterator[int]:
    class Connection(ApiConnection):
        surplus_seconds, surplus_limit = seconds, limit

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=Connection, ws="none", lifespan="off", log_level="critical")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield listener.getsockname()[1]
    finally:
        server.force_exit = True
        await server.shutdown(sockets=[listener])


async def as_client(port: int, talk: Callable[[socket.socket], bytes]) -> bytes:
    """What a client of the plain kind gets, which sends all before it reads."""

    def run() -> bytes:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            return talk(connection)

    return await asyncio.to_thread(run)


def head(path: str, length: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()


def to_the_end(connection: socket.socket) -> bytes:
    got = b""
    while part := connection.recv(65536):
        got += part
    return got


async def test_a_large_upload_gets_its_answer_and_then_the_end() -> None:
    def talk(connection: socket.socket) -> bytes:
        connection.sendall(head("/last", 12 * MB))
        for _ in range(12):
            connection.sendall(b"x" * MB)
        return to_the_end(connection)

    async with port() as number:
        got = await as_client(number, talk)
    assert got.startswith(b"HTTP/1.1 413 ") and got.endswith(ANSWER)


async def test_nothing_that_follows_the_last_answer_is_served() -> None:
    def talk(connection: socket.socket) -> bytes:
        connection.sendall(head("/last", 10))
        got = connection.recv(65536)
        connection.sendall(b"x" * 10 + head("/", 0))
        return got + to_the_end(connection)

    async with port(seconds=0.2) as number:
        got = b""
        with suppress(ConnectionResetError):
            got = await as_client(number, talk)
    assert got.count(b"HTTP/1.1 ") <= 1


@pytest.mark.parametrize("path", ["/last", "/"])
async def test_an_upload_without_end_is_cut(path: str) -> None:
    def talk(connection: socket.socket) -> bytes:
        connection.sendall(head(path, 10**12))
        with pytest.raises(OSError):
            for _ in range(200):
                connection.sendall(b"x" * MB)
        return b"cut"

    async with port(limit=4 * MB) as number:
        assert await as_client(number, talk) == b"cut"


@pytest.mark.parametrize("path", ["/last", "/"])
async def test_an_upload_that_stalls_is_given_up(path: str) -> None:
    def talk(connection: socket.socket) -> bytes:
        connection.sendall(head(path, 100) + b"x")
        try:
            return to_the_end(connection)
        except ConnectionResetError:
            return b""

    async with port(seconds=0.1) as number:
        assert (await as_client(number, talk)).count(b"HTTP/1.1 ") <= 1


async def test_a_body_that_comes_after_its_answer_does_not_cost_the_connection() -> None:
    def talk(connection: socket.socket) -> bytes:
        got = b""
        for _ in range(3):
            connection.sendall(head("/", 2000) + b"x")
            got += connection.recv(65536)
            connection.sendall(b"x" * 1999)
        connection.sendall(head("/last", 0))
        return got + to_the_end(connection)

    async with port(seconds=0.5) as number:
        got = await as_client(number, talk)
    assert got.count(b"HTTP/1.1 413 ") == got.count(ANSWER) == 4
