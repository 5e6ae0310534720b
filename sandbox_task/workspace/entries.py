"""The entries of an archive as they are read: a compressed tar from anybody, taken with suspicion.

Only files, folders and symbolic links are known, with names and times as pax headers have them. All else
that tars can have (hard links, devices, pipes, sparse files, headers that hold for all) is refused by name,
so that no memory or time can be had from it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from tarfile import (
    AREGTYPE,
    BLKTYPE,
    CHRTYPE,
    DIRTYPE,
    FIFOTYPE,
    LNKTYPE,
    REGTYPE,
    SYMTYPE,
    XHDTYPE,
    HeaderError,
    TarInfo,
)
from typing import BinaryIO, Literal

from sandbox_task.workspace.bounds import MOST_DEPTH, MOST_LINK, MOST_NAMES, MOST_PATH, readable, shown
from sandbox_task.workspace.compression import UNPACKING, zstd

_BLOCK = 512
_MOST_PAX = 2 * MOST_PATH
_OVERHEAD = 6 * _BLOCK
"""What an entry may take in a tar beside its content and its name."""
_KINDS: dict[bytes, Literal["file", "folder", "link"]] = {
    REGTYPE: "file", AREGTYPE: "file", DIRTYPE: "folder", SYMTYPE: "link"
}  # fmt: skip
_REFUSED = {
    LNKTYPE: "a hard link", CHRTYPE: "a device", BLKTYPE: "a device", FIFOTYPE: "a pipe",
    b"S": "a sparse file", b"g": "a header for all entries",
}  # fmt: skip
_TIME = re.compile(r"(-?)(\d{1,11})(?:\.(\d{1,9})\d*)?", re.ASCII)
_SIZE = re.compile(r"\d{1,15}", re.ASCII)


class Refused(Exception):
    """The archive is not what it should be; the text says which entry, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`mtime` is in nanoseconds, `target` is a link's."""

    path: str
    kind: Literal["file", "folder", "link"]
    size: int
    mode: int
    mtime: int
    target: str = ""


class Stream:
    """What is inside a compressed stream, at most `files` entries with `size` bytes in all.

    That is also the bound of what it unpacks to, headers and all: there is none on the ratio, since an honest
    file of zeros has any.
    """

    def __init__(self, source: BinaryIO, size: int, files: int) -> None:
        self._inside = zstd.ZstdFile(source, options=UNPACKING)
        self._left = size + files * _OVERHEAD + 2 * MOST_NAMES
        self._size, self._files = size, files

    def take(self, size: int) -> bytes:
        """Exactly so many bytes. Raises Refused."""
        self._left -= size
        if self._left < 0:
            raise Refused("The archive unpacks to more than it says.")
        try:
            data: bytes = self._inside.read(size)
            while len(data) < size and (more := self._inside.read(size - len(data))):
                data += more
        except (zstd.ZstdError, EOFError) as error:
            raise Refused(f"The archive is damaged: {error}.") from None
        if len(data) < size:
            raise Refused("The archive ends in the middle of an entry.")
        return data

    def entries(self) -> Iterator[Entry]:
        """Entry by entry; the content of a file (`size` bytes) must be taken before the next is asked for."""
        size = files = names = 0
        while entry := self._entry():
            files, size = files + 1, size + entry.size
            names += _length(entry.path) + _length(entry.target) + 1
            if names > MOST_NAMES:
                raise Refused(f"The paths in the archive have more than {readable(MOST_NAMES)}.")
            if files > self._files or size > self._size:
                raise Refused(
                    f"The archive has more than the {self._files:,} entries with {readable(self._size)} that "
                    f"it says: {shown(entry.path)} is beyond."
                )
            yield entry
            self.take(-entry.size % _BLOCK)
        if (files, size) != (self._files, self._size):
            raise Refused(
                f"The archive has {files:,} entries with {size:,} bytes instead of {self._files:,} with "
                f"{self._size:,}."
            )

    def _entry(self) -> Entry | None:
        fields: dict[str, str] = {}
        head = self._head()
        if head is not None and head.type == XHDTYPE:
            if not 0 <= head.size <= _MOST_PAX:
                raise Refused(f"A header of the archive has {readable(head.size)}.")
            fields = _fields(self.take(head.size + -head.size % _BLOCK)[: head.size])
            head = self._head()
            if head is None:
                raise Refused("The archive ends after a header.")
        return _entry(head, fields) if head else None

    def _head(self) -> TarInfo | None:
        block = self.take(_BLOCK)
        if not any(block):
            return None
        try:
            return _parsed(block)
        except (HeaderError, ValueError) as error:
            raise Refused(f"The archive is damaged: {error}.") from None


