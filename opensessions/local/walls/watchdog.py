"""Ends sandboxes that take more than their share, four times a second.

It holds what the kernel cannot be told: without cgroups the memory and threads of a whole sandbox, always
the disk, and the reserves of the machine, which no sum of limits protects. It sees a sandbox that is over a
limit a moment too late; the reserves are there for that moment.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Protocol

from opensessions.local.walls import processes
from opensessions.local.walls.cgroups import Cgroup
from opensessions.local.walls.limits import MB, Limits
from opensessions.local.walls.processes import Process

log = logging.getLogger(__name__)
_PERIOD = 0.25
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SLACK = 8
_IN_MEMORY = ("tmp", "run", "dev/shm")


class Watched(Protocol):
    """`init` is the host's number of the sandbox's first process."""

    @property
    def init(self) -> int: ...

    @property
    def cgroup(self) -> Cgroup | None: ...

    def condemn(self, verdict: str) -> None: ...


class Periodic:
    """Calls a function every quarter of a second, from a thread of its own, until `close`."""

    def __init__(self, function: Callable[[], None], name: str) -> None:
        self._function = function
        self._closed = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_PERIOD):
            try:
                self._function()
            except Exception:
                log.exception("The watch over the sandboxes' limits failed; it goes on.")


def watch_memory(sandboxes: Sequence[Watched], limits: Limits) -> None:
    """Condemn each sandbox with too much memory or too many threads, and the largest when the machine has
    none left.
    """
    uses = {sandbox: sandbox.cgroup.memory() for sandbox in sandboxes if sandbox.cgroup}
    uses |= _unheld([sandbox for sandbox in sandboxes if not sandbox.cgroup], limits)
    if uses and available_memory() < limits.memory_reserve:
        largest = max(uses, key=lambda sandbox: uses[sandbox])
        largest.condemn("The machine ran out of memory, and this sandbox used the most.")


def _unheld(sandboxes: Sequence[Watched], limits: Limits) -> dict[Watched, int]:
    """Look at those that no cgroup holds. Reading all processes is dear, the more so while one multiplies."""
    uses: dict[Watched, int] = {}
    table = processes.table() if sandboxes else {}
    for sandbox in sandboxes:
        family = list(processes.descendants(sandbox.init, table))
        if sum(process.threads for process in family) > limits.processes + _SLACK:
            sandbox.condemn(f"It ran more than {limits.processes} processes and threads at once.")
            continue
        uses[sandbox] = memory(sandbox.init, family, limits.memory)
        if uses[sandbox] > limits.memory:
            sandbox.condemn(
                f"It used more than its {limits.memory // MB} MB of memory, files in /tmp included."
            )
    return uses


def memory(init: int, family: Sequence[Process], enough: int) -> int:
    """Bytes of a sandbox's processes and of its file systems in memory. Cheap, and then too high, as long
    as the result is not over `enough`.
    """
    files = sum(_held_by_tmpfs(Path(f"/proc/{init}/root", name)) for name in _IN_MEMORY)
    rough = sum(process.memory for process in family) * _PAGE
    if files + rough <= enough:
        return files + rough
    return files + sum(processes.proportional_memory(process.pid) for process in family)


def _held_by_tmpfs(path: Path) -> int:
    """The path is a mount on a read-only folder: nothing inside can put a link in its place. An empty file
    costs a kilobyte of the kernel's memory, which no size limit counts.
    """
    with suppress(OSError):
        found = os.statvfs(path)
        return (found.f_blocks - found.f_bfree) * found.f_frsize + (found.f_files - found.f_ffree) * 1024
    return 0


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    fields: Mapping[str, str] = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024
