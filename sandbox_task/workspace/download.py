"""A throw-away process that writes the user's files to its standard output, as a `.tar.gz`.

Its arguments are the workspace and the most bytes. When there is more, it ends with `TOO_LARGE` before the
first byte.
"""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from sandbox_task.workspace.bounds import Excess
from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.files import Opened
from sandbox_task.workspace.paths import stays
from sandbox_task.workspace.plans import planned
from sandbox_task.workspace.rules import is_users
from sandbox_task.workspace.tarball import Tarball

TOO_LARGE: Final = 3
_KINDNESS = 5
_MOST_ENTRIES = 200_000
_CHUNK = 256 * 1024


def main() -> None:
    root, limit = sys.argv[1:]
    os.nice(_KINDNESS)  # the user's own programs go first
    try:
        with os.fdopen(1, "wb") as out:
            _Download(Path(root), out).write(int(limit))
    except Excess:
        sys.exit(TOO_LARGE)
    except BrokenPipeError:
        sys.exit(1)


class _Download:
    def __init__(self, root: Path, out: BinaryIO) -> None:
        self._root, self._out = root, out
        self._tar = Tarball()

    def write(self, limit: int) -> None:
        with Descent(self._root) as at:
            for names, members in _users(self._root, limit):
                try:
                    at.go(names)
                except OSError:  # taken away, or something else is there now
                    continue
                if names:
                    self._put(self._tar.entry("/".join(names), "folder", int(os.fstat(at.fd).st_mtime)))
                for name in members:
                    self._member([*names, name], at)
        self._put(self._tar.end())

    def _member(self, names: list[str], at: Descent) -> None:
        try:
            about = os.stat(names[-1], dir_fd=at.fd, follow_symlinks=False)
            if stat.S_ISLNK(about.st_mode):
                self._link("/".join(names), os.readlink(names[-1], dir_fd=at.fd), about)
                return
            opened = Opened(self._root, names)
        except OSError:
            return
        try:
            self._file("/".join(names), opened)
        finally:
            opened.close()

    def _link(self, path: str, target: str, about: os.stat_result) -> None:
        if stays(path, target):
            self._put(self._tar.entry(path, "link", int(about.st_mtime), target=target))

    def _file(self, path: str, opened: Opened) -> None:
        about = os.fstat(opened.fd)
        size, done = opened.size, 0
        self._put(self._tar.entry(path, "file", int(about.st_mtime), size=size, mode=about.st_mode))
        while done < size and (data := opened.read(done, min(_CHUNK, size - done))):
            self._put(self._tar.data(data))
            done += len(data)
        while done < size:  # it was cut meanwhile
            filling = min(_CHUNK, size - done)
            self._put(self._tar.data(bytes(filling)))
            done += filling
        self._put(self._tar.close_file())

    def _put(self, data: bytes) -> None:
        self._out.write(data)


def _users(root: Path, limit: int) -> Iterator[tuple[list[str], list[str]]]:
    """The folders with the user's files in them, each by its names and with the names of its files."""
    for folder in planned(root, "light", limit, _MOST_ENTRIES).folders:
        names = folder.names
        path = "/".join(names)
        if not names or is_users(path):
            within = sorted(name for each in folder.members.values() for name in each)
            yield names, [name for name in within if is_users(f"{path}/{name}" if path else name)]
