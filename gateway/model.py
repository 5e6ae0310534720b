"""The model proxy: lends a sandbox the operator's model, and nothing else that the operator's key can do."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from gateway.calls import Bill, Calls
from gateway.grants import Authorize, SandboxGrant
from gateway.model_body import BadRequest, ModelCall, ModelRules, judge
from gateway.model_failure import (
    KEY_AWAY,
    NO_TOKEN,
    OWN_KEY,
    UNREACHABLE,
    Failure,
    Refused,
    error_response,
    refusal_of,
)
from gateway.model_stream import NOTHING, UNKNOWN, AnswerReader
from gateway.model_upstream import KeyAway, OwnKey, Upstream, no_own_key
from gateway.paces import Paces
from gateway.rates import Buckets
from opensessions import traces
from opensessions.errors import RateLimited

log = logging.getLogger(__name__)

ROUTES = (b"/v1/messages", b"/v1/messages/count_tokens")
QUERIES = (b"", b"beta=true")
LARGEST_BODY = 10 * 1024 * 1024
BODY_SECONDS = 60
CALLS, CALLS_BURST = 10.0, 30.0
"""Model calls of one sandbox: so many a second, and at once."""
ANSWER_BYTES, ANSWER_BURST = 64 * 1024, 128 * 1024
"""Bytes of answers that one session gets a second, and at once: some hundred pieces of text a second."""
NEVER_ASKED = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)

_NO_ROUTE = Failure(404, "not_found_error", "Only POST /v1/messages and /v1/messages/count_tokens are here.")
_TOO_LARGE = Failure(413, "request_too_large", f"The body is larger than {LARGEST_BODY} bytes.")
_TOO_SLOW = Failure(408, "timeout_error", f"The body did not arrive within {BODY_SECONDS} seconds.")
_TOO_MANY = Failure(429, "rate_limit_error", "This sandbox has too many model calls under way.", True)
_TOO_OFTEN = Failure(429, "rate_limit_error", "This sandbox makes too many model calls.", True)
_CLOSING = Failure(529, "overloaded_error", "This server is being restarted. Try again soon.", True)


class HungUp(Exception):
    """The sandbox is gone before its request was whole."""


@dataclass(frozen=True)
class ModelListeners:
    """Who hears of an answer while it passes; all are called from the event loop and must not block.

    `wants_deltas(session_id)` tells whether anybody listens to text as it is written, `on_delta(session_id,
    text)` then gets it.
    """

    wants_deltas: Callable[[str], bool] = lambda session_id: False
    on_delta: Callable[[str, str], None] = lambda session_id, text: None


class ModelProxy:
    """An ASGI app with two routes, matched on the raw path: `POST /v1/messages` and `…/count_tokens`.

    The caller proves itself with its sandbox's model token. Answers stream through without being held back;
    every failure has the Messages API's error shape. A caller that hangs up cancels its call upstream.
    Every call but `count_tokens` is one of `calls`, which the proxy closes. Where `own_key` knows a key of
    the session's account, that is sent instead of the operator's.
    """

    def __init__(
        self,
        authorize: Authorize,
        upstream: Upstream,
        calls: Calls,
        rules: ModelRules | None = None,
        listeners: ModelListeners | None = None,
        calls_per_sandbox: int = 4,
        own_key: OwnKey = no_own_key,
    ) -> None:
        self._authorize = authorize
        self._upstream = upstream
        self._metered = calls
        self._rules = rules or ModelRules()
        self._listeners = listeners or ModelListeners()
        self._calls_per_sandbox = calls_per_sandbox
        self._own_key = own_key
        self._client = upstream.open()
        self._running: Counter[str] = Counter()
        self._rates, self._paces = Buckets(CALLS, CALLS_BURST), Paces(ANSWER_BYTES, ANSWER_BURST)
        self._calls: set[asyncio.Task[None]] = set()
        self._closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the model proxy has no {scope['type']} routes")
        call = asyncio.ensure_future(self._answer(scope, receive, send))
        self._calls.add(call)
        try:
            await call
        except asyncio.CancelledError:
            call.cancel()
            if not self._closing:
                raise
        finally:
            self._calls.discard(call)

    @property
    def busy(self) -> bool:
        """Whether calls are under way, or not yet settled."""
        return bool(self._calls) or self._metered.busy

    async def aclose(self, deadline: float = 30) -> None:
        """Refuses new calls, lets running ones finish for `deadline` seconds, then cuts them; all are settled
        after that. Idempotent.
        """
        self._closing = True
        if self._calls:
            _, late = await asyncio.wait(set(self._calls), timeout=deadline)
            for call in late:
                call.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(self._metered.aclose(), self._client.aclose())

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            token, grant = await self._caller(scope)
            async with self._place(grant):
                call = judged(await whole_body(scope, receive), self._rules, grant, scope)
                await until_hung_up(receive, self._make(token, grant, call, scope, send))
        except Refused as refusal:
            await error_response(refusal)(scope, receive, send)
        except HungUp:
            pass

    async def _caller(self, scope: Scope) -> tuple[str, SandboxGrant]:
        if scope["method"] != "POST" or scope.get("raw_path") not in ROUTES:
            raise Refused(_NO_ROUTE)
        if self._closing:
            raise Refused(_CLOSING, "3")
        token = model_token(Headers(scope=scope)) or ""
        grant = await self._authorize(token, "model") if token else None
        if grant is None:
            raise Refused(NO_TOKEN)
        return token, grant

    @asynccontextmanager
    async def _place(self, grant: SandboxGrant) -> AsyncIterator[None]:
        if self._running[grant.sandbox_id] >= self._calls_per_sandbox:
            raise Refused(_TOO_MANY, "1")
        try:
            self._rates.take(grant.sandbox_id)
        except RateLimited as late:
            raise Refused(_TOO_OFTEN, str(late.retry_after)) from None
        self._running[grant.sandbox_id] += 1
        try:
            yield
        finally:
            self._running[grant.sandbox_id] -= 1
            if not self._running[grant.sandbox_id]:
                del self._running[grant.sandbox_id]

    async def _make(self, token: str, grant: SandboxGrant, call: ModelCall, scope: Scope, send: Send) -> None:
        session = grant.session_id
        own = await self._own(grant)
        if not call.max_tokens:  # only counted: nothing is billed
            await self._forward(Bill("", session, call.model), call, own, scope, send)
            return
        with traced(grant, call) as known:
            async with self._metered.metered(token, session, call) as bill:
                try:
                    await self._forward(bill, call, own, scope, send)
                finally:
                    known |= said_of(bill)

    async def _own(self, grant: SandboxGrant) -> str | None:
        try:
            return await self._own_key(grant.account)
        except KeyAway:
            raise Refused(KEY_AWAY, "2") from None

    async def _forward(self, bill: Bill, call: ModelCall, own: str | None, scope: Scope, send: Send) -> None:
        response = await self._ask(bill, call, own, scope)
        try:
            if response.status_code != 200:
                bill.used = NOTHING
                if own and response.status_code in (401, 402, 403):
                    raise Refused(OWN_KEY)
                raise await refusal_of(response)
            await self._pass_on(bill, response, send)
        finally:
            await response.aclose()

    async def _ask(self, bill: Bill, call: ModelCall, own: str | None, scope: Scope) -> httpx2.Response:
        request = self._client.build_request(
            "POST",
            self._upstream.url.rstrip("/") + scope["raw_path"].decode("ascii"),
            params={"beta": "true"} if scope["query_string"] else None,
            headers=self._upstream.headers(",".join(Headers(scope=scope).getlist("anthropic-beta")), own),
            content=call.body,
        )
        bill.used = UNKNOWN
        try:
            return await self._client.send(request, stream=True, auth=None if own else self._upstream.auth)
        except httpx2.HTTPError as error:
            if isinstance(error, NEVER_ASKED):
                bill.used = NOTHING
            log.warning("model server %s: %s: %s", self._upstream.url, type(error).__name__, error)
            raise Refused(UNREACHABLE) from None

    async def _pass_on(self, bill: Bill, response: httpx2.Response, send: Send) -> None:
        streamed = response.headers.get("content-type", "").startswith("text/event-stream")
        session, heard = bill.session_id, self._listeners
        reader = AnswerReader(
            streamed, lambda: heard.wants_deltas(session), lambda text: heard.on_delta(session, text)
        )
        await send(answer_start(streamed))
        try:
            async for chunk in response.aiter_bytes():
                reader.feed(chunk)
                await self._paces.take(session, len(chunk))
                await self._settled(bill, reader)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            reader.end()
            await self._settled(bill, reader)
        except httpx2.HTTPError as error:
            # Without the last message the server cuts the connection: this must not look like a whole answer.
            log.warning("model server %s broke off: %s", self._upstream.url, type(error).__name__)
            return
        finally:
            bill.model, bill.used = reader.model or "", reader.used
        await send({"type": "http.response.body", "body": b""})

    async def _settled(self, bill: Bill, reader: AnswerReader) -> None:
        """Whoever has the end of an answer finds it counted: a turn that is over with it tells its cost."""
        if reader.whole and bill.settling is None:
            bill.model, bill.used = reader.model or "", reader.used
            await self._metered.settled(bill)


def model_token(headers: Headers) -> str | None:
    """The one token in `x-api-key` or else in `Authorization: Bearer`; None if there is none, or two."""
    keys = headers.getlist("x-api-key")
    bearers = [v[7:].strip() for v in headers.getlist("authorization") if v[:7].lower() == "bearer "]
    found = set(keys or bearers)
    return found.pop() if len(found) == 1 else None


def traced(grant: SandboxGrant, call: ModelCall) -> AbstractContextManager[dict[str, Any]]:
    """A span by OpenTelemetry's conventions for generative AI, where anybody wants it."""
    asked = {"gen_ai.request.model": call.model, "gen_ai.request.max_tokens": call.max_tokens}
    told = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", **asked}
    return traces.span(f"chat {call.model}", grant.session_id, grant.trace, told)


