"""The folders that outlive sandboxes, and the user each of them belongs to.

When the server is root, every sandbox is an unprivileged user of its own on the host. Which one is written
down nowhere but in the ownership of its folder: it holds exactly as long as the sandbox's files exist,
survives a restart, and cannot disagree with the disk. A sandbox cannot change the owner of its folder.
"""

import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from opensessions.errors import LaunchFailed


@dataclass(frozen=True, slots=True)
class UidRange:
    """User (and group) ids that nobody else on the machine has. The default lies where systemd's list of
    ranges says "unused".
    """

    first: int = 0x70000000
    count: int = 0x0FFF0000

    def __contains__(self, uid: int) -> bool:
        return self.first <= uid < self.first + self.count

    def from_seed(self, seed: int) -> Iterator[int]:
        """All ids of the range, beginning at a place that the seed picks, so that two servers on one machine
        do not both begin with the first.
        """
        return (self.first + (seed + step) % self.count for step in range(self.count))


class Workspaces:
    """`folder` is made on demand, 0700. `uids` None: the sandboxes are the server's own user."""

    def __init__(self, folder: Path, uids: UidRange | None) -> None:
        self._folder = folder
        self._uids = uids
        self._lock = Lock()

    def path(self, sandbox_id: str) -> Path:
        return self._folder / sandbox_id

    def prepare(self, sandbox_id: str) -> tuple[Path, int | None]:
        """The sandbox's folder, made if need be, and its user (None: the server's own). Idempotent.

        Raises LaunchFailed when the folder belongs to somebody who is no user of a sandbox.
        """
        path = self.path(sandbox_id)
        with self._lock:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._uids is not None and _is_half_made(path):
                path.rmdir()
            if not os.path.lexists(path):
                self._make(path, sandbox_id)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or not self._is_expected(found.st_uid):
            raise LaunchFailed(
                f"The workspace {path} belongs to user {found.st_uid}, who is no sandbox's user. Was the "
                "server run by another user before? Give it another data directory, or move this folder away."
            )
        path.chmod(0o700)
        return path, None if self._uids is None else found.st_uid

    def _make(self, path: Path, sandbox_id: str) -> None:
        path.mkdir(mode=0o700)
        if self._uids is not None:
            uid = self._free(sandbox_id)
            os.chown(path, uid, uid)

    def _is_expected(self, uid: int) -> bool:
        return uid == os.geteuid() if self._uids is None else uid in self._uids

    def _free(self, sandbox_id: str) -> int:
        assert self._uids is not None
        taken = {entry.stat(follow_symlinks=False).st_uid for entry in os.scandir(self._folder)}
        taken.update(user.pw_uid for user in pwd.getpwall())
        for uid in self._uids.from_seed(int(sandbox_id.removeprefix("sb-"), 16)):
            if uid not in taken:
                return uid
        raise LaunchFailed(f"All {self._uids.count} users for sandboxes are taken: remove old sandboxes.")


def _is_half_made(path: Path) -> bool:
    """A crash came between making the folder and giving it to its user; nothing has run in it."""
    return os.path.lexists(path) and path.lstat().st_uid == 0
