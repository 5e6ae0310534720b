"""Servers: what is to run to have them again, and that it brings them back."""

import asyncio
import json
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from opensessions.archives import Server
from sandbox_task.workspace.servers import LOGS, Servers
from tests.processes import working_in
from tests.sandbox_task.fake_gateway import eventually

AGENTS = {"ANTHROPIC_API_KEY": "osm_secret", "HTTPS_PROXY": "http://sandbox:ose_secret@127.0.0.1:9"}
SERVE = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(os.environ.get(self.path[1:], "").encode())
    def log_message(self, *_): print("visited", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    """One below those in which the system picks."""
    for port in random.sample(range(10_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


class Place:
    """A workspace with an app that serves, and the agent's shell in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "workspace"
        self.app = self.root / "app"
        self.app.mkdir(parents=True)
        (self.app / "serve.py").write_text(SERVE)
        self.port = free_port()
        self.serve = f"{sys.executable} serve.py {self.port}"
        self.shells: list[Process] = []
        self.made: list[Servers] = []

    def servers(self, start_command: str | None = None) -> Servers:
        own = {port for port in range(10_000, 32_768) if port != self.port}
        made = Servers(self.root, own, AGENTS, ["osm_secret", "ose_secret"], self.app, start_command)
        self.made.append(made)
        return made

    async def run(self, command: str) -> None:
        """Run a command as the agent does, and wait until the port answers."""
        script = f": home/.claude/shell-snapshots/snapshot-bash-1.sh; eval {json.dumps(command)}; wait; :"
        environment = {**os.environ, **AGENTS, "CLAUDECODE": "1"}
        shell = await asyncio.create_subprocess_exec(
            "bash", "-c", script, cwd=self.app, env=environment, start_new_session=True
        )
        self.shells.append(shell)
        await self.up()

    def listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    async def up(self) -> None:
        await eventually(self.listens, within=30)

    async def down(self) -> None:
        while found := working_in(self.root):
            for pid in found:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)
        for process in (*self.shells, *(process for made in self.made for process in made._started)):
            await process.wait()

    async def asked(self, variable: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET /{variable} HTTP/1.0\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        return answer.partition("\r\n\r\n")[2]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    yield made
    await made.down()


async def test_a_server_comes_back_with_its_folder_and_its_variables(place: Place) -> None:
    await place.run(f"export MODE=demo TOKEN=xosm_secret; {place.serve} &")
    servers = place.servers()
    seen = servers.seen()
    (server,) = seen
    assert (server.port, server.command, server.cwd) == (place.port, place.serve.split(), "app")
    assert server.environment["MODE"] == "demo"
    assert not {"TOKEN", "CLAUDECODE", "PWD", *AGENTS} & server.environment.keys()
    await place.down()
    assert servers.seen() == seen  # it counts for a moment
    await servers.start(seen)
    await place.up()
    assert await place.asked("MODE") == "demo"
    assert await place.asked("ANTHROPIC_API_KEY") == "osm_secret"
    assert "visited" in (place.root / LOGS / f"{place.port}.log").read_text()
    assert place.servers().seen() == seen


async def test_the_outermost_program_is_what_is_run(place: Place) -> None:
    (place.app / "web").mkdir()
    (place.app / "start.sh").write_text(f"#!/bin/sh\ncd web\n{sys.executable} ../serve.py {place.port}\n:\n")
    (place.app / "start.sh").chmod(0o755)
    await place.run("./start.sh &")
    (server,) = place.servers().seen()
    assert server.command[-1] == "./start.sh" and server.cwd == "app"
    await place.down()
    await place.servers().start([server])
    await place.up()


async def test_a_title_is_not_run_but_what_npm_was_asked_for_is(place: Place) -> None:
    serve = (
        f"process.title = 'next-server (v16)'; "
        f"require('http').createServer((_, to) => to.end()).listen({place.port}, '127.0.0.1')"
    )
    (place.app / "serve.js").write_text(serve)
    (place.app / "package.json").write_text(json.dumps({"scripts": {"dev": "node serve.js"}}))
    await place.run("cd ..; npm --prefix app run dev -- --quiet &")
    (server,) = place.servers().seen()
    assert (server.command, server.cwd) == (["npm", "run", "dev", "--", "--quiet"], "app")
    assert not any(name.startswith("npm_") for name in server.environment)
    await place.down()
    await place.servers().start([server])
    await place.up()


async def test_a_program_that_shows_only_a_title_cannot_come_back(place: Place) -> None:
    serve = f"process.title = 'my server'; require('net').createServer().listen({place.port}, '127.0.0.1')"
    (place.app / "serve.js").write_text(serve)
    await place.run("node serve.js &")
    assert place.servers().seen() == []


async def test_a_command_with_a_token_in_it_is_not_kept(place: Place) -> None:
    await place.run(f"{place.serve} --key=osm_secret &")
    assert place.servers().seen() == []


async def test_a_start_command_stands_for_all_that_was_seen(place: Place) -> None:
    wrong = Server(port=place.port, command=["false"])
    await place.servers(f"exec {place.serve}").start([wrong])
    await place.up()
    assert (place.root / LOGS / "start_command.log").exists()


async def test_what_cannot_be_started_is_said_and_the_rest_is_started(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Server(port=3000, command=["no-such-program"], cwd="app")
    nowhere = Server(port=3001, command=["true"], cwd="gone")
    good = Server(port=place.port, command=place.serve.split(), cwd="app")
    also = good.model_copy(update={"port": 3002})
    servers = place.servers()
    await servers.start([gone, nowhere, good, also])
    await place.up()
    assert [record.message.partition(" could")[0] for record in caplog.records] == [
        "The server of 3000",
        "The server of 3001",
    ]
    assert [path.name for path in (place.root / LOGS).glob("3002*")] == []
