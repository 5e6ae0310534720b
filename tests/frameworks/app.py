"""A stock app in a sandbox, where the agent starts its dev server and edits its files."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.server import Server
from tests.frameworks.stock import Stock

START = "(setsid nohup npm run dev >/tmp/dev.log 2>&1 </dev/null &); sleep 1"


@dataclass
class App:
    """`text` is what its first page shows now."""

    stock: Stock
    server: Server
    session: dict[str, Any]
    text: str

    def address(self, port: int) -> str:
        """The preview's address where the public side listens on `port`."""
        return f"http://{self.session['sandboxId']}-p{self.stock.port}.preview.test:{port}"

    def edit(self, text: str) -> None:
        """Let the agent change what the page shows."""
        self.do(f"sed -i 's/{self.text}/{text}/' {self.stock.source}")
        self.text = text

    def give_counter(self) -> None:
        """Let the agent put a button that counts on the page, if there is none."""
        if self.stock.counter:
            self.do(self.stock.counter)

    def do(self, command: str) -> None:
        self.session = self.server.get(self.session)
        events = self.server.turn(self.session, f"run: {command}", seconds=120)
        assert events[-1]["reason"] == "completed", events
        results = [event for event in events if event["type"] == "user"]
        assert not any(block["is_error"] for event in results for block in event["message"]["content"]), (
            results
        )


@contextmanager
def running(stock: Stock, folder: Path, server: Server) -> Iterator[App]:
    """Put a copy of the folder into a new sandbox and have its dev server started, as it comes."""
    session = server.create("run: true")
    server.turn(session, seconds=120)
    _fill(server.data / "data" / "workspaces" / session["sandboxId"], folder)
    app = App(stock, server, session, stock.text)
    app.do(START)
    events = server.events(session, "preview_ready", seconds=120)
    assert events[-1]["port"] == stock.port, events[-1]
    yield app
    server.delete(session)


def _fill(workspace: Path, folder: Path) -> None:
    owner = workspace.stat()
    subprocess.run(["cp", "-a", "--reflink=auto", f"{folder}/.", str(workspace / "app")], check=True)
    if owner.st_uid != os.geteuid():
        subprocess.run(["chown", "-hR", f"{owner.st_uid}:{owner.st_gid}", str(workspace / "app")], check=True)
