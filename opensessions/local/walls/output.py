"""What a sandbox prints: read so that it never blocks for long, kept as far as explaining its end needs."""

import os
import re
import select
import time
from threading import Lock

RING = 1024 * 1024
_CHUNK = 64 * 1024
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class Output:
    """The end of what came through a pipe, a megabyte at most. `drain` is for one thread, `tail` for any."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._bytes = bytearray()
        self._lock = Lock()

    def read_until(self, line: bytes, seconds: float) -> bool:
        """Read up to and with a line that we print ourselves. False: the pipe ended, or the time is over."""
        deadline = time.monotonic() + seconds
        seen = b""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while not seen.endswith(line):
            left = max(0.0, deadline - time.monotonic())
            byte = os.read(self._descriptor, 1) if poll.poll(left * 1000) else b""
            if not byte:
                self._keep(seen)
                return False
            seen += byte
        self._keep(seen.removesuffix(line))
        return True

    def drain(self) -> None:
        """Read to the end of the pipe. Whoever floods it waits for us, at some 50 MB/s."""
        while chunk := os.read(self._descriptor, _CHUNK):
            self._keep(chunk)
            if len(chunk) == _CHUNK:
                time.sleep(0.001)

    def size(self) -> int:
        """Bytes kept."""
        return len(self._bytes)

    def tail(self, lines: int = 5, characters: int = 600) -> str:
        """The last lines, without control characters."""
        with self._lock:
            end = bytes(self._bytes[-8 * characters :])
        kept = [_CONTROL.sub("", line) for line in end.decode(errors="replace").splitlines()]
        return "\n".join([line for line in kept if line.strip()][-lines:])[-characters:]

    def _keep(self, chunk: bytes) -> None:
        with self._lock:
            self._bytes += chunk
            if len(self._bytes) > RING:
                del self._bytes[: -RING // 2]
