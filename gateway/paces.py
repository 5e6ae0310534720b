"""Slowing down: who takes more than there is waits until it is there, and nobody else does."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opensessions.http.credentials import credentials

REFUSALS, REFUSALS_BURST, LONGEST = 10.0, 40.0, 20.0


class Paces:
    """A pace for each key: `rate` a second, after `burst` at once. All methods belong to the event loop."""

    def __init__(
        self,
        rate: float,
        burst: float,
        longest: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._burst, self._longest, self._clock = rate, burst, longest, clock
        self._paid: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paid)

    async def take(self, key: str, amount: float = 1) -> None:
        """Return when the key may have so much more, or after `longest` seconds."""
        now = self._clock()
        fresh = now - self._burst / self._rate
        until = max(self._paid.pop(key, fresh), fresh) + amount / self._rate
        self._paid[key] = min(until, now + self._longest)
        while self._paid and next(iter(self._paid.values())) <= fresh:
            self._paid.popitem(last=False)
        if until > now:
            await asyncio.sleep(min(until - now, self._longest))


def of_refusals() -> Paces:
    """How often somebody is refused without being kept waiting for it."""
    return Paces(REFUSALS, REFUSALS_BURST, LONGEST)


class Slowed:
    """ASGI middleware: who is refused again and again waits for each refusal. All whom nobody knows wait in
    one line.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._refusals = of_refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def slowed(message: Message) -> None:
            if message["type"] == "http.response.start" and 400 <= message["status"] < 500:
                known = message["status"] != 401
                await self._refusals.take((credentials(Headers(scope=scope)) or "") if known else "")
            await send(message)

        await self.app(scope, receive, slowed if scope["type"] == "http" else send)
