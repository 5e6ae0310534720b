"""The server name in a TLS ClientHello, read without taking part in the handshake."""

from __future__ import annotations

LONGEST = 64 * 1024
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME = 22, 1, 0


class Incomplete(Exception):
    """The ClientHello is not whole yet; read on."""


class NotTls(Exception):
    """These bytes are no ClientHello."""


class _Cursor:
    """Takes fields off the front of bytes; raises NotTls when they are short."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) < count:
            raise NotTls
        self._at += count
        return piece

    def rest(self) -> bytes:
        return self._data[self._at :]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Cursor:
        """A part whose length, of `size` bytes, stands before it."""
        return _Cursor(self.take(self.number(size)))


def server_name(data: bytes) -> str | None:
    """The name that the client of this stream asks for, in lower case; None if it names none, or several.

    Raises Incomplete or NotTls.
    """
    hello = _Cursor(_handshake(data))
    hello.take(2 + 32)
    hello.vector(1)
    hello.vector(2)
    hello.vector(1)
    names = []
    extensions = hello.vector(2) if hello else _Cursor(b"")
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            names += _names(content.vector(2))
    return names[0] if len(names) == 1 else None


def _handshake(data: bytes) -> bytes:
    """The body of the ClientHello that the records at the start of `data` carry."""
    message = b""
    at = 0
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        record = data[at : at + 5]
        if record[:1] not in (b"", b"\x16") or (len(record) > 1 and record[1] != 3):
            raise NotTls
        size = int.from_bytes(record[3:5], "big")
        if len(record) == 5 and not 0 < size <= 1 << 14:
            raise NotTls
        if len(record) < 5 or len(data) < at + 5 + size:
            raise Incomplete
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
        if message[0] != _CLIENT_HELLO or len(message) > LONGEST:
            raise NotTls
    return message[4 : 4 + int.from_bytes(message[1:4], "big")]


def _names(entries: _Cursor) -> list[str]:
    names = []
    while entries:
        kind, name = entries.number(1), entries.vector(2)
        if kind != 0:
            raise NotTls
        names.append(name.rest().decode("ascii", "replace").lower())
    return names
