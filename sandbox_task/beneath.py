"""Files beneath a folder, opened without following a link anywhere on the way, however they are swapped
meanwhile. The agent can plant anything in its workspace: links, pipes, devices, files without an end.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def parts(path: str) -> tuple[str, ...]:
    """The names of a relative path. Raises ValueError for one that is absolute, empty or has `..`."""
    names = PurePosixPath(path).parts
    if not names or path.startswith("/") or ".." in names or "\0" in path or "\\" in path:
        raise ValueError(f"{path!r} is not a plain relative path.")
    return names


@contextmanager
def _folder(root: Path, names: tuple[str, ...], make: bool = False) -> Iterator[int]:
    fd = os.open(root, _FOLDER)
    try:
        for name in names:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=fd)
            below = os.open(name, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def make_folder(root: Path, path: str) -> None:
    """Make a folder and those above it. Raises OSError where something else is in the way."""
    with _folder(root, parts(path), make=True):
        pass


def write(root: Path, path: str, text: str) -> None:
    """Write a new file with the folders it needs; what was there is replaced, not written through.

    Raises OSError or ValueError.
    """
    *folders, name = parts(path)
    with _folder(root, tuple(folders), make=True) as fd:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=fd)
        with os.fdopen(os.open(name, _WRITE, 0o644, dir_fd=fd), "w", encoding="utf-8") as file:
            file.write(text)


def read(root: Path, path: str, limit: int) -> bytes | None:
    """The bytes of a regular file of at most `limit` bytes, or None for anything else."""
    try:
        *folders, name = parts(path)
        with _folder(root, tuple(folders)) as fd:
            file = os.open(name, _READ, dir_fd=fd)
        with os.fdopen(file, "rb") as opened:
            about = os.fstat(opened.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_size > limit:
                return None
            data = opened.read(limit + 1)
            return data if len(data) <= limit else None
    except (OSError, ValueError):
        return None


def is_file(root: Path, path: str) -> bool:
    """Whether a regular file is there."""
    try:
        *folders, name = parts(path)
        with _folder(root, tuple(folders)) as fd:
            return stat.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
    except (OSError, ValueError):
        return False


def names(root: Path, path: str = "") -> set[str]:
    """The names in a folder (`path` empty: `root` itself), empty when there is none."""
    try:
        with _folder(root, parts(path) if path else ()) as fd:
            listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            with os.scandir(listing) as entries:
                return {entry.name for entry in entries}
        finally:
            os.close(listing)
    except (OSError, ValueError):
        return set()
