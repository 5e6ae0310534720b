"""Trees on disk, what is in them, and archives of them, made and unpacked by the real processes."""

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opensessions.archives import PART_BYTES, Part, Source
from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.processes import Packed, Packing, Unpacking

LIMIT = 10**9
_ZEROS = "0" * 64


@dataclass
class Archive:
    data: bytes
    packed: Packed

    @property
    def size(self) -> int:
        return self.packed.size

    @property
    def files(self) -> int:
        return self.packed.files


def pack(root: Path, kind: str = "full", limit: int = LIMIT) -> Archive:
    """An archive. Raises ArchiveFailed."""
    with closing(Packing(root, kind, limit)) as packing:
        parts = []
        while part := packing.part():
            parts.append(bytes(part))
        return Archive(b"".join(parts), packing.packed())


def unpack(root: Path, data: bytes, size: int, files: int, kind: Any = "full") -> None:
    """Raises ArchiveFailed."""
    parts = [Part(size=min(len(data), PART_BYTES), sha256=_ZEROS)]
    source = Source(id="0" * 32, kind=kind, parts=parts, bytes=size, files=files)
    with closing(Unpacking(root, source)) as unpacking:
        unpacking.take(memoryview(data))
        unpacking.end()


def snapshot(root: Path) -> dict[str, tuple[Any, ...]]:
    """Everything beneath a folder: kind, mode, time, and the content's checksum or the link's target."""
    found: dict[str, tuple[Any, ...]] = {}
    with Descent(root) as at:
        pending: list[tuple[int, str]] = [(0, "")]
        while pending:
            depth, name = pending.pop()
            if depth:
                at.rise(depth - 1)
                at.down(name)
            for each in (entry.name for entry in at.entries()):
                about = os.stat(each, dir_fd=at.fd, follow_symlinks=False)
                found["/".join([*at.names, each])] = _told(each, at.fd, about)
                if stat.S_ISDIR(about.st_mode):
                    pending.append((depth + 1, each))
    return found


def _told(name: str, folder: int, about: os.stat_result) -> tuple[Any, ...]:
    if stat.S_ISLNK(about.st_mode):
        return "link", about.st_mtime_ns, os.readlink(name, dir_fd=folder)
    known = stat.filemode(about.st_mode), about.st_mtime_ns
    if not stat.S_ISREG(about.st_mode):
        return known
    fd = os.open(name, os.O_RDONLY, dir_fd=folder)
    with os.fdopen(fd, "rb") as file:
        return (*known, hashlib.file_digest(file, "sha256").hexdigest())


@contextmanager
def nested(root: Path, levels: int) -> Iterator[None]:
    """So many folders within one another, with a file in each. They are removed in the end, because what
    cleans up after tests cannot.
    """
    try:
        with Descent(root) as at:
            for _ in range(levels):
                at.go([*at.names, "d"], make=True)
                os.close(os.open("f", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=at.fd))
        yield
    finally:
        subprocess.run(["rm", "-rf", str(root)], check=True)
