"""An egress proxy on loopback; a recorder stands in for resolver and connector, so no more is dialled."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.egress import EgressLimits, EgressProxy
from gateway.egress_meter import Reports, Unheard
from gateway.egress_policy import Authority, EgressPolicy
from gateway.grants import SandboxGrant, TokenKind

PUBLIC = "93.184.216.34"
TOKEN = "egress-token"
WORKER = "worker-token"


def shown(token: str) -> str:
    """The header that shows a token to the proxy."""
    return f"Proxy-Authorization: Basic {base64.b64encode(f'sandbox:{token}'.encode()).decode()}\r\n"


AUTH = shown(TOKEN)
OWN_NAMES = ("api.sessions.test", "preview.sessions.test", "lb-1.elb.test")

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what it gets, then its end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


class Heard(Unheard):
    """Reports that add up."""

    def __init__(self) -> None:
        self.moved = [0, 0]

    def count(self, session_id: str, sent: int, received: int) -> None:
        self.moved[0] += sent
        self.moved[1] += received


@dataclass
class World:
    """The proxy, how to reach it, and what it asked of the outside and told its listeners."""

    names: dict[str, Sequence[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    dialled: list[tuple[str, int]] = field(default_factory=list)
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    reports: Heard = field(default_factory=Heard)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    proxy: EgressProxy = field(init=False)
    address: tuple[str, int] | Path = field(init=False)

    @property
    def moved(self) -> list[int]:
        """Bytes sent and received."""
        return self.reports.moved

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.address, Path):
            streams = await asyncio.open_unix_connection(self.address)
        else:
            streams = await asyncio.open_connection(*self.address)
        self.writers.append(streams[1])
        return streams

    async def aclose(self) -> None:
        """Every socket is really closed afterwards."""
        for writer in self.writers:
            writer.close()
        for writer in self.writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def exchange(self, request: bytes | str, end: bool = False) -> bytes:
        """Sends `request`, then reads to the other side's end."""
        reader, writer = await self.open()
        try:
            writer.write(request if isinstance(request, bytes) else request.encode())
            if end:
                writer.write_eof()
            async with asyncio.timeout(10):
                return await reader.read(-1)
        finally:
            writer.close()

    async def connect(self, target: str, auth: str = AUTH) -> bytes:
        """What a CONNECT to `target` is answered, to the end of the connection."""
        return await self.exchange(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n{auth}\r\n", end=True)

    async def tunnel(
        self, target: str = "example.com:443", auth: str = AUTH
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """An open tunnel, its 200 read."""
        reader, writer = await self.open()
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{auth}\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
        return reader, writer


@asynccontextmanager
async def egress_world(
    handler: Handler = echo,
    allow: tuple[str, ...] | None = None,
    session: tuple[str, ...] | None = None,
    limits: EgressLimits | None = None,
    unix_socket: Path | None = None,
    bucket: Authority | None = None,
    reports: Reports | None = None,
) -> AsyncIterator[World]:
    """`handler` plays every public host, and the `bucket`; `session` are the caller's `allowed_hosts`.
    `reports` hear of bytes in the place of the world's own.
    """
    world = World()
    grant = SandboxGrant("session_a", "sb-a", None, session)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        world.writers.append(writer)
        try:
            await handler(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    async def authorize(token: str, kind: TokenKind) -> SandboxGrant | None:
        return grant if (token, kind) in ((TOKEN, "egress"), (WORKER, "worker")) else None

    async def resolve(host: str) -> Sequence[str]:
        world.asked.append(host)
        return world.names.get(host, (PUBLIC,))

    async def connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        world.dialled.append((host, port))
        streams = await asyncio.open_connection(*outside.sockets[0].getsockname())
        world.writers.append(streams[1])
        return streams

    outside = await asyncio.start_server(serve, "127.0.0.1", 0)
    world.proxy = EgressProxy(
        authorize,
        EgressPolicy(allow, OWN_NAMES, bucket=bucket),
        resolve,
        connect,
        lambda *refusal: world.refused.append(refusal),
        reports or world.reports,
        limits or EgressLimits(linger_seconds=0.2),
    )
    loop = asyncio.get_running_loop()
    if unix_socket:
        listener = await loop.create_unix_server(world.proxy, unix_socket)
        world.address = unix_socket
    else:
        listener = await loop.create_server(world.proxy, "127.0.0.1", 0)
        world.address = listener.sockets[0].getsockname()
    try:
        yield world
    finally:
        listener.close()
        await world.proxy.aclose()
        outside.close()
        await world.aclose()
