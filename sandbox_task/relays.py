"""Ports on the loopback that lead to the gateway's unix sockets, for programs that know only TCP."""

import asyncio
from urllib.parse import urlsplit

from sandbox_task.gateway import unix_path
from sandbox_task.splice import End, Upstream


class Relay(End):
    """A connection to a relay's port; its other end is the socket at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Not at once: asyncio begins to read right after this call, paused or not.
        asyncio.get_running_loop().call_soon(self.transport.pause_reading)
        self._task = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(
                lambda: Upstream(self, self.transport.resume_reading), self._path
            )
        except OSError:
            self.transport.abort()


async def reachable(url: str, own: set[int]) -> str:
    """`url` as an http URL: itself, or a new relay to its unix socket. The relay's port is added to `own`."""
    path = unix_path(url)
    if path is None:
        return url.rstrip("/")
    server = await asyncio.get_running_loop().create_server(lambda: Relay(path), "127.0.0.1", 0, backlog=512)
    port: int = server.sockets[0].getsockname()[1]
    own.add(port)
    return f"http://127.0.0.1:{port}"


def with_credentials(url: str, user: str, password: str) -> str:
    """`url` with a user and a password in it, as proxies are named."""
    return f"http://{user}:{password}@{urlsplit(url).netloc}"
