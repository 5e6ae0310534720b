"""The processes of a sandbox: all that the agent started, wherever it was handed to."""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 20
_spared: set[int] = set()


def adopt() -> None:
    """Make orphans below this process its children, so that nothing slips away by parting from its parent."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@contextmanager
def spared(pid: int) -> Iterator[None]:
    """Meanwhile `end_all` leaves this child, which is at work for the worker itself, and all below it."""
    _spared.add(pid)
    try:
        yield
    finally:
        _spared.discard(pid)


def parents(proc: Path = Path("/proc")) -> dict[int, tuple[int, str]]:
    """Every process's parent and state (a letter, as `ps` has it)."""
    found = {}
    for name in os.listdir(proc):  # noqa: PTH208 - a Path for each of thousands of names takes its time
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                state, parent = (proc / name / "stat").read_text().rpartition(")")[2].split()[:2]
                found[int(name)] = int(parent), state
    return found


def descendants(root: int, proc: Path = Path("/proc")) -> list[int]:
    """The living processes below `root`, parents first, but for those that are spared."""
    children: dict[int, list[int]] = {}
    dead = set()
    for pid, (parent, state) in parents(proc).items():
        children.setdefault(parent, []).append(pid)
        if state == "Z":
            dead.add(pid)
    found, left = [], [root]
    while left:
        below = [pid for pid in children.get(left.pop(), []) if pid not in _spared]
        found += below
        left += below
    return [pid for pid in found if pid not in dead]


def end_all() -> None:
    """End all processes below this one, at once: again and again, as they may be about to start others."""
    for _ in range(_ROUNDS):
        found = descendants(os.getpid())
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


class Reaper:
    """Buries orphans, which nobody else waits for."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def bury(self) -> None:
        """Bury the dead children that were dead at the last call too, so that whoever started one had time to
        hear of its end.
        """
        own = os.getpid()
        dead = {pid for pid, (parent, state) in parents().items() if parent == own and state == "Z"}
        for pid in dead & self._seen:
            with suppress(OSError):
                os.waitpid(pid, os.WNOHANG)
        self._seen = dead - self._seen
