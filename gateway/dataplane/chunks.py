"""The chunked coding, taken off strictly and put on again: the framing that leaves is always ours."""

import re
from typing import Final

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]*)?")
_TRAILER = re.compile(
    rb"(?i:(?!content-length|transfer-encoding))[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*"
)
_LINE_LIMIT: Final = 4096
_TRAILERS_LIMIT: Final = 16 * 1024
_SIZE_LINE, _AFTER_DATA, _TRAILERS = range(3)

LAST: Final = b"0\r\n\r\n"


class BadChunk(Exception):
    """A chunked body that two readers could take for two things."""


def frame(payload: bytes, last: bool = False) -> bytes:
    """A chunk, and the last one after it if asked for. No payload makes no chunk."""
    chunk = b"%x\r\n%b\r\n" % (len(payload), payload) if payload else b""
    return chunk + LAST if last else chunk


class ChunkReader:
    """Reads one chunked body in pieces of any size. Trailers are judged and dropped."""

    __slots__ = ("_expects", "_left", "_part", "_trailers", "done")

    def __init__(self) -> None:
        self.done = False
        self._expects = _SIZE_LINE
        self._left = 0
        self._part = b""
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Returns the payload in ``data`` and, once ``done``, what follows the body. Raises BadChunk."""
        if self._part:
            data, self._part = self._part + data, b""
        payload: list[bytes] = []
        at = 0
        while not self.done:
            if self._left:
                piece = data[at : at + self._left]
                payload.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._expects = _AFTER_DATA
            end = data.find(b"\r\n", at)
            if end < 0:
                self._keep(data[at:])
                break
            self._line(data[at:end])
            at = end + 2
        rest = data[at:] if self.done else b""
        return payload[0] if len(payload) == 1 else b"".join(payload), rest

    def _keep(self, part: bytes) -> None:
        """Hold an unfinished line, unless it can no longer become a good one."""
        if len(part) > _LINE_LIMIT or b"\n" in part or b"\r" in part[:-1]:
            raise BadChunk("a line of the chunked coding does not end")
        if self._expects == _AFTER_DATA and part.strip(b"\r"):
            raise BadChunk("a chunk is longer than it says")
        self._part = part

    def _line(self, line: bytes) -> None:
        if self._expects == _AFTER_DATA:
            if line:
                raise BadChunk("a chunk is longer than it says")
            self._expects = _SIZE_LINE
        elif self._expects == _SIZE_LINE:
            size = _SIZE.fullmatch(line)
            if size is None or len(line) > _LINE_LIMIT:
                raise BadChunk("a chunk has no plain hexadecimal size")
            self._left = int(size[1], 16)
            if not self._left:
                self._expects = _TRAILERS
        elif line:
            self._trailers += len(line)
            if self._trailers > _TRAILERS_LIMIT or not _TRAILER.fullmatch(line):
                raise BadChunk("a trailer field is too long or malformed")
        else:
            self.done = True
