"""A proxy in a thread of its own, with a test on both sides of it: the visitor's sockets and the app's."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop

from gateway.dataplane import Limits, Names, Proxy, Reason, Reply, Request, Route, refusal, tcp, text

T = TypeVar("T")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
HOST = b"sb-1-p3000.test:8000"
ORIGIN = "http://sb-1-p3000.test:8000"
GET = b"GET / HTTP/1.1\r\nHost: " + HOST + b"\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def request(line: bytes, *fields: bytes, host: bytes = HOST) -> bytes:
    """A request's head from its line and fields, with Host."""
    return b"\r\n".join((line, b"Host: " + host, *fields, b"", b""))


class Wire:
    """One blocking socket of a test. Every read has a deadline of five seconds."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._left = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def head(self) -> bytes:
        """Up to and with the next blank line."""
        while b"\r\n\r\n" not in self._left:
            if not self._fill():
                raise EOFError(f"closed in a head: {self._left!r}")
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def read(self, size: int) -> bytes:
        while len(self._left) < size:
            if not self._fill():
                raise EOFError(f"closed after {self._left!r}")
        data, self._left = self._left[:size], self._left[size:]
        return data

    def chunked(self) -> bytes:
        """A chunked body without trailers."""
        body = b""
        while size := int(self._line(), 16):
            body += self.read(size)
            assert self.read(2) == b"\r\n"
        assert self.read(2) == b"\r\n"
        return body

    def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, fields by their names in lower case, and body of the next answer."""
        head = self.head()
        fields = fields_of(head)
        if b"transfer-encoding" in fields:
            return int(head[9:12]), fields, self.chunked()
        return int(head[9:12]), fields, self.read(int(fields.get(b"content-length", b"0")))

    def rest(self) -> bytes:
        """Everything until the other end closes. A reset is an end too."""
        try:
            while self._fill():
                pass
        except ConnectionResetError:
            pass
        data, self._left = self._left, b""
        return data

    def quiet(self, seconds: float = 0.05) -> bool:
        """Whether nothing comes for a moment."""
        self.sock.settimeout(seconds)
        try:
            return not self._left and self.sock.recv(1, socket.MSG_PEEK) is None
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(5)

    def finish(self) -> None:
        """Half-close."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def _line(self) -> bytes:
        while b"\r\n" not in self._left:
            if not self._fill():
                raise EOFError(f"closed in a line: {self._left!r}")
        line, _, self._left = self._left.partition(b"\r\n")
        return line

    def _fill(self) -> bool:
        data = self.sock.recv(262144)
        self._left += data
        return bool(data)


def fields_of(head: bytes) -> dict[bytes, bytes]:
    """The fields of a head by their names in lower case; values of one name are joined by commas."""
    fields: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n")[1:-2]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip()
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


class Stage:
    """The proxy, one route behind it, and the listening socket of the app. `upstream` is the newest
    connection from the one to the other.
    """

    upstream: asyncio.BaseTransport

    def __init__(self, loop: str, limits: Limits | None = None, connections: int = 256) -> None:
        self._wires: list[Wire] = []
        self._servers: list[asyncio.Server] = []
        self._opened = self._accepted = 0
        self._loop = LOOPS[loop]()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._listener = self._listen()
        self.app_port: int = self._listener.getsockname()[1]
        self.resolved: list[bytes] = []
        self.refusals: list[Reason] = []
        self.connections = connections
        self.call(self._open(limits))

    async def _open(self, limits: Limits | None) -> None:
        self.proxy = Proxy(self._resolve, limits)
        self.port = await self.listen(self.proxy)
        self.new_route()

    def new_route(self) -> None:
        self.route = Route(Names(ORIGIN, 3000), self._connect, self._refused, self.connections)

    async def _connect(self, factory: Callable[[], asyncio.Protocol]) -> asyncio.BaseTransport:
        self._opened += 1
        self.upstream = await tcp("127.0.0.1", self.app_port)(factory)
        return self.upstream

    async def _resolve(self, request: Request) -> Route | Reply:
        self.resolved.append(request.host)
        if request.host != HOST:
            return text(421, "Not here.")
        return self.route if not self.route.closed else refusal(Reason.GONE)

    async def _refused(self, request: Request, reason: Reason) -> Reply:
        self.refusals.append(reason)
        return refusal(reason)

    @staticmethod
    def _listen(port: int = 0) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), backlog=512)

    async def listen(self, factory: Callable[[], asyncio.Protocol]) -> int:
        """One more listener; returns its port."""
        self._servers.append(await self._loop.create_server(factory, "127.0.0.1", 0))
        port: int = self._servers[-1].sockets[0].getsockname()[1]
        return port

    def visitor(self, first: bytes = b"", buffer: int = 0, to: int = 0) -> Wire:
        """A visitor's connection; a small receive buffer makes a slow one show soon."""
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.connect(("127.0.0.1", to or self.port))
        wire = self._keep(Wire(sock))
        if first:
            wire.send(first)
        return wire

    def accept(self) -> Wire:
        """The next connection that the proxy opens to the app."""
        self._listener.settimeout(5)
        self._accepted += 1
        return self._keep(Wire(self._listener.accept()[0]))

    def no_connection(self) -> bool:
        """Whether the proxy has opened no other connection than those that were accepted."""
        return self.do(lambda: self._opened) == self._accepted

    def stop_listening(self) -> None:
        self._listener.close()

    def exchange(self, sent: bytes, answer: bytes = OK) -> tuple[bytes, Wire]:
        """One request and the app's answer; returns the head the app saw, and the visitor."""
        visitor, app = self.visitor(sent), self.accept()
        head = app.head()
        app.send(answer)
        return head, visitor

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the proxy's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def do(self, work: Callable[[], T]) -> T:
        """Call a function in the proxy's loop."""

        async def run() -> T:
            return work()

        return self.call(run())

    def until(self, true: Callable[[], bool], seconds: float = 5) -> None:
        """Wait for a condition of the proxy."""
        deadline = time.monotonic() + seconds
        while not self.do(true):
            assert time.monotonic() < deadline, "it did not become true"
            time.sleep(0.002)

    def _keep(self, wire: Wire) -> Wire:
        self._wires.append(wire)
        return wire

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for wire in self._wires:
            wire.close()
        self._listener.close()
        self.call(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _shut(self) -> None:
        for server in self._servers:
            server.close()
        self.route.close()
        await self.proxy.shutdown(0)
        await asyncio.sleep(0.005)  # lets the sockets that were aborted just now close
