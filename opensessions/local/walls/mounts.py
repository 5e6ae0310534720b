"""The three mount calls that the standard library lacks (`os.unshare` came with Python 3.12)."""

import ctypes
import os
from pathlib import Path

_CLONE_NEWNS = 0x20000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 0x2, 0x4, 0x1000, 0x4000, 0x80000
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{os.strerror(error)} ({what})")


def part_from_host() -> None:
    """Give the calling *thread* mounts of its own: it still sees what the host mounts and unmounts, and the
    host sees nothing of what it mounts. Raises OSError without CAP_SYS_ADMIN.
    """
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None), "mount / as slave")


def empty(target: Path) -> None:
    """Cover a folder with an empty one that everybody may enter."""
    flags = _MS_NOSUID | _MS_NODEV
    _check(_libc.mount(b"tmpfs", os.fsencode(target), b"tmpfs", flags, b"mode=0755"), f"tmpfs on {target}")


def bind(source: Path, target: Path) -> None:
    """Show `source` at `target` too; what is mounted beneath it stays away."""
    call = (os.fsencode(source), os.fsencode(target), None, _MS_BIND, None)
    _check(_libc.mount(*call), f"bind {source}")


def detach(target: Path) -> None:
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"unmount {target}")
