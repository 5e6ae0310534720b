"""The ports on which the agent's programs listen, found by looking.

Only by looking: a connection, even one that is closed at once, is a visitor. A bundler that waits for its
own child process on a port takes the first who comes for that child, and dies of it.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from opensessions.events import PreviewReady
from sandbox_task.outbox import Put

INTERVAL = 0.2
_LISTEN = "0A"
_REACHED = {
    "00000000",  # 0.0.0.0
    "0100007F",  # 127.0.0.1
    "0" * 32,  # ::
    "00000000000000000000000001000000",  # ::1
    "0000000000000000FFFF00000100007F",  # ::ffff:127.0.0.1
}


_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def listening(tables: tuple[Path, ...] = _TABLES) -> set[int]:
    """The TCP ports with a listener that 127.0.0.1 or ::1 leads to."""
    return set(sockets(tables).values())


def sockets(tables: tuple[Path, ...] = _TABLES) -> dict[str, int]:
    """The same ports by the listening sockets' inodes (decimal)."""
    found = {}
    for table in tables:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == _LISTEN and address in _REACHED:
                found[fields[9]] = int(port, 16)
    return found


def chosen(picked: Path = Path("/proc/sys/net/ipv4/ip_local_port_range")) -> set[int]:
    """Those that listen, but for the range in which the system picks: a port that no one chose is for a
    program's own use, and no place to visit.
    """
    low, high = map(int, picked.read_text().split())
    return {port for port in listening() if not low <= port <= high}


async def watch(
    own: set[int],
    put: Put,
    tell: Callable[[list[int]], None],
    seen: Callable[[], set[int]] = chosen,
    interval: float = INTERVAL,
) -> None:
    """Announce every port from 1024 up, but the worker's own, when it begins to listen; for ever.

    A port that went away and came back is announced again. `tell` is given all that listen, in order.
    """
    known: set[int] = set()
    while True:
        now = {port for port in seen() if port >= 1024 and port not in own}
        if now != known:
            tell(sorted(now))
        for port in sorted(now - known):
            await put(PreviewReady(port=port))
        known = now
        await asyncio.sleep(interval)
