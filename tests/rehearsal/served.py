"""An ASGI app on a port of the loopback, served by a thread."""

import asyncio
import socket
import threading
from contextlib import AbstractAsyncContextManager
from typing import Any

import uvicorn
from starlette.types import ASGIApp


class Served:
    """`address` is its URL. `around` is entered in the thread's loop before, and left after."""

    def __init__(self, app: ASGIApp, around: AbstractAsyncContextManager[Any] | None = None) -> None:
        self._around = around
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        config = uvicorn.Config(
            app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1,
            server_header=False, date_header=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()

    async def _serve(self) -> None:
        if self._around is None:
            await self._server.serve(sockets=[self._listener])
            return
        async with self._around:
            await self._server.serve(sockets=[self._listener])

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._listener.close()
