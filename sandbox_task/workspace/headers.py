"""What stands before each entry of an archive: a pax header with what does not fit elsewhere, and its own.

As `tarfile` makes them, ten times faster, which counts with a hundred thousand files.
"""

import os
from functools import lru_cache
from struct import Struct
from tarfile import XHDTYPE
from typing import Final

BLOCK: Final = 512
_FIELDS = Struct("100s8s8s8s12s12s8sc100s8s32x32x16x155x12x")
_FITS = 100
_MOST_OCTAL = 8**11 - 1
_MOST_SECONDS = 10**11 - 1


def header(path: str, kind: bytes, size: int, mode: int, mtime: int, target: str = "") -> bytes:
    """For an entry of one of tarfile's kinds; `mtime` in nanoseconds."""
    name, link = os.fsencode(path), os.fsencode(target)
    seconds, rest = divmod(abs(mtime), 10**9)
    seconds = min(seconds, _MOST_SECONDS)
    records = _record(b"mtime", b"%s%d.%09d" % (b"-" if mtime < 0 else b"", seconds, rest))
    records += _long(b"path", name) + _long(b"linkpath", link)
    if size > _MOST_OCTAL:
        records += _record(b"size", b"%d" % size)
    whole = min(seconds, _MOST_OCTAL) if mtime >= 0 else 0
    return b"".join(
        (
            _pax(len(records)),
            records,
            bytes(-len(records) % BLOCK),
            _block(name, kind, min(size, _MOST_OCTAL), mode, whole, link),
        )
    )


def _long(key: bytes, value: bytes) -> bytes:
    """A record for what is too long for its field, or more than ASCII; those who read know it as UTF-8."""
    if len(value) <= _FITS and value.isascii():
        return b""
    try:
        value.decode()
        return _record(key, value)
    except UnicodeDecodeError:
        return _record(b"hdrcharset", b"BINARY") + _record(key, value)


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" %s=%s\n" % (key, value)
    size = len(rest) + len(str(len(rest)))
    if len(str(size)) > len(str(len(rest))):
        size += 1
    return b"%d%s" % (size, rest)


@lru_cache(maxsize=1024)
def _pax(size: int) -> bytes:
    return _block(b"././@PaxHeader", XHDTYPE, size, 0o644, 0, b"")


def _block(name: bytes, kind: bytes, size: int, mode: int, mtime: int, target: bytes) -> bytes:
    numbers = b"%07o\0" % mode, b"0000000\0", b"0000000\0", b"%011o\0" % size, b"%011o\0" % mtime
    block = _FIELDS.pack(name, *numbers, b" " * 8, kind, target, b"ustar\x0000")
    return b"%s%06o\0 %s" % (block[:148], sum(block), block[156:])
