"""Ports on the loopback that lead to the gateway's unix sockets, for programs that know only TCP."""

import asyncio
from urllib.parse import urlsplit

from sandbox_task.gateway import unix_path
from sandbox_task.splice import End, Upstream

_SERVERS: list[asyncio.Server] = []
"""Relays live as long as the process; uvloop closes a listener that nobody refers to."""


class Relay(End):
    """A connection to a relay's port; its other end is the socket at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._early: bytes | None = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._task = asyncio.ensure_future(self._connect())

    def data_received(self, data: bytes) -> None:
        if self._early is None:
            super().data_received(data)
        else:
            self._early += data
            self.transport.pause_reading()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: Upstream(self, self._opened), self._path)
        except OSError:
            self.transport.abort()

    def _opened(self) -> None:
        early, self._early = self._early, None
        if early:
            self.peer.transport.write(early)
        self.transport.resume_reading()


async def reachable(url: str, own: set[int]) -> str:
    """`url` as an http URL: itself, or a new relay to its unix socket. The relay's port is added to `own`."""
    path = unix_path(url)
    if path is None:
        return url.rstrip("/")
    server = await asyncio.get_running_loop().create_server(lambda: Relay(path), "127.0.0.1", 0, backlog=512)
    _SERVERS.append(server)
    port: int = server.sockets[0].getsockname()[1]
    own.add(port)
    return f"http://127.0.0.1:{port}"


def with_credentials(url: str, user: str, password: str) -> str:
    """`url` with a user and a password in it, as proxies are named."""
    return f"http://{user}:{password}@{urlsplit(url).netloc}"
