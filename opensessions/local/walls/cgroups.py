"""Memory and process limits of a whole sandbox, held by the kernel, on machines where we may set them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from opensessions.local.walls.limits import Limits


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One sandbox's groups: one folder, or one per controller in version 1."""

    folders: tuple[Path, ...]

    def add(self, pid: int) -> None:
        """Take a process, and all that it will start, in. Raises OSError."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def out_of_memory(self) -> bool:
        """Whether the kernel has ended a process here for want of memory."""
        for folder in self.folders:
            for name in ("memory.events", "memory.oom_control"):
                with suppress(OSError):
                    lines = (folder / name).read_text().splitlines()
                    return any(line.split()[0] == "oom_kill" and line.split()[1] != "0" for line in lines)
        return False

    def memory(self) -> int:
        """Bytes that the sandbox holds, files in memory included; 0 when the group is gone."""
        for folder in self.folders:
            for name in ("memory.current", "memory.usage_in_bytes"):
                with suppress(OSError, ValueError):
                    return int((folder / name).read_text())
        return 0

    def remove(self) -> None:
        """Idempotent; nothing happens while a process is in it."""
        for folder in self.folders:
            with suppress(OSError):
                folder.rmdir()


class Cgroups:
    """`parents` are folders of ours, one for version 2, or one for each of memory and pids."""

    def __init__(self, parents: Sequence[Path], limits: Limits) -> None:
        self._parents = tuple(parents)
        self._limits = limits

    def make(self, name: str) -> Cgroup:
        """A group with the limits set. Raises OSError."""
        group = Cgroup(tuple(parent / name for parent in self._parents))
        for folder in group.folders:
            folder.mkdir(exist_ok=True)
            self._set(folder)
        return group

    def close(self) -> None:
        for parent in self._parents:
            _clear(parent)

    def _set(self, folder: Path) -> None:
        values = {
            "memory.limit_in_bytes": self._limits.memory,
            "memory.memsw.limit_in_bytes": self._limits.memory,
            "memory.max": self._limits.memory,
            "memory.swap.max": 0,
            "pids.max": self._limits.processes,
        }
        for name, value in values.items():
            if (folder / name).exists():
                (folder / name).write_text(str(value))


def find(limits: Limits, process: Path = Path("/proc/self")) -> Cgroups | None:
    """Groups beneath the server's own (so that its own limits go on to count), or, in version 2, where a
    group with processes in it can have none beneath it, at the top. None: this server may make none.
    """
    for candidates in _candidates(process):
        parents = [folder / f"opensessions-{os.getpid()}" for folder in candidates]
        try:
            for folder, parent in zip(candidates, parents, strict=True):
                _remove_stale(folder)
                parent.mkdir()
                if (parent / "cgroup.subtree_control").exists():
                    (parent / "cgroup.subtree_control").write_text("+memory +pids")
            groups = Cgroups(parents, limits)
            trial = groups.make("trial")
            complete = _has_controls(trial)
            trial.remove()
            if complete:
                return groups
        except OSError:
            pass
        for parent in parents:
            _clear(parent)
    return None


def _has_controls(group: Cgroup) -> bool:
    names = {path.name for folder in group.folders for path in folder.iterdir()}
    return "pids.max" in names and bool(names & {"memory.max", "memory.limit_in_bytes"})


def _candidates(process: Path) -> list[list[Path]]:
    """Folders to make ours in, best first: a pair for version 1, a single one for version 2."""
    paths = {}
    for line in (process / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    mounts = _mounts(process)
    if "memory" in paths and "pids" in paths:
        pairs = [(name, mounts.get(name)) for name in ("memory", "pids")]
        return [[_beneath(mount, paths[name]) for name, mount in pairs if mount]]
    if "" in paths and (mount := mounts.get("")):
        return [[_beneath(mount, paths[""])], [mount[0]]]
    return []


def _mounts(process: Path) -> dict[str, tuple[Path, str]]:
    """Controller ("" for version 2) → where it is mounted, and which of its folders is seen there."""
    found = {}
    for line in (process / "mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        kind, _, options = right.split(" ", 2)
        root, place = left.split()[3:5]
        if kind in ("cgroup", "cgroup2"):
            names = [""] if kind == "cgroup2" else options.split(",")
            found.update(dict.fromkeys(names, (Path(place), root)))
    return found


def _beneath(mount: tuple[Path, str], path: str) -> Path:
    place, root = mount
    return place / path.removeprefix(root).lstrip("/")


def _remove_stale(folder: Path) -> None:
    """Groups of servers that were killed."""
    for old in folder.glob("opensessions-*"):
        if not Path("/proc", old.name.removeprefix("opensessions-")).exists():
            _clear(old)


def _clear(parent: Path) -> None:
    with suppress(OSError):
        for child in parent.iterdir():
            if child.is_dir():
                child.rmdir()
        parent.rmdir()
