"""The network of sandboxes that have none: each has an address of its own, and two ways out and one in.

Out: what its relay takes at a gateway's port comes by a unix socket and goes on to a gateway from the
sandbox's own loopback address, so that a gateway sees who calls. In: the door's port at that address.
"""

import asyncio
import contextlib
import itertools
import os
import random
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.rehearsal.emulator.relay import Dial, passing

DOOR = 7070
Endpoint = tuple[str, int]
Gateway = dict[int, Endpoint]
"""Where the ports that a sandbox knows are on this machine."""


@dataclass
class Way:
    """One sandbox's; `folder` holds a socket per port of the gateway, and the door."""

    address: str
    folder: Path
    servers: list[asyncio.Server]

    def out(self, port: int) -> Path:
        return self.folder / f"{port}.sock"

    @property
    def door(self) -> Path:
        return self.folder / "door.sock"


class Ways:
    """All of them, on a thread of their own. `gateways` share the name that sandboxes know."""

    def __init__(self, folder: Path) -> None:
        self.gateways: list[Gateway] = []
        self._folder = folder
        self._network, self._held = _network()
        self._turn = itertools.count()
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="ways", daemon=True).start()

    def open(self, ports: list[int]) -> Way:
        """A new sandbox's way: sockets for `ports` of the gateway, and a listener for its door."""
        return asyncio.run_coroutine_threadsafe(self._open(ports), self._loop).result()

    def close(self, way: Way) -> None:
        asyncio.run_coroutine_threadsafe(self._close(way), self._loop).result()

    async def _open(self, ports: list[int]) -> Way:
        high, low = divmod(next(self._numbers), 250)
        folder = self._folder / f"{high}.{low}"
        folder.mkdir()
        folder.chmod(0o711)
        way = Way(f"{self._network}.{high}.{low + 1}", folder, [])
        for port in ports:
            served = passing(self._dialer(way.address, port))
            way.servers.append(await asyncio.start_unix_server(served, way.out(port), backlog=512))
            way.out(port).chmod(0o666)
        knocked = passing(lambda: asyncio.open_unix_connection(way.door))
        way.servers.append(await asyncio.start_server(knocked, way.address, DOOR, backlog=512))
        return way

    async def _close(self, way: Way) -> None:
        for server in way.servers:
            server.close()
        for path in way.folder.iterdir():
            path.unlink()
        with contextlib.suppress(OSError):
            way.folder.rmdir()

    def _dialer(self, source: str, port: int) -> Dial:
        async def dial() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            tries = [gateway[port] for gateway in self.gateways if port in gateway]
            start = next(self._turn)
            for step in range(len(tries)):
                host, real = tries[(start + step) % len(tries)]
                with contextlib.suppress(OSError):
                    return await asyncio.open_connection(host, real, local_addr=(source, 0))
            raise ConnectionRefusedError(f"no gateway listens for {port}")

        return dial


def _network() -> tuple[str, socket.socket]:
    """Addresses that no other rehearsal on this machine uses, and what keeps them ours while it is open."""
    for number in random.sample(range(70, 250), 180):
        holder = socket.socket()
        try:
            holder.bind((f"127.{number}.255.254", DOOR))
        except OSError:
            holder.close()
            continue
        holder.listen()
        return f"127.{number}", holder
    raise OSError("All networks of the loopback are in use by rehearsals.")


def listening(path: Path) -> int:
    """A descriptor of a new listening unix socket, for the sandbox to inherit."""
    door = socket.socket(socket.AF_UNIX)
    door.bind(os.fspath(path))
    door.listen(512)
    return door.detach()
