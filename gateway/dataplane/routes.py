"""The connections to one port of one sandbox. No two ports share a pool, so nothing crosses between them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol

from gateway.dataplane.heads import Request
from gateway.dataplane.pace import Pace
from gateway.dataplane.replies import Reason, Reply, refusal
from gateway.dataplane.rules import Names
from gateway.dataplane.upstream import Upstream

if TYPE_CHECKING:
    from gateway.dataplane.client import Client

CONNECTION_LIMIT: Final = 256
IDLE_SECONDS: Final = 4.0
"""How long a connection to an app is kept for the next request: Node closes its own after 5."""
UNREPEATABLE_IDLE_SECONDS: Final = 1.0
"""How fresh it must be for a request that must not be sent twice."""


class ConnectRefused(Exception):
    """Raised by a Connect that got an answer and the answer was no."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Connect(Protocol):
    """Opens one connection to the port that a Route stands for."""

    async def __call__(self, factory: Callable[[], asyncio.Protocol]) -> asyncio.BaseTransport:
        """Call ``factory`` once, hand its protocol the transport (``connection_made``), return the transport.

        By then every handshake is over and the next byte either way is the app's HTTP. May be cancelled.
        Raises ConnectRefused when it knows why; ConnectionRefusedError counts as NOTHING_LISTENS, any other
        OSError as UNREACHABLE.
        """
        ...


Refused = Callable[[Request, Reason], Awaitable[Reply]]
"""Decides what a visitor gets when the app gave no answer: a waiting page, JSON, 410."""


async def plain_refusal(request: Request, reason: Reason) -> Reply:
    """The Refused for routes that have no page of their own."""
    return refusal(reason)


Used = Callable[[Request], None]
"""Is told of each request to an app, but of an upgrade once the app has agreed. It must be quick."""


def _untold(request: Request) -> None:
    """The Used for routes whose use nobody cares for."""


Guard = Callable[[Request], Reply | bytes]
"""Is asked before each request is passed on, and must be quick. A Reply is what the visitor gets instead;
bytes are header lines that the answer gets, each with its line end."""


class Route:
    """One port of one sandbox: how to reach it, and every connection that is open to it.

    ``close()`` revokes it: no request is passed on any more and every connection, stream and tunnel is cut.
    """

    __slots__ = (
        "_connect",
        "_idle",
        "busy",
        "closed",
        "guard",
        "limit",
        "names",
        "pace",
        "refused",
        "used",
        "waiting",
    )

    def __init__(
        self,
        names: Names,
        connect: Connect,
        refused: Refused = plain_refusal,
        limit: int = CONNECTION_LIMIT,
        used: Used = _untold,
        guard: Guard | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.names = names
        self.refused = refused
        self.used = used
        self.guard = guard
        self.limit = limit
        self.pace = pace
        self.closed = False
        self.busy: set[Upstream] = set()
        self.waiting: set[Client] = set()
        self._connect = connect
        self._idle: list[Upstream] = []

    def take(self, now: float, patience: float) -> Upstream | None:
        """The idle connection that was used last, if that is at most ``patience`` seconds ago."""
        while self._idle and now - self._idle[-1].idle_since <= patience:
            upstream = self._idle.pop()
            if upstream.open:
                self.busy.add(upstream)
                return upstream
        return None

    def give(self, upstream: Upstream, now: float) -> None:
        """Keep a connection whose exchange ended cleanly for the next one."""
        self.busy.discard(upstream)
        upstream.idle_since = now
        self._idle.append(upstream)

    def drop(self, upstream: Upstream) -> None:
        """Forget a connection that is closed. Again is fine."""
        self.busy.discard(upstream)
        if upstream in self._idle:
            self._idle.remove(upstream)

    def crowded(self) -> bool:
        """Whether no connection may be opened. An idle one makes room for one that is needed."""
        if len(self._idle) + len(self.busy) + len(self.waiting) < self.limit:
            return False
        if not self._idle:
            return True
        self._idle.pop(0).abort()
        return False

    async def open(self, client: "Client", seconds: float) -> Upstream:
        """A new connection, already counted as busy. Raises ConnectRefused."""
        if self.closed:
            raise ConnectRefused(Reason.GONE)
        made: list[Upstream] = []

        def factory() -> Upstream:
            made.append(Upstream(self))
            return made[-1]

        self.waiting.add(client)
        try:
            async with asyncio.timeout(seconds):
                await self._connect(factory)
        except BaseException as error:
            for upstream in made:
                upstream.abort()
            if isinstance(error, OSError):
                raise ConnectRefused(_reason(error)) from error
            raise
        finally:
            self.waiting.discard(client)
        upstream = made[0]
        if not upstream.open:
            raise ConnectRefused(Reason.BROKEN)
        self.busy.add(upstream)
        return upstream

    def sweep(self, now: float) -> bool:
        """Close connections that have idled too long; says whether any is left idle."""
        while self._idle and now - self._idle[0].idle_since > IDLE_SECONDS:
            self._idle.pop(0).abort()
        return bool(self._idle)

    def close(self) -> None:
        """Revoke: requests that have no answer yet get Reason.GONE, all else is cut, in this very call."""
        self.closed = True
        for upstream in self._idle:
            upstream.abort()
        self._idle.clear()
        for upstream in list(self.busy):
            upstream.revoke()
        for client in list(self.waiting):
            client.fail(Reason.GONE)


def _reason(error: OSError) -> Reason:
    return Reason.NOTHING_LISTENS if isinstance(error, ConnectionRefusedError) else Reason.UNREACHABLE


def tcp(host: str, port: int) -> Connect:
    """Connects straight to a TCP port."""

    async def connect(factory: Callable[[], asyncio.Protocol]) -> asyncio.BaseTransport:
        transport, _ = await asyncio.get_running_loop().create_connection(factory, host, port)
        return transport

    return connect


def unix(path: str) -> Connect:
    """Connects straight to a unix socket."""

    async def connect(factory: Callable[[], asyncio.Protocol]) -> asyncio.BaseTransport:
        transport, _ = await asyncio.get_running_loop().create_unix_connection(factory, path)
        return transport

    return connect
