"""The egress proxy: a sandbox's only way out, to public hosts that the policy allows, by name."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator

from gateway.dataplane.heads import BadHead
from gateway.dataplane.replies import status_line
from gateway.egress_head import Asked, asked, proxy_token, read_head
from gateway.egress_meter import Accounts, Reports, Unheard
from gateway.egress_passage import Connect, EgressLimits, Outside, Passage, Refused, Resolve
from gateway.egress_policy import EgressPolicy
from gateway.grants import Authorize, SandboxGrant
from gateway.paces import of_refusals
from gateway.refusals import OnRefused, Refusals
from gateway.tunnel import READ, hang_up
from opensessions import logbook

__all__ = ["EgressLimits", "EgressProxy"]


class EgressProxy:
    """A protocol factory for TCP and unix listeners: `loop.create_unix_server(proxy, path)`.

    It speaks CONNECT, and plain HTTP with the target in absolute-form, one request a connection. `resolve`
    and `connect` do all that goes out: the name is asked for once, all its addresses must be public, and
    only these are connected to. A session that has had all its bytes is cut off, and every host is refused
    then; one that wants them too fast is slowed down. The policy's `bucket` is apart from all this, and is
    open to the worker's own token too. `on_refused(session_id, host, reason)` is told once a host and minute;
    it is called from the loop and must not block. The `reports` are told of bytes as they pass.
    """

    def __init__(
        self,
        authorize: Authorize,
        policy: EgressPolicy,
        resolve: Resolve,
        connect: Connect = asyncio.open_connection,
        on_refused: OnRefused = lambda session_id, host, reason: None,
        reports: Reports | None = None,
        limits: EgressLimits | None = None,
    ) -> None:
        self._authorize = authorize
        self._limits = limits or EgressLimits()
        self._reports = reports or Unheard()
        accounts = Accounts(self._limits.session_bytes, self._limits.bytes_per_second, self._reports)
        unbounded = Accounts(None, self._limits.bucket_bytes_per_second, Unheard())
        self._outside = Outside(policy, resolve, connect, self._limits, accounts, unbounded)
        self._refusals = Refusals(on_refused)
        self._pace = of_refusals()
        self._unasked: Counter[str] = Counter()
        self._serving: set[asyncio.Task[None]] = set()
        self._tunnels: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)

    def __call__(self) -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(READ), self._accept)

    def cut(self, sandbox_id: str) -> None:
        """Ends every connection of a sandbox at once."""
        for task in tuple(self._tunnels.get(sandbox_id, ())):
            task.cancel()

    async def aclose(self) -> None:
        """Ends everything. The listeners are the caller's to close, and before."""
        serving = tuple(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        grant: SandboxGrant | None = None
        logbook.begin()
        try:
            with self._unasked_place(writer):
                request, rest = await self._request(reader)
                grant, to_bucket = await self._caller(request)
            with self._place(grant):
                passage = Passage(self._outside, grant, request, reader, writer, to_bucket=to_bucket)
                await passage.go(rest)
        except Refused as refusal:
            if grant and refusal.host:
                self._refusals.tell(grant.session_id, refusal.host, refusal.reason)
            await self._pace.take(grant.sandbox_id if grant else "")
            await self._answer(refusal, reader, writer)
        except (EOFError, OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> tuple[Asked, bytes]:
        try:
            async with asyncio.timeout(self._limits.head_seconds):
                head, rest = await read_head(reader)
            request = asked(head)
        except BadHead as bad:
            raise Refused(bad.status, f"Bad request: {bad.why}.") from None
        except TimeoutError:
            raise Refused(408, "The head of the request did not arrive in time.") from None
        if rest and request.tunnel:
            raise Refused(400, "Bad request: nothing may follow a CONNECT before its answer.")
        return request, rest

    async def _caller(self, request: Asked) -> tuple[SandboxGrant, bool]:
        """Who asks, and whether that is the worker, on its way to the bucket."""
        token = proxy_token(request.request) or ""
        if token and self._outside.policy.is_bucket(request.host, request.port):
            worker = await self._authorize(token, "worker")
            if worker is not None:
                return worker, True
        grant = await self._authorize(token, "egress") if token else None
        if grant is None:
            challenge = 'Proxy-Authenticate: Basic realm="sandbox egress"\r\n'
            raise Refused(407, "The egress token of a live sandbox is required.", challenge)
        return grant, False

    @contextlib.contextmanager
    def _unasked_place(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        peer = writer.get_extra_info("peername") or writer.get_extra_info("sockname")
        source = str(peer[0] if isinstance(peer, tuple) else peer)
        if self._unasked[source] >= self._limits.unasked:
            raise Refused(503, "Too many connections wait here without a request.", "Retry-After: 1\r\n")
        self._unasked[source] += 1
        try:
            yield
        finally:
            self._unasked[source] -= 1
            if not self._unasked[source]:
                del self._unasked[source]

    @contextlib.contextmanager
    def _place(self, grant: SandboxGrant) -> Iterator[None]:
        mine = self._tunnels[grant.sandbox_id]
        if len(mine) >= self._limits.tunnels:
            text = f"This sandbox has {len(mine)} connections open, which is as many as it may."
            raise Refused(429, text, "Retry-After: 1\r\n")
        task = asyncio.current_task()
        assert task is not None
        mine.add(task)
        try:
            yield
        finally:
            mine.discard(task)
            if not mine:
                self._tunnels.pop(grant.sandbox_id, None)
                self._reports.rest(grant.session_id)

    async def _answer(
        self, refusal: Refused, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if not refusal.status:
            writer.transport.abort()
            return
        body = f"{refusal.text}\n".encode()
        head = (
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n{refusal.field}"
            "Connection: close\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            writer.write(status_line(refusal.status) + head.encode() + body)
            await hang_up(reader, writer, self._limits.linger_seconds)
