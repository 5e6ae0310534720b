"""The processes of a sandbox: all that the agent started, wherever it was handed to."""

import ctypes
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 20
_AGENT = "/claude_agent_sdk/"


def adopt() -> None:
    """Make orphans below this process its children, so that nothing slips away by parting from its parent."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def parents(proc: Path = Path("/proc")) -> dict[int, tuple[int, str]]:
    """Every process's parent and state (a letter, as `ps` has it)."""
    found = {}
    for name in os.listdir(proc):  # noqa: PTH208 - a Path for each of thousands of names takes its time
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                state, parent = (proc / name / "stat").read_text().rpartition(")")[2].split()[:2]
                found[int(name)] = int(parent), state
    return found


def descendants(*roots: int) -> list[int]:
    """The living processes below these, parents first."""
    children: dict[int, list[int]] = {}
    known = parents()
    for pid, (parent, _) in known.items():
        children.setdefault(parent, []).append(pid)
    found, left = [], list(roots)
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return [pid for pid in found if known[pid][1] != "Z"]


def is_agent(pid: int) -> bool:
    """Whether this is the agent's own program."""
    try:
        return _AGENT in os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115
    except OSError:
        return False


def end_agent() -> None:
    """End the agent's program and all below it, at once. What it left to itself before stays."""
    own = os.getpid()
    agents = [pid for pid, (parent, _) in parents().items() if parent == own and is_agent(pid)]
    _kill([*agents, *descendants(*agents)])


def end_all() -> bool:
    """End all processes below this one, at once: again and again, as they may be about to start others. False
    if some are there still.
    """
    for _ in range(_ROUNDS):
        found = descendants(os.getpid())
        if not found:
            return True
        _kill(found)
    return False


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


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
