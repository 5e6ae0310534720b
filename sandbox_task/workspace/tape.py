"""A tar in the pax format as it is written: entry by entry, compressed, with the listing of what is in it."""

import json
import os
import stat
from tarfile import DIRTYPE, REGTYPE, SYMTYPE
from typing import BinaryIO

from sandbox_task.workspace.bounds import MOST_LINK, MOST_NAMES, TOO_MANY_NAMES, Excess, readable
from sandbox_task.workspace.compression import compressor, zstd
from sandbox_task.workspace.headers import BLOCK, header

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_CHUNK = 256 * 1024


class Tape:
    """Writes to `out`. `bytes` and `files` are what has been written: bytes of files, and entries of all
    kinds; `skipped` counts what could not be read or was gone.

    A file has the length here that it had when it was opened, whatever happens to it meanwhile; what it lacks
    is zeros. A hard link is a file of its own.
    """

    def __init__(self, out: BinaryIO, limit: int) -> None:
        self._out, self._limit = out, limit
        self._zstd = compressor()
        self._held = bytearray()
        self._listing = zstd.ZstdCompressor(level=3)
        self._listed: list[bytes] = []
        self.bytes = self.files = self.skipped = self._names = 0

    def folder(self, path: str, fd: int) -> None:
        """The folder that `fd` is."""
        self._entry(path, DIRTYPE, os.fstat(fd))

    def member(self, path: str, name: str, folder: int) -> None:
        """The file or link `name` in the folder that the descriptor is. Raises Excess."""
        try:
            fd = os.open(name, _READ, dir_fd=folder)
        except OSError:
            self._link(path, name, folder)
            return
        try:
            about = os.fstat(fd)
            if stat.S_ISREG(about.st_mode):
                self._file(path, fd, about)
            else:
                self.skipped += 1
        finally:
            os.close(fd)

    def end(self) -> None:
        """Complete the archive. Nothing can follow."""
        self._put(bytes(2 * BLOCK))
        self._write(self._zstd.compress(self._held, self._zstd.FLUSH_FRAME))
        self._listed.append(self._listing.flush())

    def listing(self) -> bytes:
        """The listing, once the archive is complete."""
        return b"".join(self._listed)

    def _link(self, path: str, name: str, folder: int) -> None:
        try:
            about = os.stat(name, dir_fd=folder, follow_symlinks=False)
            target = os.readlink(name, dir_fd=folder)
        except OSError:  # cannot be read, was taken away, or is a link no longer
            self.skipped += 1
            return
        if len(os.fsencode(target)) > MOST_LINK:
            self.skipped += 1
            return
        self._entry(path, SYMTYPE, about, target=target)

    def _file(self, path: str, fd: int, about: os.stat_result) -> None:
        if self.bytes + about.st_size > self._limit:
            raise Excess(f"The workspace grew beyond {readable(self._limit)} while it was packed.")
        left = about.st_size
        self._entry(path, REGTYPE, about, size=left)
        while left and (data := os.read(fd, min(left, _CHUNK))):
            self._put(data)
            left -= len(data)
        while left:
            self._put(bytes(min(left, _CHUNK)))
            left -= min(left, _CHUNK)
        self._put(bytes(-about.st_size % BLOCK))
        self.bytes += about.st_size

    def _entry(self, path: str, kind: bytes, about: os.stat_result, size: int = 0, target: str = "") -> None:
        self._names += len(os.fsencode(path)) + len(os.fsencode(target)) + 1
        if self._names > MOST_NAMES:
            raise Excess(TOO_MANY_NAMES)
        self._put(header(path, kind, size, about.st_mode & 0o777, about.st_mtime_ns, target))
        self.files += 1
        line = _ENCODER.encode([path, _KINDS[kind], size, about.st_mtime_ns // 10**9])
        self._listed.append(self._listing.compress(line.encode() + b"\n"))

    def _put(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= _CHUNK:
            self._write(self._zstd.compress(self._held))
            self._held = bytearray()

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._out.write(left) :]


_ENCODER = json.JSONEncoder(separators=(",", ":"))
_KINDS = {DIRTYPE: "d", REGTYPE: "f", SYMTYPE: "l"}
