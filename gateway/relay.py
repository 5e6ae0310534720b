"""`POST /sandbox/v1/events`: a sandbox's events on their way to the function that records them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio.to_thread
import httpx2
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.rates import Rates, Sender
from gateway.verdicts import Verdicts, passed_on
from opensessions.errors import Unauthorized
from opensessions.events import Ack
from opensessions.http.bodies import LARGEST_BODY, read_body
from opensessions.http.credentials import bearer
from opensessions.logbook import concerns
from opensessions.models import Session
from opensessions.pool.spares import Spare

PATH = "/sandbox/v1/events"
CALLBACK_PATH = "/callback/v1/events"

FORGET_SECONDS = 60.0
CALLBACK_SECONDS = 15.0

Identify = Callable[[str, str], Session | None]
"""`identify(token, "worker")`: the live session whose sandbox holds the token. Blocks."""
Speaker = Callable[[str], Session | Spare | None]
"""`speaker(token)`: the same, or the spare whose worker holds the token. Blocks."""

Settled = Callable[[str], Awaitable[None]]
"""Returns once what a session's model calls used is counted, of those that are over, or after a while."""


class Stored(Ack):
    """The callback's answer to a batch that is stored for good."""

    session_id: str


@dataclass(slots=True)
class Known:
    """A token that was good lately. It is trusted for counting alone: the callback judges each post."""

    sender: Sender
    session_id: str
    until: float


async def nothing_to_settle(session_id: str) -> None: ...


class Relay:
    """Hands posts on, unread, and tells `wake` the session once they are stored.

    The sandbox gets the callback's verdict, or 503 with `Retry-After` when there was none: then it sends the
    same again, which is harmless. Over its `rates` it gets 429. `callback` has a base URL; a token is looked
    up again after `trust_seconds`. Before a post is handed on, `settled` is awaited for its session: what it
    tells the end of has been counted then.
    """

    def __init__(
        self,
        speaker: Speaker,
        callback: httpx2.AsyncClient,
        wake: Callable[[str], None],
        *,
        settled: Settled = nothing_to_settle,
        rates: Rates | None = None,
        trust_seconds: float = 10.0,
        body_seconds: float = 10.0,
    ) -> None:
        self._body_seconds = body_seconds
        self._speaker, self._wake, self._settled = speaker, wake, settled
        later = "events cannot be stored at the moment, send them again"
        self._verdicts = Verdicts(callback, CALLBACK_SECONDS, later)
        self._rates, self._trust_seconds = rates or Rates(), trust_seconds
        self._known: dict[str, Known] = {}

    def route(self) -> Route:
        return Route(PATH, self.post, methods=["POST"])

    async def post(self, request: Request) -> Response:
        token = bearer(request.headers) or ""
        known = await self._sighted(token)
        sender = known.sender
        with sender.post():
            size = _declared(request)
            sender.volume.take(size)  # before it is read
            try:
                body = await self._body(request)
                sender.volume.take(len(body) - size)
                size = len(body)
                await self._settled(known.session_id)
                return await self._ask(token, body)
            except HTTPException:
                sender.volume.give_back(size)
                raise

    async def _sighted(self, token: str) -> Known:
        known = self._known.get(token)
        if known is not None and time.monotonic() < known.until:
            concerns(known.session_id)
            return known
        speaker = await anyio.to_thread.run_sync(self._speaker, token)
        if speaker is None:
            self._known.pop(token, None)
            raise Unauthorized("The sandbox's token is not known (any more).")
        now = time.monotonic()
        self._forget(now - FORGET_SECONDS)
        session_id = speaker.id if isinstance(speaker, Session) else ""
        known = self._known.setdefault(token, Known(Sender(self._rates), session_id, now))
        known.session_id, known.until = session_id, now + self._trust_seconds
        return known

    def _forget(self, before: float) -> None:
        """Drop those who have been silent for so long that nothing counts against them."""
        for token, known in list(self._known.items()):
            if known.until < before and not known.sender.under_way:
                del self._known[token]

    async def _body(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self._body_seconds):
                return await read_body(request)
        except TimeoutError:
            detail = f"the body did not arrive within {self._body_seconds:g} s"
            raise HTTPException(408, detail, {"Connection": "close"}) from None

    async def _ask(self, token: str, body: bytes) -> Response:
        answer = await self._verdicts.ask(CALLBACK_PATH, token, body)
        return self._stored(answer) if answer.is_success else passed_on(answer)

    def _stored(self, answer: httpx2.Response) -> Response:
        try:
            stored = Stored.model_validate_json(answer.content)
        except ValidationError:
            raise self._verdicts.fault(f"answered {answer.status_code} and no Ack") from None
        self._wake(stored.session_id)
        return JSONResponse({"acked": stored.acked, "expected": stored.expected})


def _declared(request: Request) -> int:
    """How large the body is to be; one that is larger than it may be is refused when it is read."""
    declared = request.headers.get("content-length", "")
    return min(int(declared[:20]), LARGEST_BODY) if declared.isdecimal() else 0
