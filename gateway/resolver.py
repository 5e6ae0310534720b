"""Host names to addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import dns.asyncresolver
import dns.exception
import dns.resolver

from opensessions.addresses import look_up


class SystemResolver:
    """Looks names up in threads of its own, so that slow names do not hold up the rest of the server."""

    def __init__(self, threads: int = 16) -> None:
        self._threads = ThreadPoolExecutor(threads, "resolve")

    async def __call__(self, host: str) -> Sequence[str]:
        """All addresses of `host`, version 4 first. Raises OSError if there is none."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, look_up, host)

    def close(self) -> None:
        """Waits for nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class PublicResolver:
    """Asks these servers (IP addresses) instead of the system's: for networks whose own resolver is closed
    to most names on purpose. Version 4 alone, as such networks have no other.
    """

    def __init__(self, servers: Sequence[str]) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._resolver.nameservers = list(servers)
        self._resolver.lifetime = 5.0
        self._resolver.cache = dns.resolver.LRUCache(4096)

    async def __call__(self, host: str) -> Sequence[str]:
        """All addresses of `host`. Raises OSError if there is none."""
        try:
            answer = await self._resolver.resolve(f"{host}.", "A")
        except dns.exception.DNSException as error:
            raise OSError(f"{host} has no address ({type(error).__name__})") from error
        return [record.address for record in answer]
