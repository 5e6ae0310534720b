"""Host names to addresses, by the system's resolver."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor


class SystemResolver:
    """Looks names up in threads of its own, so that slow names do not hold up the rest of the server."""

    def __init__(self, threads: int = 16) -> None:
        self._threads = ThreadPoolExecutor(threads, "resolve")

    async def __call__(self, host: str) -> Sequence[str]:
        """All addresses of `host`, version 4 first. Raises OSError if there is none."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host)
        return sorted(dict.fromkeys(found), key=lambda address: ":" in address)

    def close(self) -> None:
        """Waits for nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str) -> list[str]:
    # The dot keeps the resolver from trying the name below the domains of the machine's own network.
    answers = socket.getaddrinfo(host + ".", None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in answers]
