"""A place beneath a folder, reached and left without following a link, however deep it lies and whatever is
swapped meanwhile.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LISTING = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Descent:
    """Stands in one folder at a time: `fd` is that folder, for the functions of `os` that take a `dir_fd`,
    and `names` leads to it. Two descriptors are enough for any depth.

    All moves raise OSError when there is no such folder, a link is in its place, or it is on another file
    system; one stands then in a folder above.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, _FOLDER)
        self.fd = os.dup(self._root)
        self.names: list[str] = []
        self._known = [self._identity(self.fd)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)
        os.close(self._root)

    @property
    def path(self) -> str:
        return "/".join(self.names)

    def down(self, name: str) -> None:
        """Go into a folder."""
        below = os.open(name, _FOLDER, dir_fd=self.fd)
        identity = self._identity(below)
        if identity[0] != self._known[0][0]:
            os.close(below)
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
        self._stand(below)
        self.names.append(name)
        self._known.append(identity)

    def rise(self, depth: int) -> None:
        """Go up until `depth` names are left."""
        if depth > len(self.names):
            raise FileNotFoundError(errno.ENOENT, "The folder was moved away", self.path)
        if len(self.names) - depth > depth + 1:
            self._again(depth)
        while len(self.names) > depth:
            self._up()

    def go(self, names: list[str], make: bool = False) -> None:
        """Go to a folder, from wherever one stands; what is missing on the way is made if asked for."""
        common = min(len(self.names), len(names))
        if self.names[:common] != names[:common]:
            common = next(n for n in range(common) if self.names[n] != names[n])
        self.rise(common)
        for name in names[common:]:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=self.fd)
            self.down(name)

    def entries(self) -> Iterator["os.DirEntry[str]"]:
        """What is in the folder. Where one stands may change meanwhile: it is that folder still."""
        listing = os.open(".", _LISTING, dir_fd=self.fd)
        try:
            with os.scandir(listing) as entries:
                yield from entries
        finally:
            os.close(listing)

    def _up(self) -> None:
        above = os.open("..", _FOLDER, dir_fd=self.fd)
        if self._identity(above) != self._known[-2]:  # moved meanwhile: that leads somewhere else
            os.close(above)
            self._again(len(self.names) - 1)
            return
        self._stand(above)
        self.names.pop()
        self._known.pop()

    def _again(self, depth: int) -> None:
        """Down from the root once more, to the first `depth` names."""
        names = self.names[:depth]
        self._stand(os.dup(self._root))
        self.names, self._known = [], self._known[:1]
        for name in names:
            self.down(name)

    def _stand(self, fd: int) -> None:
        os.close(self.fd)
        self.fd = fd

    @staticmethod
    def _identity(fd: int) -> tuple[int, int]:
        about = os.fstat(fd)
        return about.st_dev, about.st_ino
