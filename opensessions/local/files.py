"""The blob store of one machine: files in a folder."""

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_NOT_LINKED = {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP}
"""The folder is on several disks, a file has all the names it may have, or there are no hard links."""


class FileBlobs:
    """A `ports.BlobStore`. Creates the folder, readable by its owner alone. Raises ValueError for a key or
    prefix that is not made of plain names (letters, digits, `.`, `_`, `-`; no leading dot) and single
    slashes.

    A file never changes: it is replaced by another. So a copy is the same file under a further name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        _make(folder)

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        while True:
            with suppress(FileNotFoundError):  # a delete took the folder away, because it was empty
                _place(path, lambda part: _write(part, data))
                _sync(path.parent)
                return

    def get(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except _NO_FILE:
            return None

    def size(self, key: str) -> int | None:
        try:
            found = self._path(key).stat()
        except _NO_FILE:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def names(self, prefix: str) -> list[str]:
        try:
            entries = sorted(self._path(prefix).iterdir())
        except _NO_FILE:
            return []
        return [entry.name for entry in entries if next(_files(entry), None)]

    def copy(self, source: str, target: str) -> None:
        beneath, into = self._path(source), self._path(target)
        folders = set()
        for file in _files(beneath) if beneath.is_dir() else ():
            path = into / file.relative_to(beneath)
            folders.add(path.parent)
            while file.exists():
                with suppress(FileNotFoundError):
                    _place(path, lambda part, file=file: _link(file, part))  # type: ignore[misc]
                    break
        for folder in folders:
            with suppress(FileNotFoundError):
                _sync(folder)

    def delete(self, prefix: str) -> None:
        """Takes folders away that are empty after it."""
        path = self._path(prefix)
        if path.is_file():
            path.unlink(missing_ok=True)
        for folder, _, names in os.walk(path, topdown=False):
            for name in names:
                Path(folder, name).unlink(missing_ok=True)
            _take_away(Path(folder))
        parent = path.parent
        while parent != self._folder and _take_away(parent):
            parent = parent.parent
        with suppress(FileNotFoundError):
            _sync(parent)

    def upload_url(self, key: str, size: int, sha256: str) -> None:
        self._path(key)

    def download_url(self, key: str) -> None:
        self._path(key)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key: plain names, parted by single slashes")
        return self._folder / key


def _files(path: Path) -> Iterator[Path]:
    """The file, or all that lie beneath the folder, without those that are being written."""
    if path.is_file() and not path.name.startswith("."):
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _place(path: Path, make: Callable[[Path], None]) -> None:
    """Have a file made beside `path`, and put it there. Raises FileNotFoundError if the folder goes away."""
    _make(path.parent)
    part = path.parent / f".{secrets.token_hex(8)}"
    try:
        make(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # it stays where both were names of one file already


def _write(part: Path, data: bytes) -> None:
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _link(file: Path, part: Path) -> None:
    try:
        part.hardlink_to(file)
    except OSError as error:
        if error.errno not in _NOT_LINKED:
            raise
        _write(part, file.read_bytes())


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync(folder.parent)


def _take_away(folder: Path) -> bool:
    """Whether the folder is gone now, because it was empty."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _sync(folder: Path) -> None:
    """A name in a folder outlives a power cut only once the folder itself is on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
