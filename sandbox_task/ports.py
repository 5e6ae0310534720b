"""The ports on which the agent's programs listen, found by looking."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from opensessions.events import PreviewReady
from sandbox_task.outbox import Put

INTERVAL = 0.2
_LISTEN = "0A"


def listening(tables: tuple[Path, ...] = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))) -> set[int]:
    """The TCP ports with a listener, whatever its address."""
    found = set()
    for table in tables:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


async def answers(port: int) -> bool:
    """Whether something on the loopback takes a connection on `port`."""
    for host in ("127.0.0.1", "::1"):
        try:
            async with asyncio.timeout(1):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            continue
        writer.close()
        return True
    return False


async def watch(
    own: set[int],
    put: Put,
    tell: Callable[[list[int]], None],
    seen: Callable[[], set[int]] = listening,
    interval: float = INTERVAL,
) -> None:
    """Announce every port from 1024 up, but the worker's own, when it begins to answer; for ever.

    A port that went away and came back is announced again. `tell` is given all that answer, in order.
    """
    known: set[int] = set()
    while True:
        now = {port for port in seen() if port >= 1024 and port not in own}
        fresh = [port for port in sorted(now - known) if await answers(port)]
        if fresh or known - now:
            known = (known & now) | set(fresh)
            tell(sorted(known))
        for port in fresh:
            await put(PreviewReady(port=port))
        await asyncio.sleep(interval)
