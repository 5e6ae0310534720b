"""Two connections made one: bytes pass blindly both ways, at the pace of the slower reader."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import cast

HIGH_WATER = 256 * 1024
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class End(asyncio.Protocol):
    """One of two ends. What it receives its peer sends; a half-close is passed on; both close together."""

    def __init__(self) -> None:
        self.peer: End = self
        self.transport: asyncio.Transport
        self._ended = False

    def join(self, peer: "End") -> None:
        self.peer, peer.peer = peer, self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self.peer.transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        peer = self.peer.transport
        if not peer.is_closing():
            peer.write_eof()
        if self.peer._ended:
            self.transport.close()
            peer.close()
        return True

    def pause_writing(self) -> None:
        self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.peer.transport.close()
        else:
            self.peer.transport.abort()


class Upstream(End):
    """The far end, while it is being connected: `opened` is called before any of its bytes pass."""

    def __init__(self, near: End, opened: Callable[[], None]) -> None:
        super().__init__()
        self._near, self._opened = near, opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._near.transport.is_closing():
            self.transport.abort()
        else:
            self.join(self._near)
            self._opened()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # An app that leaves Nagle's algorithm on sends the rest only once this much is acknowledged, which
        # the kernel puts off by 40 ms after every request.
        if _QUICKACK is not None and not self.transport.is_closing():
            with suppress(OSError):
                self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
