"""The servers of one process."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.api_connection import ApiConnection
from gateway.front import Front
from gateway.previews import Previews


class Listener(uvicorn.Server):
    """One of several servers in this process: signals are not its business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listeners:
    """The servers of this process, each over a socket that is bound already. `close` ends them all."""

    def __init__(self, graceful_seconds: int = 1) -> None:
        self._graceful = graceful_seconds
        self._open: list[tuple[Listener, asyncio.Task[None]]] = []
        self._plain: list[asyncio.Server] = []

    def open(
        self, app: ASGIApp, sock: socket.socket, http: Any = HttpToolsProtocol, *, once: bool = False
    ) -> None:
        """Serve an ASGI app; with `once`, it answers one request of a connection, and the last."""
        config = uvicorn.Config(
            app, http=http, ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=self._graceful,
            headers=[("connection", "close")] if once else None,
        )  # fmt: skip
        server = Listener(config)
        self._open.append((server, asyncio.create_task(server.serve([sock]))))

    async def open_plain(self, factory: Callable[[], asyncio.Protocol], sock: socket.socket) -> None:
        """Serve a protocol that is no ASGI app's."""
        loop = asyncio.get_running_loop()
        make = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
        self._plain.append(await make(factory, sock=sock))

    async def close(self) -> None:
        """Let nobody in any more, and return when the answers that have begun are out. Idempotent."""
        for plain in self._plain:
            plain.close()
        for server, _ in self._open:
            server.should_exit = True
        await asyncio.gather(*(serving for _, serving in self._open))


def front(previews: Previews, *, balanced: bool = False) -> Callable[..., Front]:
    """What `Listeners.open` takes as `http` on a public port: previews apart from everything else.

    `balanced` is for connections of a load balancer, on which requests for previews and for the app come
    mixed: the app is to be opened `once` then.
    """

    def make(**uvicorns: Any) -> Front:
        def api() -> ApiConnection:
            return ApiConnection(**uvicorns)

        return Front(previews.owns, partial(previews.client, api) if balanced else previews.client, api)

    return make


def unix_socket(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    return sock
