"""Tars of a test's own making, entry by entry, well or badly made."""

from tarfile import DIRTYPE, GNU_FORMAT, LNKTYPE, REGTYPE, SYMTYPE, XHDTYPE, TarInfo

from sandbox_task.workspace.compression import zstd

BLOCK = 512
END = bytes(2 * BLOCK)


def head(name: str, kind: bytes = REGTYPE, size: int = 0, target: str = "", mode: int = 0o644) -> bytes:
    """One block. No check is made that tarfile would make."""
    info = TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, size, target, mode
    info.uid, info.uname = 0, "root"
    return info.tobuf(GNU_FORMAT, "utf-8", "surrogateescape")[-BLOCK:]


def file(name: str, data: bytes = b"", mode: int = 0o644) -> bytes:
    return head(name, REGTYPE, len(data), mode=mode) + padded(data)


def folder(name: str, mode: int = 0o755) -> bytes:
    return head(name, DIRTYPE, mode=mode)


def link(name: str, target: str) -> bytes:
    return head(name, SYMTYPE, target=target)


def hard(name: str, target: str) -> bytes:
    return head(name, LNKTYPE, target=target)


def pax(**fields: str | bytes) -> bytes:
    """A header for the next entry; `__` in a name is a dot."""
    records = b""
    for key, value in fields.items():
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        rest = b" " + key.replace("__", ".").encode() + b"=" + raw + b"\n"
        size = len(rest)
        while size != len(rest) + len(str(size)):
            size = len(rest) + len(str(size))
        records += str(size).encode() + rest
    return raw_pax(records)


def raw_pax(records: bytes, kind: bytes = XHDTYPE) -> bytes:
    return head("pax", kind, len(records)) + padded(records)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def with_size(block: bytes, field: bytes) -> bytes:
    """A header whose size is this field of 12 bytes."""
    changed = block[:124] + field + block[136:148] + b" " * 8 + block[156:]
    return changed[:148] + f"{sum(changed):06o}\0 ".encode() + changed[156:]


def packed(*blocks: bytes) -> bytes:
    return zstd.compress(b"".join(blocks) + END)
