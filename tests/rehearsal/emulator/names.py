"""A name server in small: A records, of what it is told."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

Known = Callable[[str], Iterable[str] | None]
"""The addresses of a name; None when there is no such name."""

_A = 1
_ANSWER, _NO_SUCH_NAME = 0x8180, 0x8183


async def serve(listener: socket.socket, known: Known) -> asyncio.DatagramTransport:
    """Answer what comes to a datagram socket, until the transport is closed."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Server(known), sock=listener)
    return transport


class _Server(asyncio.DatagramProtocol):
    def __init__(self, known: Known) -> None:
        self._known = known

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        try:
            name, kind, end = _question(data)
        except (IndexError, struct.error, UnicodeDecodeError):
            return
        addresses = self._known(name)
        found = list(addresses or ()) if kind == _A else []
        flags = _NO_SUCH_NAME if addresses is None else _ANSWER
        head = data[:2] + struct.pack(">HHHHH", flags, 1, len(found), 0, 0)
        records = [b"\xc0\x0c" + struct.pack(">HHIH", _A, 1, 10, 4) + socket.inet_aton(ip) for ip in found]
        self._transport.sendto(b"".join([head, data[12:end], *records]), address)


def _question(data: bytes) -> tuple[str, int, int]:
    """The name in lower case, the type, and where the question ends."""
    labels, at = [], 12
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    [kind] = struct.unpack(">H", data[at + 1 : at + 3])
    return ".".join(labels), kind, at + 5