@lru_cache(maxsize=64)
def _parsed(block: bytes) -> TarInfo:
    """Every other header is a pax header that others were, too."""
    return TarInfo.frombuf(block, "utf-8", "surrogateescape")


def _fields(data: bytes) -> dict[str, str]:
    """The records `<length> <key>=<value>\\n` of a pax header."""
    fields, start = {}, 0
    while start < len(data):
        digits, space, _ = data[start : start + 8].partition(b" ")
        end = start + int(digits) if space and digits.isdigit() else 0
        record = data[start + len(digits) + 1 : end - 1]
        if end <= start or end > len(data) or data[end - 1] != 0x0A or b"=" not in record:
            raise Refused("The archive is damaged: a header of it cannot be read.")
        key, _, value = record.partition(b"=")
        fields[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        start = end
    return fields


def _entry(head: TarInfo, fields: dict[str, str]) -> Entry:
    path = fields.get("path", head.name)
    if any(key.startswith("GNU.sparse.") for key in fields):
        raise Refused(f"{shown(path)} in the archive is a sparse file.")
    if head.type not in _KINDS:
        what = _REFUSED.get(head.type, f"of an unknown kind ({ascii(head.type)[1:]})")
        raise Refused(f"{shown(path)} in the archive is {what}.")
    kind = _KINDS[head.type]
    size = _number(fields["size"], path) if "size" in fields else head.size
    if size < 0 or (size and kind != "file"):
        raise Refused(f"{shown(path)} in the archive has an impossible size.")
    mtime = _time(fields["mtime"], path) if "mtime" in fields else int(head.mtime) * 10**9
    target = fields.get("linkpath", head.linkname) if kind == "link" else ""
    if kind == "link":
        _check_target(path, target)
    return Entry(_plain(path), kind, size, head.mode & 0o777, mtime, target)


def _plain(path: str) -> str:
    """A path without an end of its own, and with nothing in it but names."""
    if path.startswith("/"):
        raise Refused(f"{shown(path)} in the archive is absolute.")
    plain = path.removesuffix("/")
    around = f"/{plain}/"
    if any(odd in around for odd in ("//", "/./", "/../", "\0")):
        raise Refused(f"{shown(path)} in the archive is no plain path.")
    if plain.count("/") >= MOST_DEPTH or _length(plain) > MOST_PATH:
        raise Refused(f"{shown(path)} in the archive is too long or too deep.")
    return plain


def _length(text: str) -> int:
    """Bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


def _check_target(path: str, target: str) -> None:
    if not 0 < _length(target) <= MOST_LINK or "\0" in target:
        raise Refused(f"{shown(path)} in the archive is a link to nowhere.")


def _number(text: str, path: str) -> int:
    if not _SIZE.fullmatch(text):
        raise Refused(f"{shown(path)} in the archive has an impossible size.")
    return int(text)


def _time(text: str, path: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise Refused(f"{shown(path)} in the archive has an impossible time.")
    sign, seconds, rest = found.groups()
    return (-1 if sign else 1) * (int(seconds) * 10**9 + int((rest or "").ljust(9, "0")))
