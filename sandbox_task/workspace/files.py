"""The files of a live workspace, for its user: listed, read, and replaced.

Whatever is planted or swapped meanwhile, no link is followed, and only regular files with one name are read.
"""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.paths import HIDDEN, MOST_LISTED, is_plain

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_STAGE = ".opensessions"
_MOST_SEEN = 50_000


class Entry(NamedTuple):
    """Something in a folder. `kind` is "file", "folder" or "link"; a file with several names counts as a
    link. `modified` is in milliseconds.
    """

    name: str
    kind: str
    size: int
    modified: int


def listing(root: Path, names: Sequence[str]) -> tuple[list[Entry], bool]:
    """What is in a folder, in no order, and whether there is more. Names that are not plain, and what is
    neither file nor folder nor link, are left out. Raises OSError.
    """
    found: list[Entry] = []
    with Descent(root) as at:
        at.go(list(names))
        for number, entry in enumerate(at.entries()):
            if len(found) == MOST_LISTED or number == _MOST_SEEN:
                return found, True
            if not is_plain(entry.name) or (not names and entry.name in HIDDEN):
                continue
            with suppress(FileNotFoundError):
                about = entry.stat(follow_symlinks=False)
                if kind := _kind(about):
                    size = about.st_size if kind == "file" else 0
                    found.append(Entry(entry.name, kind, size, about.st_mtime_ns // 10**6))
    return found, False


def _kind(about: os.stat_result) -> str:
    if stat.S_ISREG(about.st_mode):
        return "file" if about.st_nlink == 1 else "link"
    if stat.S_ISDIR(about.st_mode):
        return "folder"
    return "link" if stat.S_ISLNK(about.st_mode) else ""


class Opened:
    """A file that is open for reading; close it. `tag` changes when the file does."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        """Raises OSError, also for whatever is no regular file, and for one that has other names."""
        with Descent(root) as at:
            at.go(list(names[:-1]))
            self.fd = os.open(names[-1], _READ, dir_fd=at.fd)
        about = os.fstat(self.fd)
        if _kind(about) != "file":
            self.close()
            raise FileNotFoundError(errno.ENOENT, "This is no file with one name", names[-1])
        self.size = about.st_size
        known = f"{about.st_dev} {about.st_ino} {about.st_size} {about.st_mtime_ns}"
        self.tag = hashlib.sha256(known.encode()).hexdigest()[:32]

    def read(self, start: int, most: int) -> bytes:
        """At most so many bytes from a place on; empty at the end."""
        return os.pread(self.fd, most, start)

    def close(self) -> None:
        os.close(self.fd)


class Replacement:
    """A file that is going to be at a path, all at once: `write` as often as needed, then `put`; `close` in
    any case. All raise OSError.

    It is made aside, so that who watches the folder sees it only once it is whole.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root, self._names = root, names
        self._aside = Descent(root)
        self._name = f"put-{secrets.token_hex(8)}"
        try:
            self._aside.go([_STAGE], make=True)
            self._fd = os.open(self._name, _WRITE, 0o600, dir_fd=self._aside.fd)
        except BaseException:
            self._aside.__exit__(None, None, None)
            raise

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]

    def put(self) -> None:
        """Make the folders that are missing and put the file there, in place of a file, with its mode, or of
        a link. Raises IsADirectoryError where a folder is.
        """
        *folders, name = self._names
        with Descent(self._root) as at:
            at.go(folders, make=True)
            os.fchmod(self._fd, _mode(name, at.fd))
            os.replace(self._name, name, src_dir_fd=self._aside.fd, dst_dir_fd=at.fd)

    def close(self) -> None:
        os.close(self._fd)
        with suppress(OSError):
            os.unlink(self._name, dir_fd=self._aside.fd)
        self._aside.__exit__(None, None, None)


def _mode(name: str, folder: int) -> int:
    try:
        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0o644
    return stat.S_IMODE(about.st_mode) & 0o777 if stat.S_ISREG(about.st_mode) else 0o644
