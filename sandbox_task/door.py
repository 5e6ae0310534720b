"""The one way into a sandbox: whoever proves to be the gateway is connected to a port of the loopback.

`opensessions.handshake` describes the protocol.
"""

import asyncio
import re
import secrets
import socket
from collections.abc import Callable

from opensessions.handshake import FILES_PORT, proof, proven
from sandbox_task.splice import End, Upstream

DEADLINE = 5.0
_HEAD_LIMIT = 4096
_CONNECT = re.compile(rb"CONNECT 127\.0\.0\.1:(1|[1-9][0-9]{3,4}) HTTP/1\.1")
_NONCE = re.compile(r"[0-9a-f]{32}")
_PROOF = re.compile(r"[0-9a-f]{64}")
_OPEN = b"HTTP/1.1 200 OK\r\n\r\n"
_REASONS = {403: "Forbidden", 407: "Proxy Authentication Required", 502: "Bad Gateway"}


class Door:
    """Opens nothing until `key` (hex) is set. `own` are the worker's ports, which stay shut. `files` makes
    the protocol of the worker's own service; until it is there, nothing listens on its port.
    """

    def __init__(self, own: set[int]) -> None:
        self.key = ""
        self.own = own
        self.files: Callable[[], asyncio.Protocol] | None = None

    async def listen(self, fd: int | None, port: int | None) -> asyncio.Server:
        """Serve the inherited listening socket `fd`, or `port` on all addresses."""
        loop = asyncio.get_running_loop()
        if fd is None:
            self.own.add(port or 0)
            return await loop.create_server(lambda: Visitor(self), "0.0.0.0", port, backlog=1024)
        listener = socket.socket(fileno=fd)
        listener.set_inheritable(False)
        if listener.family == socket.AF_UNIX:
            return await loop.create_unix_server(lambda: Visitor(self), sock=listener, backlog=1024)
        self.own.add(listener.getsockname()[1])
        return await loop.create_server(lambda: Visitor(self), sock=listener, backlog=1024)


class Visitor(End):
    """One connection to the door: two heads, then blind bytes. Whatever is not the protocol is hung up on."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door
        self._head = bytearray()
        self._port = 0
        self._theirs = self._ours = ""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(DEADLINE, self.transport.abort)
        if not self._door.key:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0 and len(self._head) <= _HEAD_LIMIT:
            return
        if end + 4 != len(self._head) or end > _HEAD_LIMIT:
            self.transport.abort()
            return
        line, _, rest = bytes(self._head[:end]).partition(b"\r\n")
        self._head.clear()
        port, fields = _port(line), _fields(rest)
        if port == 0 or (self._port and port != self._port):
            self.transport.abort()
        elif not self._port:
            self._challenged(port, fields.get("door-challenge", ""))
        else:
            self._proved(fields.get("door-proof", ""))

    def _challenged(self, port: int, nonce: str) -> None:
        if not _NONCE.fullmatch(nonce):
            self.transport.abort()
            return
        self._port, self._theirs, self._ours = port, nonce, secrets.token_hex(16)
        shown = proof(self._door.key, "door", self._theirs, self._ours, port)
        self._answer(407, f"Door-Challenge: {self._ours}\r\nDoor-Proof: {shown}\r\n")

    def _proved(self, given: str) -> None:
        self.transport.pause_reading()
        self._deadline.cancel()
        port = self._port
        right = _PROOF.fullmatch(given) and proven(
            given, self._door.key, "gateway", self._theirs, self._ours, port
        )
        if not right or port in self._door.own:
            self._answer(403)
            self.transport.close()
        elif port == FILES_PORT:
            self._serve_files()
        else:
            self._task = asyncio.ensure_future(self._connect(port))

    def _serve_files(self) -> None:
        if self._door.files is None:
            self._answer(502)
            self.transport.close()
            return
        protocol = self._door.files()
        self.transport.write(_OPEN)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        self.transport.resume_reading()

    async def _connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        for host in ("127.0.0.1", "::1"):
            try:
                await loop.create_connection(lambda: Upstream(self, self._opened), host, port)
                return
            except OSError:
                continue
        self._answer(502)
        self.transport.close()

    def _opened(self) -> None:
        # From here on this connection is a plain end, without the handshake in its way.
        end = End()
        end.transport = self.transport
        end.join(self.peer)
        self.transport.write(_OPEN)
        self.transport.set_protocol(end)
        self.transport.resume_reading()

    def _answer(self, status: int, fields: str = "") -> None:
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\n{fields}Content-Length: 0\r\n\r\n"
        self.transport.write(head.encode())

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()


def _port(line: bytes) -> int:
    """The port that a request line names, or 0."""
    found = _CONNECT.fullmatch(line)
    port = int(found[1]) if found else 0
    return port if 1024 <= port <= 65535 or port == FILES_PORT else 0


def _fields(rest: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in rest.decode("latin-1").split("\r\n"))
    return {name.lower(): value.strip() for name, _, value in pairs}
