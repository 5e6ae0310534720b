"""One sandbox's request to the outside: judged by the policy, connected, and passed on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.dataplane.heads import HEAD_LIMIT, BadHead, Request, read_request, read_response
from gateway.egress_head import Asked, authority, back, onward, read_head
from gateway.egress_meter import REASON, Accounts, Spent
from gateway.egress_policy import EgressPolicy
from gateway.grants import SandboxGrant
from gateway.tls_hello import Incomplete, NotTls, server_name
from gateway.tunnel import READ, Idle, Line, hang_up, run
from opensessions.addresses import is_address
from opensessions.hosts import BadHost, host_name

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Resolve = Callable[[str], Awaitable[Sequence[str]]]
Connect = Callable[[str, int], Awaitable[Streams]]


@dataclass(frozen=True)
class EgressLimits:
    """Seconds, and counts: bytes of one session, both ways and all hosts together, in all and a second, bytes
    a second to and from the blob store, tunnels of one sandbox, connections of one source that have not yet
    asked.
    """

    session_bytes: int = 10_000_000_000
    bytes_per_second: float = 20_000_000
    bucket_bytes_per_second: float = 100_000_000
    tunnels: int = 64
    unasked: int = 256
    head_seconds: float = 10
    connect_seconds: float = 10
    idle_seconds: float = 300
    linger_seconds: float = 2


@dataclass(frozen=True)
class Outside:
    """How one gets out: the policy, the only two things that touch the world, and what is left; bytes to and
    from the blob store are on accounts of their own.
    """

    policy: EgressPolicy
    resolve: Resolve
    connect: Connect
    limits: EgressLimits
    accounts: Accounts
    bucket_accounts: Accounts


class Refused(Exception):
    """The request ends here with `status`, or with a cut when a tunnel is open already (0).

    `host` and `reason` are set if the policy refused it; `field` is a header of the answer.
    """

    def __init__(self, status: int, text: str, field: str = "", host: str = "", reason: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.field = field
        self.host = host
        self.reason = reason


class Passage:
    """A request from its judgement to its end. `go` raises Refused; OSError or EOFError for a lost side."""

    def __init__(
        self,
        outside: Outside,
        grant: SandboxGrant,
        asked: Asked,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        to_bucket: bool,
    ) -> None:
        self._outside = outside
        self._grant = grant
        self._asked = asked
        self._reader = reader
        self._writer = writer
        self._to_bucket = to_bucket
        accounts = outside.bucket_accounts if self._to_bucket else outside.accounts
        self._account = accounts.of(grant.session_id)
        self._failure: Refused | None = None

    async def go(self, rest: bytes) -> None:
        """`rest` is what came behind the head."""
        await self._account.look()
        host = self._judged(self._asked.host, self._asked.port)
        if self._asked.tunnel:
            await self._connect(host)
            return
        streams = await self._dial(host)
        try:
            await self._exchange(host, self._asked.request, rest, streams)
        finally:
            streams[1].close()

    def _judged(self, text: str, port: int) -> str:
        if self._to_bucket:
            return text.lower()
        try:
            host = host_name(text)
        except BadHost as bad:
            shown = "".join(c if c.isprintable() else "?" for c in text[:100])
            raise self._refusal(shown, str(bad)) from None
        reason = self._outside.policy.objection(host, port, self._grant.allowed_hosts)
        if reason is not None:
            raise self._refusal(host, reason)
        if self._account.spent:
            raise self._refusal(host, REASON)
        return host

    def _refusal(self, host: str, reason: str, status: int = 403) -> Refused:
        text = f"Egress to {host}:{self._asked.port} is refused: {reason}."
        return Refused(status, text, host=host, reason=reason)

    async def _dial(self, host: str) -> Streams:
        outside = self._outside
        try:
            async with asyncio.timeout(outside.limits.connect_seconds):
                addresses = await self._addresses(host)
                for address in addresses[:-1]:
                    with contextlib.suppress(OSError):
                        return await outside.connect(address, self._asked.port)
                return await outside.connect(addresses[-1], self._asked.port)
        except TimeoutError:
            raise Refused(504, f"{host} did not answer in time.") from None
        except OSError:
            raise Refused(502, f"{host} does not answer on port {self._asked.port}.") from None

    async def _addresses(self, host: str) -> Sequence[str]:
        """All addresses of the name; it is asked for once, so that what was judged is what is dialled."""
        if self._to_bucket and is_address(host):
            return (host,)
        try:
            addresses = await self._outside.resolve(host)
        except TimeoutError:
            raise
        except OSError:
            addresses = ()
        if not addresses:
            raise Refused(502, f"The name {host} cannot be resolved.")
        if not self._to_bucket and not self._outside.policy.all_public(addresses):
            raise self._refusal(host, "its name leads to an address that is not public")
        return addresses

    async def _connect(self, host: str) -> None:
        # Reading meanwhile shows whether bytes came before the answer that they are not to precede.
        early = asyncio.ensure_future(self._reader.read(READ))
        try:
            streams = await self._dial(host)
            try:
                await self._tunnel(host, early, streams)
            finally:
                streams[1].close()
        finally:
            early.cancel()
            await asyncio.gather(early, return_exceptions=True)

    async def _tunnel(self, host: str, early: asyncio.Future[bytes], streams: Streams) -> None:
        if early.done() and not early.result():
            raise EOFError
        if early.done():
            raise Refused(400, "Bad request: nothing may follow a CONNECT before its answer.")
        self._writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if self._outside.policy.narrowed(self._grant.allowed_hosts):
            hello = await self._hello(host, early)
            if hello[:1] != b"\x16":
                await self._plain_inside(host, hello, streams)
                return
            early = asyncio.get_running_loop().create_future()
            early.set_result(hello)
        idle, up, down = self._lines(streams)
        if not await run(idle, up.pump(early), down.pump()):
            streams[1].transport.abort()
            self._cut(host)

    async def _hello(self, host: str, early: Awaitable[bytes]) -> bytes:
        """The first bytes in a tunnel, in which the client must ask for the same host. Raises Refused.

        A list of names means little if the name is only shown to the proxy. On port 80 the bytes may be
        plain HTTP instead.
        """
        async with asyncio.timeout(self._outside.limits.head_seconds):
            data = await early
            while True:
                if not data:
                    raise EOFError
                try:
                    if server_name(data) == host:
                        return data
                    raise self._refusal(host, "the TLS handshake asks for another host", 0)
                except Incomplete:
                    more = await self._reader.read(READ)
                    data = data + more if more else b""
                except NotTls:
                    if self._asked.port == 80 and data[:1] != b"\x16":
                        return data
                    raise self._refusal(host, "what came through the tunnel is not TLS", 0) from None

    async def _plain_inside(self, host: str, first: bytes, streams: Streams) -> None:
        """Some clients open a tunnel for plain HTTP too: one request in it is passed on like any other."""
        try:
            async with asyncio.timeout(self._outside.limits.head_seconds):
                head, rest = await read_head(self._reader, first)
            request = read_request(head)
            inside, port = authority(request.host, 80)
            if host_name(inside) != host or port != self._asked.port:
                raise self._refusal(host, "the request in the tunnel asks for another host")
        except (BadHead, BadHost) as bad:
            raise Refused(400, f"Bad request: {bad}.") from None
        await self._exchange(host, request, rest, streams)

    def _lines(self, streams: Streams) -> tuple[Idle, Line, Line]:
        idle = Idle(self._outside.limits.idle_seconds)
        up = Line(self._reader, streams[1], idle, self._account.sent)
        down = Line(streams[0], self._writer, idle, self._account.received)
        return idle, up, down

    def _cut(self, host: str) -> None:
        """End what is under way. Raises Refused if that is because the session has had its bytes."""
        self._writer.transport.abort()
        if self._account.spent:
            raise self._refusal(host, REASON, 0)

    async def _exchange(self, host: str, request: Request, rest: bytes, streams: Streams) -> None:
        idle, up, down = self._lines(streams)
        answer, question = self._answer(request, streams[0], down), self._question(host, request, rest, up)
        whole = await run(idle, answer, beside=question)
        if self._failure:
            raise self._failure
        if not whole:
            self._cut(host)
        await hang_up(self._reader, self._writer, self._outside.limits.linger_seconds)

    async def _question(self, host: str, request: Request, rest: bytes, up: Line) -> None:
        try:
            await up.write(onward(request, host, self._asked.port))
            await up.body(request.length, rest)
        except Spent:
            raise
        except OSError:
            pass  # A server that answers early may stop reading; its answer counts.

    async def _answer(self, request: Request, upstream: asyncio.StreamReader, down: Line) -> None:
        status, rest = 0, b""
        try:
            while status < 200:
                head, rest = await read_head(upstream, rest, HEAD_LIMIT)
                response = read_response(head, request.method)
                status = response.status
                if status == 101:
                    raise BadHead("nobody asked for another protocol")
                if status >= 200 or not request.old:
                    await down.write(back(response))
        except (BadHead, EOFError):
            self._failure = Refused(502, f"{self._asked.host} did not answer in HTTP.")
            return
        await down.body(response.length, rest)
