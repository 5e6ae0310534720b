"""A `.tar.gz` for people, as it is made. What belongs to the machine it comes from is not in it."""

import zlib
from tarfile import DIRTYPE, PAX_FORMAT, REGTYPE, SYMTYPE, TarInfo
from typing import Final

_LEVEL: Final = 4
_GZIP: Final = 31
_BLOCK: Final = 512
_TYPES: Final = {"file": REGTYPE, "folder": DIRTYPE, "link": SYMTYPE}


class Tarball:
    """Each call returns what can be sent by now, often nothing."""

    def __init__(self) -> None:
        self._gzip = zlib.compressobj(_LEVEL, wbits=_GZIP)
        self._size = 0

    def entry(
        self, path: str, kind: str, mtime: int, *, size: int = 0, mode: int = 0, target: str = ""
    ) -> bytes:
        """Begin a "file", "folder" or "link". A file's `size` bytes must follow, and `close_file`."""
        info = TarInfo(path)
        info.type, info.size, info.mtime, info.linkname = _TYPES[kind], size, max(mtime, 0), target
        info.mode = 0o777 if kind == "link" else 0o755 if kind == "folder" or mode & 0o100 else 0o644
        self._size = size
        return self._gzip.compress(info.tobuf(PAX_FORMAT, "utf-8", "surrogateescape"))

    def data(self, data: bytes) -> bytes:
        """Bytes of the file that was begun."""
        return self._gzip.compress(data)

    def close_file(self) -> bytes:
        """The file's bytes have all been given."""
        return self._gzip.compress(bytes(-self._size % _BLOCK))

    def end(self) -> bytes:
        return self._gzip.compress(bytes(2 * _BLOCK)) + self._gzip.flush()
