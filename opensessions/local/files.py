"""The blob store of one machine: files in a folder."""

import os
import re
import tempfile
from pathlib import Path

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class FileBlobs:
    """A `ports.BlobStore`. Creates the folder, readable by its owner alone. Raises ValueError for a key that
    is not made of plain names (letters, digits, `.`, `_`, `-`; no leading dot) and single slashes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        _make(folder)

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        _make(path.parent)
        with tempfile.NamedTemporaryFile(prefix=".", dir=path.parent, delete=False) as part:
            try:
                part.write(data)
                part.flush()
                os.fsync(part.fileno())
                Path(part.name).replace(path)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
        _sync(path.parent)

    def get(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            return None

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key: plain names, parted by single slashes")
        return self._folder / key


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    """A name in a folder outlives a power cut only once the folder itself is on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
