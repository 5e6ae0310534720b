"""The preview side of the gateway in a process of its own, as it is in the cloud: it can die and come back
while the sandboxes live on.

`python -m tests.frameworks.gateway DATA_DIR DOORS PORT`
"""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import httpx2

from gateway.previews import Previews
from gateway.private import Private
from gateway.uses import Uses
from gateway.wakes import Wakes
from opensessions.handshake import door_key
from opensessions.local.database import Database
from opensessions.local.sqlite import SqliteStore
from tests.e2e.server import REPO, Server, until

DOMAIN = "preview.test"


class Gateway:
    """Previews of a server's sandboxes on a port that stays the same over restarts."""

    def __init__(self, server: Server) -> None:
        self._data = server.data / "data"
        (self._doors,) = server.data.glob("opensessions-*/doors")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    def start(self) -> "Gateway":
        """Returns when it takes connections."""
        told = (str(self._data), str(self._doors), str(self.port))
        self._process = subprocess.Popen([sys.executable, "-m", "tests.frameworks.gateway", *told], cwd=REPO)
        until(self._listens)
        return self

    def kill(self) -> None:
        """No farewell to anybody: the kernel resets what was open."""
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        assert self._process.poll() is None
        with socket.socket() as visitor:
            return visitor.connect_ex(("127.0.0.1", self.port)) == 0


async def serve(data: Path, doors: Path, port: int) -> None:
    store = SqliteStore(Database(data / "sessions.db"))
    master = bytes.fromhex((data / "master.key").read_text())
    nobody = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda request: httpx2.Response(204)))
    previews = Previews(
        DOMAIN,
        find=store.find,
        dial=lambda sandbox_id, _: str(doors / f"{sandbox_id}.sock"),
        door_key=lambda sandbox_id: door_key(master, sandbox_id),
        preview_url=lambda sandbox_id, inner: f"http://{sandbox_id}-p{inner}.{DOMAIN}:{port}",
        narrate=lambda session: [],
        uses=Uses(nobody),
        wakes=Wakes(nobody),
        private=Private(master, nobody),
    )
    listener = await asyncio.get_running_loop().create_server(previews.client, "127.0.0.1", port)
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
