"""A version's files, put where they were."""

import errno
import os
import secrets
from contextlib import suppress
from pathlib import PurePosixPath

from sandbox_task.workspace import removal, rules
from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.git import Git, GitFailed, Running
from sandbox_task.workspace.state import LONGEST, Entry

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 2**20


class Checkout:
    """Files from `git`'s objects into the workspace that `at` stands in. Everything raises GitFailed and
    OSError.
    """

    def __init__(self, git: Git, at: Descent) -> None:
        self._git, self._at = git, at

    def make(self, now: dict[str, Entry], wanted: dict[str, Entry]) -> None:
        """Make the versioned files `wanted`, where they are `now`; whatever is in the way goes."""
        self._remove(sorted(now.keys() - wanted.keys()))
        missing = {path: entry for path, entry in wanted.items() if now.get(path) != entry}
        with self._git.running("cat-file", "--batch") as command:
            for path, entry in sorted(missing.items()):
                if _plausible(path) and entry.mode in ("100644", "100755", "120000"):
                    self._write(path, entry, command)

    def _remove(self, paths: list[str]) -> None:
        folders: set[str] = set()
        for path in paths:
            *above, name = path.split("/")
            self._at.go(above)
            os.unlink(name, dir_fd=self._at.fd)
            folders.update("/".join(above[:depth]) for depth in range(1, len(above) + 1))
        for folder in sorted(folders, key=lambda path: path.count("/"), reverse=True):
            *above, name = folder.split("/")
            with suppress(OSError):  # something else is in it
                self._at.go(above)
                os.rmdir(name, dir_fd=self._at.fd)

    def _write(self, path: str, entry: Entry, command: Running) -> None:
        *above, name = path.split("/")
        stand(self._at, above)
        draft = f".{secrets.token_hex(8)}.part"
        size = _announced(command, entry)
        try:
            if entry.mode == "120000":
                os.symlink(command.said.read(size), os.fsencode(draft), dir_fd=self._at.fd)
            else:
                mode = 0o755 if entry.mode == "100755" else 0o644
                with os.fdopen(os.open(draft, _WRITE, mode, dir_fd=self._at.fd), "wb") as file:
                    left = size
                    while left > 0 and (piece := command.said.read(min(left, _PIECE))):
                        left -= file.write(piece)
            command.said.read(1)
            self._place(draft, name)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft, dir_fd=self._at.fd)
            raise

    def _place(self, draft: str, name: str) -> None:
        try:
            os.rename(draft, name, src_dir_fd=self._at.fd, dst_dir_fd=self._at.fd)
        except IsADirectoryError:
            removal.remove(self._at, name)
            os.rename(draft, name, src_dir_fd=self._at.fd, dst_dir_fd=self._at.fd)


def stand(at: Descent, names: list[str]) -> None:
    """Go to a folder that is made if need be; something else that is in the way goes. Raises OSError."""
    while True:
        try:
            at.go(names, make=True)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            removal.remove(at, names[len(at.names)])


def _announced(command: Running, entry: Entry) -> int:
    """The size of the content that comes next."""
    command.given.write(f"{entry.sha}\n".encode())
    command.given.flush()
    head = command.said.readline().decode("ascii", "replace").split()
    if len(head) != 3 or head[1] != "blob" or int(head[2]) > LONGEST:
        raise GitFailed(f"git cat-file has no content {entry.sha}")
    return int(head[2])


def _plausible(path: str) -> bool:
    """Whether a version may have this path: who wrote the commit is not sure."""
    inside = not {"", ".", ".."}.intersection(path.split("/")) and PurePosixPath(path).parts[:1] != ("/",)
    return inside and rules.covered(path) == "versioned"
