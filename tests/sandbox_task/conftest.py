"""A worker in a folder of its own, as its host starts it, in front of a fake gateway."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from opensessions.events import Assign, Interrupt, Message
from opensessions.handshake import door_key
from tests.processes import working_in
from tests.sandbox_task.fake_gateway import FakeGateway, serving

REPO = Path(__file__).parents[2]
TOKEN = "osw_0123456789abcdef0123456789abcdef_" + "s3cr3t" * 8
KEY = door_key(b"master", "sb-test")
_START = """
import sys; sys.path.extend({path!r})
from pathlib import Path
from sandbox_task import worker
from sandbox_task.settings import Paths
worker.main(Paths(Path({root!r})))
"""


@dataclass
class Sandbox:
    """The host's view of one worker."""

    folder: Path
    gateway: FakeGateway
    door: Path
    listener: socket.socket
    process: asyncio.subprocess.Process | None = None
    number: int = 0
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "workspace"

    async def start(self) -> None:
        """Start the worker and give it its token."""
        self.root.mkdir(exist_ok=True)
        (self.root / "home").mkdir(exist_ok=True)
        url = f"unix:{self.folder}/gateway.sock"
        # Only the packages are added to the path; the folder of the tests is not.
        path = [str(REPO), *(p for p in sys.path if p.endswith("site-packages"))]
        self.process = await asyncio.create_subprocess_exec(
            "/usr/bin/python3", "-I", "-c", _START.format(path=path, root=str(self.root)),
            stdin=asyncio.subprocess.PIPE, pass_fds=[self.listener.fileno()], cwd=self.root,
            start_new_session=True,
            env={
                "SANDBOX_ID": "sb-test", "GATEWAY_URL": url, "EGRESS_URL": url,
                "HOME": str(self.root / "home"), "DOOR_FD": str(self.listener.fileno()),
                "PATH": "/usr/local/bin:/usr/bin:/bin", **self.environ,
            },
        )  # fmt: skip
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"token": TOKEN}).encode() + b"\n")
        await self.process.stdin.drain()

    async def assign(self, prompt: str | None, **fields: Any) -> None:
        """Give the worker its work."""
        given: dict[str, Any] = {
            "session_id": "session_1", "message_id": "msg_1", "prompt": prompt, "door_key": KEY,
            "tools": ["Bash", "Read", "Write", "Edit", "Glob", "Grep"],
            "preview_url": "http://sb-test-p{port}.preview.localhost:8000",
        }  # fmt: skip
        await self.gateway.say(Assign.model_validate(given | fields))

    async def ask(self, text: str) -> str:
        self.number += 1
        name = f"msg_{self.number + 1}"
        await self.gateway.say(Message(message_id=name, text=text))
        return name

    async def interrupt(self) -> None:
        await self.gateway.say(Interrupt())

    async def ended(self, within: float = 10.0) -> int:
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), within)

    async def stop(self) -> None:
        """Leave nothing behind, whatever state the worker is in."""
        if self.process is not None:
            for pid in working_in(self.folder):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[FakeGateway]:
    made = FakeGateway()
    async with serving(made, tmp_path / "gateway.sock"):
        yield made


@pytest.fixture
async def sandbox(tmp_path: Path, gateway: FakeGateway) -> AsyncIterator[Sandbox]:
    """A worker that is not started yet."""
    door = tmp_path / "door.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(door))
        listener.listen(16)
        made = Sandbox(tmp_path, gateway, door, listener)
        try:
            yield made
        finally:
            await made.stop()


@pytest.fixture
async def running(sandbox: Sandbox) -> Sandbox:
    await sandbox.start()
    return sandbox
