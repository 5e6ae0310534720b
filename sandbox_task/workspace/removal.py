"""Things removed from a workspace, however deep they are nested and whatever they forbid. No link is
followed. What another process makes meanwhile may stay.
"""

import errno
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from sandbox_task.workspace import rules
from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.rules import Cover, Place

_ALL = Place("cache", sealed=True)


def remove(at: Descent, name: str) -> None:
    """Remove `name` in the folder where one stands, with all beneath it. Raises OSError."""
    try:
        os.unlink(name, dir_fd=at.fd)
    except IsADirectoryError:
        _remove(at, [(len(at.names) + 1, name, _ALL, False)], (_ALL.cover,))


def clear(root: Path, covers: Collection[Cover]) -> None:
    """Remove from a workspace what is covered so, and the folders that are empty then. Raises OSError."""
    with Descent(root) as at:
        _remove(at, _emptied(at, rules.ROOT, covers), covers)


def _remove(at: Descent, pending: list[tuple[int, str, Place, bool]], covers: Collection[Cover]) -> None:
    """Each item is the depth of a folder, its name, its place, and whether it was emptied before."""
    base = len(at.names)
    while pending:
        depth, name, place, emptied = pending.pop()
        at.rise(depth - 1)
        if emptied:
            _leave(at, name)
            continue
        try:
            at.down(name)
        except FileNotFoundError:
            continue
        if place.cover in covers:
            pending.append((depth, name, place, True))
        pending += _emptied(at, place, covers)
    at.rise(base)


def _emptied(at: Descent, place: Place, covers: Collection[Cover]) -> list[tuple[int, str, Place, bool]]:
    """Remove the files of the folder where one stands; its folders, for what is covered in them."""
    folders = []
    path = "" if place.sealed else at.path
    _open(at)
    found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in at.entries()]
    for name, is_folder in found:
        below = rules.below(place, path, name)
        if is_folder and rules.may_hold(below, covers):
            folders.append((len(at.names) + 1, name, below, False))
        elif not is_folder and below.cover in covers:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=at.fd)
    return folders


def _open(at: Descent) -> None:
    """Let the owner list and change the folder."""
    mode = os.fstat(at.fd).st_mode
    if mode & 0o700 != 0o700:
        # A descriptor of this kind has no other way; it is the folder's own, whatever its name is now.
        Path(f"/proc/self/fd/{at.fd}").chmod((mode & 0o777) | 0o700)


def _leave(at: Descent, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=at.fd)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
            raise
