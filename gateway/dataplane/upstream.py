"""The side that faces an app: reads its answers and passes them to the visitor whose turn it is."""

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.dataplane.chunks import BadChunk, ChunkReader, frame
from gateway.dataplane.heads import (
    BLANK,
    CHUNKED,
    HEAD_LIMIT,
    TO_THE_END,
    BadHead,
    Request,
    Response,
    read_response,
)
from gateway.dataplane.replies import Reason
from gateway.dataplane.rules import interim, to_visitor
from gateway.dataplane.side import Side

if TYPE_CHECKING:
    from gateway.dataplane.client import Client
    from gateway.dataplane.routes import Route

_INTERIM_LIMIT: Final = 64
_IDLE, _HEAD, _LENGTH, _CHUNKS, _END, _TUNNEL = range(6)


class Upstream(Side):
    """A connection to an app. It serves one request at a time and waits in its route's pool between them."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_interims",
        "_left",
        "_mode",
        "_plain",
        "_reusable",
        "_reused",
        "client",
        "idle_since",
        "route",
    )

    def __init__(self, route: "Route") -> None:
        super().__init__()
        self.route = route
        self.client: Client | None = None
        self.idle_since = 0.0
        self._mode = _IDLE
        self._buffer = b""
        self._left = 0
        self._chunks: ChunkReader | None = None
        self._plain = False
        self._reusable = False
        self._reused = False
        self._interims = 0

    def begin(self, client: "Client", head: bytes) -> None:
        """Send a request's head; its body follows by ``write``."""
        self.client = self.peer = client
        self._mode = _HEAD
        self._interims = 0
        if client.full:
            self.hold()
        self.write(head)

    def silent(self) -> bool:
        """Whether the app has not begun its answer."""
        return self._mode == _HEAD

    def may_read(self) -> bool:
        pace = self.route.pace
        return super().may_read() and (pace is None or not pace.late(asyncio.get_running_loop().time()))

    def data_received(self, data: bytes) -> None:
        if self.route.pace is not None:
            self.route.pace.spend(len(data), asyncio.get_running_loop().time())
            self._keep_pace()
        client, mode = self.client, self._mode
        if client is None:
            self.leave()  # An app that speaks unasked would answer the next visitor's request.
        elif mode == _HEAD:
            self._read_heads(client, self._buffer + data if self._buffer else data)
        elif mode == _TUNNEL:
            client.write(data)
        else:
            self._read_body(client, b"", data)
        if self._mode != _IDLE:
            self.acknowledge()  # There is more to come.

    def _keep_pace(self) -> None:
        """Read on as soon as the pace allows, which others may have used up by then."""
        loop, pace = asyncio.get_running_loop(), self.route.pace
        if pace is None or not self.open:
            return
        if late := pace.late(loop.time()):
            self.hold()
            loop.call_later(late, self._keep_pace)
        else:
            self.release()

    def _read_heads(self, client: "Client", data: bytes) -> None:
        request = client.request
        assert request is not None
        while self._mode == _HEAD:
            end = data.find(BLANK) + 4
            if end < 4:
                self._buffer = data
                if len(data) > HEAD_LIMIT:
                    self._break(client)
                return
            try:
                response = read_response(data[:end], request.method)
            except BadHead:
                self._break(client)
                return
            data, self._buffer = data[end:], b""
            if response.status >= 200:
                self._answer(client, request, response, data)
                return
            if not self._interim(client, request, response):
                self._break(client)
                return
        client.write(data)

    def _interim(self, client: "Client", request: Request, response: Response) -> bool:
        """Pass a 1xx on; False for one that nobody asked for."""
        self._interims += 1
        if response.status != 101:
            if not request.old:
                client.write(interim(response, self.route.names))
            return self._interims <= _INTERIM_LIMIT
        if response.upgrade.lower() not in request.upgrade.lower().split(b", ") or not client.switch():
            return False
        client.write(interim(response, self.route.names))
        self._mode = _TUNNEL
        return True

    def _answer(self, client: "Client", request: Request, response: Response, data: bytes) -> None:
        length = response.length
        self._plain = request.old and length in (CHUNKED, TO_THE_END)
        keep = client.settle(not self._plain)
        framing = client.added if keep else client.added + b"Connection: close\r\n"
        if keep and request.old:
            framing += b"Connection: keep-alive\r\n"
        if response.declared is not None:
            framing += b"Content-Length: %b\r\n" % response.declared
        elif length < 0 and not request.old:
            framing += b"Transfer-Encoding: chunked\r\n"
        self._reusable = response.keep_alive and length != TO_THE_END
        self._left = length
        self._mode = _LENGTH if length >= 0 else _CHUNKS if length == CHUNKED else _END
        self._chunks = ChunkReader() if length == CHUNKED else None
        self._read_body(client, to_visitor(response, self.route.names, framing), data)

    def _read_body(self, client: "Client", head: bytes, data: bytes) -> None:
        """Pass on ``head`` and what ``data`` holds of the body; any more is the app's mistake."""
        surplus, done = b"", False
        if self._chunks is not None:
            try:
                data, surplus = self._chunks.feed(data)
            except BadChunk:
                self._break(client)
                return
            done = self._chunks.done
        elif self._mode == _LENGTH:
            if len(data) > self._left:
                data, surplus = data[: self._left], data[self._left :]
            self._left -= len(data)
            done = not self._left
        if self._mode != _LENGTH and not self._plain:
            data = frame(data, done)
        if head and data:
            client.write(head, data)
        elif head or data:
            client.write(head or data)
        if done:
            self._finish(client, self._reusable and not surplus)

    def _finish(self, client: "Client", reusable: bool) -> None:
        self._detach()
        if reusable and client.intake.whole and not self.route.closed and self.open:
            self._reused = True
            self.release()
            client.proxy.keep(self.route, self)
        else:
            self.route.drop(self)
            self.abort()
        client.answered()

    def _detach(self) -> None:
        self.client = self.peer = None
        self._mode = _IDLE
        self._buffer = b""
        self._chunks = None

    def _break(self, client: "Client") -> None:
        """The app's bytes make no sense: whoever waits for them learns it, and the connection goes."""
        began = self._mode != _HEAD
        self._detach()
        self.route.drop(self)
        self.abort()
        if began:
            client.cut()
        else:
            client.fail(Reason.BROKEN)

    def leave(self, flush: bool = False) -> None:
        """The visitor waits no longer: so the app learns it. ``flush`` sends what is written first."""
        self._detach()
        self.route.drop(self)
        if flush:
            self.close()
        else:
            self.abort()

    def revoke(self) -> None:
        """Cut this connection and what it was serving; a request without an answer gets Reason.GONE."""
        client, waits = self.client, self._mode == _HEAD
        self.leave()
        if client and waits:
            client.fail(Reason.GONE)
        elif client:
            client.abort()

    def eof_received(self) -> bool:
        if self._mode == _TUNNEL:
            return super().eof_received()
        if self._mode == _END and self.client:
            client = self.client
            if not self._plain:
                client.write(frame(b"", last=True))
            self._finish(client, reusable=False)
        self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        client, mode = self.client, self._mode
        untouched = self._reused and not self._buffer and not self._interims
        self.open = False
        self._detach()
        self.route.drop(self)
        if client is None:
            return
        if mode == _TUNNEL:
            client.peer = client.upstream = None
            client.close()
        elif mode == _HEAD:
            client.lost(untouched)
        else:
            client.cut()
