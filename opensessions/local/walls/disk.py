"""Who holds how much of the disk.

Measuring a workspace means walking it, which for a large one takes tenths of a second. So it is walked only
when it can be over its limit: when the disk as a whole has grown since by what was left to it, and, since
others may have freed space meanwhile, now and then in any case.
"""

import os
import stat
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from opensessions.local.walls import processes
from opensessions.local.walls.limits import MB, Limits
from opensessions.local.walls.watchdog import Watched

_SOON = 1.0
_EVERY = 10.0
_SHARE = 20
_LOOKED_AT = 20_000


class Tenant(Watched, Protocol):
    """A sandbox with a workspace; `measure` walks it and returns bytes and number of files."""

    def measure(self) -> tuple[int, int]: ...


class Space(NamedTuple):
    """Of a disk: bytes and inodes taken by all, bytes free for us, and inodes free (None: not counted)."""

    taken: int
    inodes: int
    free: int
    free_inodes: int | None


@dataclass(slots=True)
class _Measured:
    """What a workspace held, the disk as a whole at that time, and when to look again: at the earliest, if
    there is a reason, and at the latest.
    """

    bytes: int
    inodes: int
    then: Space
    earliest: float
    latest: float


class DiskWatch:
    """`folder` is where the workspaces lie. For one thread."""

    def __init__(self, folder: Path, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._measured: dict[Tenant, _Measured] = {}

    def look(self, tenants: Sequence[Tenant]) -> None:
        """Condemn each sandbox that is over its limit, and the largest when the disk is full."""
        if not tenants:
            return
        now = space(self._folder)
        known = self._measured
        self._measured = {tenant: known.get(tenant) or self._unmeasured(now) for tenant in tenants}
        for tenant, last in self._measured.items():
            if self._clock() >= (last.earliest if self._may_be_over(last, now) else last.latest):
                self._measure(tenant, last)
        if scarce(now, self._limits):
            self._end_largest()

    def _unmeasured(self, now: Space) -> _Measured:
        """A sandbox may begin with unpacking much: it is measured soon."""
        return _Measured(0, 0, now, 0.0, self._clock() + _SOON)

    def _may_be_over(self, last: _Measured, now: Space) -> bool:
        limits = self._limits
        more_bytes = last.bytes + now.taken - last.then.taken > limits.disk
        return more_bytes or last.inodes + now.inodes - last.then.inodes > limits.inodes

    def _measure(self, tenant: Tenant, last: _Measured) -> None:
        begun = self._clock()
        last.then = space(self._folder)
        with suppress(OSError):  # it ended meanwhile
            last.bytes, last.inodes = tenant.measure()
            last.bytes += unlinked(tenant.init, self._folder.stat().st_dev)
            if last.bytes > self._limits.disk:
                tenant.condemn(f"It filled its disk of {self._limits.disk // MB} MB.")
            elif last.inodes > self._limits.inodes:
                tenant.condemn(f"It made more than {self._limits.inodes} files.")
        now = self._clock()
        last.earliest = now + (now - begun)
        last.latest = now + max(_EVERY, _SHARE * (now - begun))

    def _end_largest(self) -> None:
        for tenant, last in self._measured.items():
            self._measure(tenant, last)
        largest = max(self._measured, key=lambda tenant: self._part(self._measured[tenant]))
        largest.condemn("The machine's disk is nearly full, and this sandbox held the most of it.")

    def _part(self, last: _Measured) -> float:
        return max(last.bytes / self._limits.disk, last.inodes / self._limits.inodes)


def space(folder: Path) -> Space:
    """The disk that a folder lies on."""
    found = os.statvfs(folder)
    taken = (found.f_blocks - found.f_bfree) * found.f_frsize
    free_inodes = found.f_favail if found.f_files else None
    return Space(taken, found.f_files - found.f_ffree, found.f_bavail * found.f_frsize, free_inodes)


def scarce(found: Space, limits: Limits) -> bool:
    """Whether less than the reserve is free."""
    few = found.free_inodes is not None and found.free_inodes < limits.inode_reserve
    return few or found.free < limits.disk_reserve


def unlinked(init: int, device: int) -> int:
    """Bytes of files on a device that a sandbox has deleted and still holds open: no walk finds them."""
    family = processes.descendants(init, processes.table())
    entries = (entry for process in family for entry in _open_files(process.pid))
    sizes = {}
    for entry in islice(entries, _LOOKED_AT):
        with suppress(OSError):
            found = entry.stat()
            if found.st_nlink == 0 and stat.S_ISREG(found.st_mode) and found.st_dev == device:
                sizes[found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def _open_files(pid: int) -> list["os.DirEntry[str]"]:
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        return list(entries)
    return []
