"""One socket of a pair that passes bytes, with the backpressure between the two."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from typing import Final, cast

HIGH_WATER: Final = 256 * 1024
"""Bytes that may wait to be written before the peer stops being read. One read (256 KB) can come on top."""
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)
"""Linux has it. It is forgotten as soon as something is sent."""


class Side(asyncio.Protocol):
    """One end of a relay: what it reads is written to ``peer``, and never faster than the peer can write.

    Two plain Sides whose ``peer`` is each other are a whole TCP relay with half-close, such as a CONNECT
    tunnel. Link them before either reads. ``write``, ``close`` and ``abort`` may be called at any time,
    however dead the socket is. A transport that another protocol had before may be handed over: call
    ``connection_made`` with it, then ``data_received`` with what was read already.
    """

    __slots__ = ("_mark", "ended", "full", "held", "open", "peer", "transport")

    def __init__(self) -> None:
        self.peer: Side | None = None
        self.open = False
        self.full = False
        self.held = False
        self.ended = False
        self._mark = (0, 0.0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        self.open = True

    def data_received(self, data: bytes) -> None:
        if self.peer:
            self.peer.write(data)

    def eof_received(self) -> bool:
        """Passes the end of this direction on; the socket stays open for the other direction."""
        self.ended = True
        if self.peer is None or self.peer.ended:
            return False
        self.peer.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        peer, self.peer = self.peer, None
        if peer:
            peer.peer = None
            peer.close()

    def pause_writing(self) -> None:
        self.full = True
        if self.peer:
            self.peer.hold()

    def resume_writing(self) -> None:
        self.full = False
        if self.peer:
            self.peer.release()

    def may_read(self) -> bool:
        """Whether nothing speaks against reading on; ``release`` asks, as it is called for many reasons."""
        return self.peer is None or not self.peer.full

    def hold(self) -> None:
        """Stop reading."""
        if self.open and not self.held:
            self.held = True
            self.transport.pause_reading()

    def release(self) -> None:
        """Read on, if nothing else speaks against it."""
        if self.held and self.open and self.may_read():
            self.held = False
            self.transport.resume_reading()

    def write(self, *parts: bytes) -> None:
        """Send, if the socket still can: uvloop raises where asyncio is silent."""
        if self.open:
            try:
                if len(parts) == 1:
                    self.transport.write(parts[0])
                else:
                    self.transport.writelines(parts)
            except RuntimeError:
                self.open = False

    def write_eof(self) -> None:
        if self.open and self.transport.can_write_eof():
            try:
                self.transport.write_eof()
            except (RuntimeError, OSError):
                self.abort()

    def close(self) -> None:
        """Close once everything written is on its way."""
        if self.open:
            self.open = False
            self.transport.close()

    def abort(self) -> None:
        """Close now; what is not sent yet is dropped."""
        self.open = False
        if hasattr(self, "transport"):
            self.transport.abort()

    def reset(self) -> None:
        """Close with a RST, so that the other end sees an error where an end would look like success."""
        raw = self.transport.get_extra_info("socket")
        if raw is not None and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def acknowledge(self) -> None:
        """Tell the other end at once that what was read has arrived: where it leaves Nagle's algorithm on, it
        sends the rest only then, and the kernel would take 40 ms.
        """
        raw = self.transport.get_extra_info("socket")
        if self.open and raw is not None and raw.family != socket.AF_UNIX and _QUICKACK is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def unsent(self) -> int:
        """Bytes that were written and that the other end's kernel does not have yet."""
        waiting = self.transport.get_write_buffer_size()
        raw = self.transport.get_extra_info("socket")
        try:
            queued = fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        except (OSError, AttributeError, ValueError):
            return waiting
        return waiting + int.from_bytes(queued, "little")

    def stalled(self, now: float, seconds: float) -> bool:
        """Whether ``unsent`` bytes have not moved for this long. To be asked again and again."""
        unsent = self.unsent()
        if unsent != self._mark[0]:
            self._mark = (unsent, now)
        return unsent > 0 and now - self._mark[1] > seconds
