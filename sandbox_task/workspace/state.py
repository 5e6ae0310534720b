"""The versioned files of a workspace as git would name them, without reading again what did not change."""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sandbox_task.workspace import rules
from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.rules import Place

CONVERSATION: Final = "home/.claude/projects"
"""Where the agent keeps its conversations: all that is versioned outside of the user's own files."""
LARGEST: Final = 20 * 2**20
"""The bytes of the largest file that a version has, but for conversations."""
LONGEST: Final = 64 * 2**20
"""The bytes of the longest conversation that a version has."""
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_SETTLED: Final = 50_000_000
"""Nanoseconds after which another change gives a file another time."""
Signature = tuple[int, ...]


class Entry(NamedTuple):
    """A file as git has it: its mode (octal) and the name of its content."""

    mode: str
    sha: str


Read = Callable[[Entry, bytes], None]


class State:
    """`left_out` counts the files that the last look found too large or could not read."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, tuple[Signature, Entry]] = {}
        self.left_out = 0

    def forget(self) -> None:
        """Read everything at the next look."""
        self._known.clear()

    def look(self, read: Read = lambda entry, data: None) -> dict[str, Entry]:
        """All versioned files and links by path. `read` is given the content of each that was read for it:
        those that changed since the last look. Raises OSError when there is no workspace.
        """
        self.left_out = 0
        before, self._known = self._known, {}
        found: dict[str, Entry] = {}
        with Descent(self._root) as at:
            for folder, about in self._files(at):
                path = f"{at.path}/{folder}" if at.names else folder
                entry = self._entry(at, folder, path, about, before.get(path), read)
                if entry is not None:
                    found[path] = entry
        return found

    def _files(self, at: Descent) -> Iterator[tuple[str, os.stat_result]]:
        """The name and stat of each versioned file, while `at` stands in its folder."""
        pending: list[tuple[list[str], Place]] = [
            (CONVERSATION.split("/"), rules.place(CONVERSATION)),
            ([], rules.ROOT),
        ]
        while pending:
            names, place = pending.pop()
            try:
                at.go(names)
                listed = _listed(at)
            except OSError as error:  # it went away, or may not be read
                self.left_out += isinstance(error, PermissionError)
                continue
            path = at.path
            for name, is_folder, about in listed:
                below = rules.below(place, path, name)
                if below.cover != "versioned":
                    continue
                if is_folder:
                    pending.append(([*names, name], below))
                else:
                    yield name, about

    def _entry(
        self,
        at: Descent,
        name: str,
        path: str,
        about: os.stat_result,
        known: tuple[Signature, Entry] | None,
        read: Read,
    ) -> Entry | None:
        signature = _signature(about)
        if known is not None and known[0] == signature:
            self._known[path] = known
            return known[1]
        now = time.time_ns()
        limit = LONGEST if path.startswith(CONVERSATION) else LARGEST
        mode, data = _content(at, name, about, limit)
        if data is None:
            self.left_out += stat.S_ISREG(about.st_mode)
            return None
        entry = Entry(mode, hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())
        read(entry, data)
        if now - about.st_ctime_ns > _SETTLED:
            self._known[path] = signature, entry
        return entry


def _listed(at: Descent) -> list[tuple[str, bool, os.stat_result]]:
    found = []
    for entry in at.entries():
        try:
            about = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        found.append((entry.name, stat.S_ISDIR(about.st_mode), about))
    return found


def _content(at: Descent, name: str, about: os.stat_result, limit: int) -> tuple[str, bytes | None]:
    """The mode and the bytes of a file or of a link's target; None for what a version does not have."""
    try:
        if stat.S_ISLNK(about.st_mode) and name.lower() != ".gitmodules":  # newer gits refuse that
            return "120000", os.fsencode(os.readlink(name, dir_fd=at.fd))
        if not stat.S_ISREG(about.st_mode) or about.st_size > limit:
            return "", None
        fd = os.open(name, _READ, dir_fd=at.fd)
        try:
            return ("100755" if about.st_mode & 0o100 else "100644"), _bytes(fd, about.st_size, limit)
        finally:
            os.close(fd)
    except OSError:
        return "", None


def _bytes(fd: int, size: int, limit: int) -> bytes | None:
    """What a file holds, or None if that is too much: it may grow meanwhile, or be something else by now."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return None
    pieces, left = [], limit + 1
    while left > 0 and (piece := os.read(fd, min(left, max(size, 4096) + 1))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces) if left > 0 else None


def _signature(about: os.stat_result) -> Signature:
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_mode
