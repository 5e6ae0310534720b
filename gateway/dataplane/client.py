"""The side that faces a visitor: takes requests one at a time and sends each to its route."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from gateway.dataplane.heads import HEAD_LIMIT, BadHead, Request
from gateway.dataplane.intake import Intake
from gateway.dataplane.replies import Reason, Reply, text, unread
from gateway.dataplane.routes import IDLE_SECONDS, UNREPEATABLE_IDLE_SECONDS, ConnectRefused, Route
from gateway.dataplane.rules import to_app
from gateway.dataplane.side import HIGH_WATER, Side
from gateway.dataplane.upstream import Upstream

if TYPE_CHECKING:
    from gateway.dataplane.proxy import Others, Proxy

_log = logging.getLogger(__name__)
_BUFFER_LIMIT: Final = HEAD_LIMIT

HEAD: Final = 0
"""No request is being served; the next head is awaited or half there."""
BODY: Final = 1
"""A request is being served and its body is not over."""
SENT: Final = 2
"""The whole request went to the app or is about to. What comes now waits in the intake, up to a bound."""
TUNNEL: Final = 3
"""After a 101: bytes both ways."""
DRAIN: Final = 4
"""The last answer is out and its end is marked. What still comes is dropped, because closing a socket with
unread bytes sends a RST that takes the answer back."""


class Client(Side):
    """A visitor's connection. The usual request, to a known host over an idle connection, needs no task.

    A load balancer's connection carries the requests of many: with ``others``, one without a body that is not
    for here (421) is left to them, and the connection with it.
    """

    __slots__ = (
        "_head",
        "_keep",
        "_others",
        "_pending",
        "_repeat",
        "_task",
        "added",
        "intake",
        "proxy",
        "request",
        "route",
        "stamp",
        "state",
        "upstream",
    )

    def __init__(self, proxy: "Proxy", others: "Others | None" = None) -> None:
        super().__init__()
        self.proxy = proxy
        self._others = others
        self.state = HEAD
        self.stamp = 0.0
        self.intake = Intake()
        self.request: Request | None = None
        self.route: Route | None = None
        self.upstream: Upstream | None = None
        self.added = self._head = b""
        self._pending: bytearray | None = None
        self._keep = False
        self._repeat = False
        self._task: asyncio.Task[None] | None = None

    # What the socket says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.stamp = self.proxy.clock()
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.proxy.welcome(self)

    def data_received(self, data: bytes) -> None:
        if self.state == HEAD:
            if not self.intake.buffer:
                self.stamp = self.proxy.clock()
            self._serve(data)
        elif self.state == BODY:
            self.stamp = self.proxy.clock()
            self._read_body(data)
        elif self.state == SENT:
            self.intake.buffer += data
            if not self.may_read():
                self.hold()
        elif self.state == TUNNEL and self.upstream:
            self.upstream.write(data)

    def eof_received(self) -> bool:
        if self.state == TUNNEL:
            return super().eof_received()
        # A visitor who sends no more is taken to be gone: only so does an abort reach the app at once.
        if self.request is None:
            self.close()
        else:
            self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        upstream = self.upstream
        self.open = False
        self.peer = self.upstream = None
        self.proxy.farewell(self)
        if self._task:
            self._task.cancel()
        if upstream:
            upstream.leave(flush=self.state == TUNNEL)

    def may_read(self) -> bool:
        pending = self._pending is not None and len(self._pending) > HIGH_WATER
        return super().may_read() and len(self.intake.buffer) <= _BUFFER_LIMIT and not pending

    def resume_writing(self) -> None:
        super().resume_writing()
        self._serve(b"")

    # Requests

    def _serve(self, data: bytes) -> None:
        """Take requests until one has to wait for its answer, or the visitor for room to read."""
        intake = self.intake
        while self.state == HEAD and not self.full and (data or intake.buffer):
            try:
                request = intake.next(data)
            except BadHead as bad:
                self._refuse(bad)
                return
            data = b""
            if request is None:
                break
            self._begin(request)
        self.intake.buffer += data
        if self.may_read():
            self.release()
        else:
            self.hold()

    def _begin(self, request: Request) -> None:
        self.request = request
        self.state = BODY if request.length else SENT
        self._pending = bytearray() if request.length else None
        route = self.proxy.known(request)
        if route is None:
            self._errand(self._resolve)
        else:
            self._send(request, route)
        if self.state == BODY and self.intake.buffer:
            self._read_body(self.intake.take())

    def _send(self, request: Request, route: Route) -> None:
        if route.guard is not None:
            verdict = route.guard(request)
            if isinstance(verdict, Reply):
                self.answer(verdict)
                return
            self.added = verdict
        head = to_app(request, route.names)
        if isinstance(head, Reply):
            self.answer(head)
            return
        self.route, self._head, self._repeat = route, head, request.repeatable
        if not request.upgrade:
            route.used(request)
        patience = IDLE_SECONDS if request.repeatable else UNREPEATABLE_IDLE_SECONDS
        upstream = route.take(self.proxy.clock(), patience)
        if upstream is not None:
            self._use(upstream)
        elif route.crowded():
            self._errand(lambda: self._explain(Reason.CROWDED))
        else:
            self._errand(self._connect)

    def _use(self, upstream: Upstream) -> None:
        self.upstream = self.peer = upstream
        upstream.begin(self, self._head)
        if self._pending is not None:
            pending, self._pending = self._pending, None
            if pending:
                upstream.write(bytes(pending))
            self.release()

    def _read_body(self, data: bytes) -> None:
        try:
            data = self.intake.body(data)
        except BadHead as bad:
            self._refuse(bad)
            return
        if self.intake.whole:
            self.state = SENT
        if self.upstream is not None:
            self.upstream.write(data)
        elif self._pending is not None:
            self._pending += data
            if not self.may_read():
                self.hold()

    # What takes longer than a call

    def _errand(self, work: Callable[[], Awaitable[None]]) -> None:
        self._task = self.proxy.loop.create_task(self._run(work))

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:
            _log.exception("a request to a preview failed")
            self.answer(text(500, "The gateway failed to serve this request; its log says why."))
        self._serve(b"")

    async def _resolve(self) -> None:
        assert self.request is not None
        found = await self.proxy.find(self.request)
        if isinstance(found, Route):
            self._send(self.request, found)
        elif found.status == 421 and self._others and not self.request.length:
            self._leave_to(self._others(), self.request)
        else:
            self.answer(found)

    def _leave_to(self, other: asyncio.Protocol, request: Request) -> None:
        sent = request.again() + self.intake.take()
        self.release()
        self.open, self.state, self.request = False, DRAIN, None
        self.proxy.farewell(self)
        self.transport.set_protocol(other)
        other.connection_made(self.transport)
        other.data_received(sent)

    async def _connect(self) -> None:
        assert self.route is not None
        try:
            upstream = await self.route.open(self, self.proxy.limits.connect_seconds)
        except ConnectRefused as refused:
            await self._explain(refused.reason)
        else:
            self._use(upstream)

    async def _explain(self, reason: Reason) -> None:
        assert self.route is not None and self.request is not None
        self._pending = None
        self.answer(await self.route.refused(self.request, reason))

    # Answers

    def settle(self, framed: bool) -> bool:
        """Decide, as an answer begins, whether this connection serves another request after it."""
        request = self.request
        keep = framed and self.state == SENT and request is not None and request.keep_alive
        self._keep = keep and not self.proxy.closing
        return self._keep

    def switch(self) -> bool:
        """Become a tunnel, if the request is over and asked for it; what came after it goes to the app."""
        if self.state != SENT or self.request is None or not self.request.upgrade:
            return False
        self.state = TUNNEL
        if self.route:
            self.route.used(self.request)
        if self.intake.buffer and self.upstream:
            self.upstream.write(self.intake.take())
        self.release()
        return True

    def answer(self, reply: Reply) -> None:
        """Answer the current request without the app."""
        request = self.request
        if request is not None:
            keep = self.settle(framed=True)
            bodiless = request.method == b"HEAD"
            self.write(reply.encode(keep=keep, bodiless=bodiless, old=request.old, added=self.added))
            self._end()

    def answered(self) -> None:
        """The app's answer has been passed on whole."""
        self._end()
        self._serve(b"")

    def _refuse(self, bad: BadHead) -> None:
        """Answer what is not HTTP. Where the next message would begin is unknown: nothing more is read."""
        upstream, began = self.upstream, False
        if upstream:
            began = not upstream.silent()
            upstream.leave()
        if self._task:
            self._task.cancel()
        if began:
            self.cut()
        else:
            self.write(unread(bad.status, bad.why).encode(keep=False))
            self._keep = False
            self._end()

    def refuse_slow_head(self) -> None:
        """The head of a request has been coming for too long."""
        self._refuse(BadHead("the head of the request took too long", 408))

    def _end(self) -> None:
        self.request = self.route = self.peer = self.upstream = self._pending = None
        self._head = self.added = b""
        self.stamp = self.proxy.clock()
        if self._keep:
            self.state = HEAD
        elif self.state == SENT and not self.intake.buffer:
            self.close()
        else:
            self.state = DRAIN
            self.intake.buffer.clear()
            self.write_eof()
            self.release()

    def fail(self, reason: Reason) -> None:
        """The app gave no answer: the route says what the visitor gets."""
        self.peer = self.upstream = self._pending = None
        if self._task:
            self._task.cancel()
        self._errand(lambda: self._explain(reason))

    def lost(self, untouched: bool) -> None:
        """The app's connection closed without an answer. A kept one that was found dead gets one more try."""
        self.peer = self.upstream = None
        if untouched and self._repeat and self.route and not self.route.closed:
            self._repeat = False
            self._errand(self._connect)
        else:
            self.fail(Reason.BROKEN)

    def cut(self) -> None:
        """The answer began and cannot be ended: the visitor must see that it is not whole."""
        self.peer = self.upstream = None
        if self.request is not None and self.request.old:
            self.reset()
        else:
            self.close()

    @property
    def spare(self) -> bool:
        """Whether it has been served before and so may idle for long."""
        return self._keep