def said_of(bill: Bill) -> dict[str, Any]:
    """What its span tells of a call that is over."""
    told: dict[str, Any] = {"gen_ai.response.model": bill.model} if bill.model else {}
    for name in ("input_tokens", "output_tokens"):
        if isinstance(count := (bill.used.usage or {}).get(name), int):
            told[f"gen_ai.usage.{name}"] = count
    return told


def judged(raw: bytes, rules: ModelRules, grant: SandboxGrant, scope: Scope) -> ModelCall:
    """The call that `raw` asks for; raises Refused."""
    try:
        if scope["query_string"] not in QUERIES:
            raise BadRequest("Only the query ?beta=true is known here.")
        return judge(raw, rules, grant.session_id, counting=scope["raw_path"] == ROUTES[1])
    except BadRequest as error:
        raise Refused(Failure(400, "invalid_request_error", str(error))) from None


async def whole_body(scope: Scope, receive: Receive) -> bytes:
    """The request's body, bounded in size and time; raises Refused, or HungUp."""
    if int(Headers(scope=scope).get("content-length", "0")) > LARGEST_BODY:
        raise Refused(_TOO_LARGE)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HungUp
                body += message.get("body", b"")
                if len(body) > LARGEST_BODY:
                    raise Refused(_TOO_LARGE)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise Refused(_TOO_SLOW) from None


async def until_hung_up(receive: Receive, work: Awaitable[None]) -> None:
    """Does `work`; cancels it and raises HungUp as soon as the caller is gone."""
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait((doing, gone), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise HungUp
        await doing
    finally:
        doing.cancel()
        gone.cancel()
        await asyncio.gather(doing, gone, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def answer_start(streamed: bool) -> Message:
    kind = b"text/event-stream; charset=utf-8" if streamed else b"application/json"
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    return {"type": "http.response.start", "status": 200, "headers": headers}
