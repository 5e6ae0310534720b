"""What an archive of a workspace is going to hold: found and measured before the first byte is written."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from sandbox_task.workspace import rules
from sandbox_task.workspace.bounds import (
    MOST_DEPTH,
    MOST_NAMES,
    MOST_PATH,
    TOO_MANY_NAMES,
    Excess,
    readable,
    shown,
)
from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.rules import Cover, Place


@dataclass(slots=True)
class Folder:
    """A folder and what of it goes along, its own folders apart. It knows its name, not its path: of long
    paths there can be many.
    """

    above: "Folder | None"
    name: str
    place: Place
    depth: int = 0
    members: dict[Cover, list[str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names that lead to it from the workspace."""
        names: list[str] = []
        folder = self
        while folder.above is not None:
            names.append(folder.name)
            folder = folder.above
        return names[::-1]


@dataclass
class Plan:
    """`folders` come before those within them. `skipped` counts what cannot be read or lies too deep."""

    folders: list[Folder] = field(default_factory=list)
    skipped: int = 0


def planned(root: Path, kind: str, limit: int, most: int) -> Plan:
    """The plan of an archive of a kind ("full", "light") with at most `limit` bytes and `most` entries.

    Pipes, sockets and devices are no part of it, nor is what lies on another file system. Raises Excess.
    """
    return _Survey(frozenset(rules.ARCHIVED[kind]), limit, most).of(root)


class _Survey:
    def __init__(self, covers: frozenset[Cover], limit: int, most: int) -> None:
        self._covers, self._limit, self._most = covers, limit, most
        self._plan = Plan()
        self._bytes = self._count = self._names = 0
        self._largest = (0, "")

    def of(self, root: Path) -> Plan:
        pending = [Folder(None, "", rules.ROOT)]
        with Descent(root) as at:
            while pending:
                folder = pending.pop()
                try:
                    if folder.above is not None:
                        at.rise(folder.depth - 1)
                        at.down(folder.name)
                    within = self._surveyed(at, folder)
                except OSError:
                    self._plan.skipped += 1
                    continue
                self._plan.folders.append(folder)
                pending += within
        if self._bytes > self._limit:
            raise Excess(
                f"The workspace holds {readable(self._bytes)} in files, and an archive of it may hold "
                f"{readable(self._limit)} at most. The largest file is {shown(self._largest[1])} with "
                f"{readable(self._largest[0])}."
            )
        return self._plan

    def _surveyed(self, at: Descent, folder: Folder) -> list[Folder]:
        """Note what is in the folder where one stands; its folders, the first one last."""
        path = at.path
        room = MOST_PATH - len(os.fsencode(path))
        within = []
        for entry in at.entries():
            place = rules.below(folder.place, path, entry.name)
            if place.cover not in self._covers:
                continue
            length = len(os.fsencode(entry.name)) + 1
            if length > room or folder.depth >= MOST_DEPTH:
                self._plan.skipped += 1
            elif entry.is_dir(follow_symlinks=False):
                within.append(Folder(folder, entry.name, place, folder.depth + 1))
                self._counted(MOST_PATH - room + length)
            elif self._measured(entry, path):
                folder.members.setdefault(place.cover, []).append(entry.name)
                self._counted(MOST_PATH - room + length)
        for names in folder.members.values():
            names.sort()
        return sorted(within, key=lambda each: each.name, reverse=True)

    def _measured(self, entry: "os.DirEntry[str]", path: str) -> bool:
        """Whether it is a file or a link."""
        try:
            about = entry.stat(follow_symlinks=False)
        except OSError:
            return False
        if stat.S_ISREG(about.st_mode):
            self._bytes += about.st_size
            if about.st_size >= self._largest[0]:
                self._largest = about.st_size, f"{path}/{entry.name}" if path else entry.name
            return True
        return stat.S_ISLNK(about.st_mode)

    def _counted(self, length: int) -> None:
        self._count += 1
        self._names += length
        if self._count > self._most:
            raise Excess(
                f"The workspace has more than {self._most:,} files and folders, without caches; an archive "
                "of it cannot have more."
            )
        if self._names > MOST_NAMES:
            raise Excess(TOO_MANY_NAMES)
