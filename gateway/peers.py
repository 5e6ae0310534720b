"""What one gateway has relayed, the others' watchers hear of at once; else a slow poll would find it."""

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

import httpx2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

log = logging.getLogger(__name__)

PATH = "/peer/v1/wake"
LARGEST = 1024
AGE_SECONDS = 30.0
WAITING = 1000

Addresses = Callable[[], Awaitable[Sequence[str]]]
"""The base URLs of all gateways, this one perhaps among them."""


class Peers:
    """Tells the others, one message after the other and without waiting for any; one that gets lost is made
    good for by their poll. Messages are signed with a key that only gateways have, because sandboxes reach
    the same port, and are good for half a minute.
    """

    def __init__(self, key: bytes, addresses: Addresses, wake: Callable[[str], None]) -> None:
        self._key = hmac.new(key, b"peers", hashlib.sha256).digest()
        self._addresses, self._wake = addresses, wake
        self._name = secrets.token_hex(8)
        self._due: dict[str, None] = {}
        self._stirred = asyncio.Event()

    def tell(self, session_id: str) -> None:
        """Something of a session was stored through this gateway. From the loop."""
        if len(self._due) < WAITING:
            self._due[session_id] = None
            self._stirred.set()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with httpx2.AsyncClient(trust_env=False, timeout=1.0) as client:
            while True:
                await self._stirred.wait()
                self._stirred.clear()
                due, self._due = list(self._due), {}
                await self._send(client, due)

    def route(self) -> Route:
        return Route(PATH, self._receive, methods=["POST"])

    async def _send(self, client: httpx2.AsyncClient, session_ids: list[str]) -> None:
        try:
            urls = await self._addresses()
        except OSError as error:
            log.warning("the other gateways cannot be found: %s", error)
            return
        for start in range(0, len(session_ids), 10):
            part = {"from": self._name, "at": time.time(), "sessions": session_ids[start : start + 10]}
            body = json.dumps(part).encode()
            headers = {"Signature": self._signature(body)}
            posts = (client.post(f"{url}{PATH}", content=body, headers=headers) for url in urls)
            await asyncio.gather(*posts, return_exceptions=True)

    async def _receive(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST:
                return Response(status_code=404)
        if not hmac.compare_digest(
            request.headers.get("signature", "").encode(), self._signature(body).encode()
        ):
            return Response(status_code=404)
        told = json.loads(body)
        if told["from"] != self._name and abs(time.time() - told["at"]) < AGE_SECONDS:
            for session_id in told["sessions"]:
                self._wake(session_id)
        return Response(status_code=204)

    def _signature(self, body: bytes) -> str:
        return hmac.new(self._key, body, hashlib.sha256).hexdigest()
