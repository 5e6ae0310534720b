"""The local server, whose webhooks are tried again sooner: `python -m tests.e2e.hurried`."""

import asyncio
import signal
import sys
from typing import Any

from opensessions.local import server
from opensessions.local.wiring import System

RETRIES = (1, 1)


class Hurried(System):
    def _wire_hooks(self, *args: Any) -> None:
        super()._wire_hooks(*args)
        self.deliveries._retries = RETRIES


async def _main() -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await server.serve(server.from_environment(), stop, Hurried)


if __name__ == "__main__":
    server._main = _main
    sys.exit(server.main())
