"""The gateway's half of the door: a connection to a port inside a sandbox, after both sides proved
themselves.

The protocol is `opensessions.handshake`. A door that cannot prove that it is this sandbox's is hung up on
before a byte of a visitor's request is sent.
"""

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import cast

from gateway.dataplane.replies import Reason
from gateway.dataplane.routes import Connect, ConnectRefused
from opensessions.handshake import proof, proven

Address = str | tuple[str, int]

_HEAD_LIMIT = 4096
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})[ \r]")
_FIELD = re.compile(rb"\r\nDoor-(Challenge|Proof): ([0-9a-f]{1,64})(?=\r\n)", re.IGNORECASE)
_REFUSED = {502: Reason.NOTHING_LISTENS, 403: Reason.NOT_THIS_SANDBOX}


def door(dial: Callable[[], Address], key: str, port: int) -> Connect:
    """Opens connections to one port. `dial` is asked each time, because a sandbox may come back elsewhere."""

    async def connect(factory: Callable[[], asyncio.Protocol]) -> asyncio.BaseTransport:
        transport, knock = await _reach(dial())
        try:
            surplus = await _prove(knock, key, port)
        except BaseException:
            transport.abort()
            raise
        protocol = factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if surplus:
            protocol.data_received(surplus)
        return transport

    return connect


class _Knock(asyncio.Protocol):
    """Collects one answer of the door at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._buffer = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._settle()

    async def ask(self, head: bytes) -> bytes:
        """Send a head and return the one that answers. Raises ConnectRefused when the door hangs up."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(head)
        self._settle()
        return await self._answer

    def surplus(self) -> bytes:
        return bytes(self._buffer)

    def _settle(self) -> None:
        if self._answer is None or self._answer.done():
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end >= 0:
            self._answer.set_result(bytes(self._buffer[: end + 4]))
            del self._buffer[: end + 4]
        elif self._lost or len(self._buffer) > _HEAD_LIMIT:
            self._answer.set_exception(ConnectRefused(Reason.UNREACHABLE))


async def _reach(address: Address) -> tuple[asyncio.Transport, _Knock]:
    loop = asyncio.get_running_loop()
    try:
        if isinstance(address, str):
            return await loop.create_unix_connection(_Knock, address)
        return await loop.create_connection(_Knock, *address)
    except OSError as error:
        raise ConnectRefused(Reason.UNREACHABLE) from error


async def _prove(knock: _Knock, key: str, port: int) -> bytes:
    g = secrets.token_hex(16)
    line = f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n"
    answer = await knock.ask(f"{line}Door-Challenge: {g}\r\n\r\n".encode())
    fields = {name.lower(): value.decode() for name, value in _FIELD.findall(answer)}
    d, given = fields.get(b"challenge", ""), fields.get(b"proof", "")
    if _status(answer) != 407 or len(d) != 32 or not proven(given, key, "door", g, d, port):
        raise ConnectRefused(Reason.NOT_THIS_SANDBOX)
    answer = await knock.ask(f"{line}Door-Proof: {proof(key, 'gateway', g, d, port)}\r\n\r\n".encode())
    status = _status(answer)
    if status != 200:
        raise ConnectRefused(_REFUSED.get(status, Reason.UNREACHABLE))
    return knock.surplus()


def _status(head: bytes) -> int:
    match = _STATUS.match(head)
    return int(match.group(1)) if match else 0
