"""The proxy as a whole: who is connected, and which hosts are known."""

import asyncio
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Final

from gateway.dataplane.client import Client
from gateway.dataplane.deadlines import Limits, sweep
from gateway.dataplane.heads import Request
from gateway.dataplane.replies import Reply
from gateway.dataplane.routes import Route
from gateway.dataplane.upstream import Upstream

_KNOWN_LIMIT: Final = 4096

Resolve = Callable[[Request], Awaitable[Route | Reply]]
"""Decides where a request goes.

A Route is remembered for the request's name until it is closed, so it must depend on that alone. A Reply
answers this one request (404, 410, 421) and is not remembered. A port of a sandbox must always get the same
Route."""

Name = Callable[[Request], bytes]
"""What tells requests for one Route from those for another: usually the host (as sent, with its port)."""

Others = Callable[[], asyncio.Protocol]
"""Makes the protocol that takes a connection over as soon as a request on it is answered 421."""


class Proxy:
    """Serves previews. It is the protocol factory of its listeners: ``loop.create_server(proxy, …)``.

    Make it inside the running loop it serves in. It owns no listener; whoever opens one closes it before
    ``shutdown()``.
    """

    def __init__(
        self, resolve: Resolve, limits: Limits | None = None, name: Name = attrgetter("host")
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = self.loop.time
        self.limits = limits or Limits()
        self.closing = False
        self._resolve, self._name = resolve, name
        self._known: dict[bytes, Route] = {}
        self._clients: set[Client] = set()
        self._pooled: set[Route] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    def __call__(self, others: Others | None = None) -> Client:
        return Client(self, others)

    def known(self, request: Request) -> Route | None:
        """The route that requests of this name had the last time, if it is still open."""
        name = self._name(request)
        route = self._known.get(name)
        if route is not None and route.closed:
            del self._known[name]
            return None
        return route

    async def find(self, request: Request) -> Route | Reply:
        """Ask the resolver, and remember a route."""
        found = await self._resolve(request)
        if isinstance(found, Route) and not found.closed:
            if len(self._known) >= _KNOWN_LIMIT:
                self._known.clear()
            self._known[self._name(request)] = found
        return found

    def keep(self, route: Route, upstream: Upstream) -> None:
        """Put a connection back into its pool."""
        route.give(upstream, self.clock())
        self._pooled.add(route)

    def welcome(self, client: Client) -> None:
        self._clients.add(client)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(self.limits.look_seconds, self._sweep)

    def farewell(self, client: Client) -> None:
        self._clients.discard(client)
        if not self._clients:
            self._empty.set()

    def _sweep(self) -> None:
        now = self.clock()
        for client in list(self._clients):
            sweep(client, now)
        self._pooled = {route for route in self._pooled if route.sweep(now)}
        self._sweeper = None
        if self._clients or self._pooled:
            self._sweeper = self.loop.call_later(self.limits.look_seconds, self._sweep)

    async def shutdown(self, seconds: float) -> None:
        """Finish what is under way for at most this long, then cut what is left."""
        self.closing = True
        deadline = self.clock() + seconds
        while self._clients:
            for client in list(self._clients):
                if self.clock() < deadline:
                    sweep(client, self.clock())
                else:
                    client.abort()
            self._empty.clear()
            try:
                async with asyncio.timeout(0.2):
                    await self._empty.wait()
            except TimeoutError:
                continue
        for route in self._pooled:
            route.sweep(float("inf"))
        if self._sweeper:
            self._sweeper.cancel()
