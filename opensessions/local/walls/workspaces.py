"""The folders of sandboxes, and the user each of them belongs to.

A sandbox begins with an empty folder, which goes when the sandbox ends: what is to outlive it is in archives.
When the server is root, every sandbox is an unprivileged user of its own on the host. Which one is written
down nowhere but in the ownership of its folder: it holds exactly as long as the sandbox's files exist,
survives a restart, and cannot disagree with the disk. A sandbox cannot change the owner of its folder.
"""

import os
import pwd
import secrets
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

    def make(self, sandbox_id: str) -> tuple[Path, int | None]:
        """A new, empty folder for a sandbox that has none, and its user (None: the server's own). Raises
        LaunchFailed when no user is free.
        """
        path = self.path(sandbox_id)
        with self._lock:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
            if self._uids is None:
                return path, None
            try:
                uid = self._free(sandbox_id)
            except LaunchFailed:
                path.rmdir()
                raise
            os.chown(path, uid, uid)
            return path, uid

    def discard(self, sandbox_id: str) -> list[Path]:
        """Take a sandbox's folder away, if it has one, so that the next can be made; returns what is to be
        emptied and deleted. It stays here meanwhile, so that its user is nobody else's yet.
        """
        gone = self._folder / f"gone-{secrets.token_hex(8)}"
        try:
            return [self.path(sandbox_id).rename(gone)]
        except FileNotFoundError:
            return []

    def leftovers(self) -> list[Path]:
        """The same for all that a server left behind which ended or was killed."""
        if not self._folder.is_dir():
            return []
        names = [entry.name for entry in os.scandir(self._folder) if entry.is_dir(follow_symlinks=False)]
        gone = [self._folder / name for name in names if name.startswith("gone-")]
        return gone + [path for name in names if name.startswith("sb-") for path in self.discard(name)]

    def owner(self, folder: Path) -> int | None:
        """The user that what is left of a sandbox belongs to (None: the server's own), who can enter it
        afterwards. Raises PermissionError for a folder that is no sandbox's.
        """
        uid = folder.lstat().st_uid
        if uid not in self._uids if self._uids else uid != os.geteuid():
            raise PermissionError(
                f"it belongs to user {uid}, who is no sandbox's user. Was the server run by another user "
                "before? Delete it as that user."
            )
        folder.chmod(0o700)
        return uid if self._uids else None

    def _free(self, sandbox_id: str) -> int:
        assert self._uids is not None
        taken = {entry.stat(follow_symlinks=False).st_uid for entry in os.scandir(self._folder)}
        taken.update(user.pw_uid for user in pwd.getpwall())
        for uid in self._uids.from_seed(int(sandbox_id.removeprefix("sb-"), 16)):
            if uid not in taken:
                return uid
        raise LaunchFailed(f"All {self._uids.count} users for sandboxes are taken: remove old sandboxes.")
