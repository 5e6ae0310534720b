"""What the hostile probes share: servers as root and as a plain user, and a hand inside a sandbox."""

import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from opensessions.local.demo_model import create_demo_model
from tests.e2e.server import REPO, Server, until

MODES = ("root", "plain")
SLOW = bool(os.environ.get("OPENSESSIONS_SLOW_TESTS"))
PLAIN_UID = 54399
_PAUSE = 0.05
_INSIDE = Path(__file__).parent / "inside"
SKILLS = {f"probes/{file.name}": file.read_text() for file in _INSIDE.glob("*.py")}


def canary() -> str:
    """A word that is nowhere else."""
    return f"canary-{secrets.token_hex(16)}"


on_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86-64")
START = "run: setsid python3 -I /workspace/agent/probes/hand.py 3000 </dev/null >/dev/null 2>&1 &"


MODEL = "claude-haiku-4-5"
CANARY, MODEL_KEY = canary(), canary()
"""In the environment of the server under attack: a variable, and the key of its model."""


@contextmanager
def serving(mode: str, **environment: str) -> Iterator[Server]:
    """A server of one's own in a short folder that its user can reach: a socket's address has 108 bytes."""
    if mode == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    plain = mode == "plain" and os.geteuid() == 0
    if plain and not all(folder.stat().st_mode & 0o005 == 0o005 for folder in [REPO, *REPO.parents]):
        pytest.skip(f"needs a checkout that other users can read; {REPO} is closed to them")
    folder = Path(tempfile.mkdtemp(prefix="os-", dir="/tmp"))
    environment["TMPDIR"] = str(folder)
    running = Server(folder, PLAIN_UID if plain else None, environment)
    try:
        running.start()
        yield running
    finally:
        if running.process.poll() is None:
            left = family(running)
            assert running.stop() == 0, running.log()
            assert not alive(left)
        shutil.rmtree(folder)


class Model:
    """The demo model on a port of the loopback, which remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self._app = create_demo_model(pace=0)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(self, log_config=None, access_log=False, lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.calls.append((scope["raw_path"].decode(), headers, scope["query_string"]))
        await self._app(scope, receive, send)

    @contextmanager
    def answering(self) -> Iterator["Model"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.should_exit = True
            self._thread.join()
            self._socket.close()


@dataclass(frozen=True)
class Answer:
    """What came back until the connection was closed; `status` is 0 when that is no HTTP."""

    text: str
    seconds: float

    @property
    def status(self) -> int:
        found = re.match(r"HTTP/1\.[01] (\d{3}) ", self.text)
        return int(found[1]) if found else 0


@dataclass
class Inside:
    """A session whose agent has started a hand, on port 3000, that carries out what is asked through the
    preview. `processes` are those of its sandbox, parents first, as they were then.
    """

    server: Server
    session: dict[str, Any]
    processes: list[psutil.Process] = field(default_factory=list)
    since: int = 0

    @classmethod
    def of(cls, server: Server, **config: Any) -> "Inside":
        """A new session."""
        before = sandboxes(server)
        session = server.create(START, agent_config={"skills": SKILLS, "model": MODEL, **config})
        server.turn(session)
        server.events(session, "preview_ready")
        until(lambda: server.get(session)["version"])  # what packs after a turn is over by then
        return cls(server, session, begun(server, before))

    def revive(self) -> None:
        """Start the sandbox again, with its hand, after something ended it."""
        before = sandboxes(self.server)
        self.server.turn(self.session, START)
        until(lambda: self.get().status_code == 200)
        self.processes = begun(self.server, before)
        self.since = self.server.get(self.session)["lastSeq"]

    def get(self, path: str = "/", port: int = 3000, **headers: str) -> httpx2.Response:
        return self.server.preview(self.session, path, port, **headers)

    def run(self, script: str, seconds: float = 30) -> tuple[int, str]:
        """Exit status and output of a bash script."""
        host = self.session["previewUrl"].removeprefix("http://")
        answer = httpx2.post(
            f"{self.server.url}/", content=script.encode(), headers={"Host": host}, timeout=seconds
        )
        assert answer.status_code == 200, answer.text
        told = answer.json()
        return told["status"], told["output"]

    def works(self) -> bool:
        """Whether the hand still obeys."""
        try:
            return self.run("echo works", 10) == (0, "works\n")
        except (httpx2.HTTPError, AssertionError):
            return False

    def python(self, program: str, *arguments: str, seconds: float = 30) -> Any:
        """What a Python program prints, which is JSON."""
        words = " ".join(f"'{word}'" for word in arguments)
        status, output = self.run(f"python3 -I - {words} <<'END'\n{program}\nEND", seconds)
        assert status == 0, output
        return json.loads(output)

    def ask(self, address: str, *requests: str | bytes) -> list["Answer"]:
        """What a socket inside, `host:port` or a path, answers to each of these, a connection each."""
        texts = [each.encode() if isinstance(each, str) else each for each in requests]
        calls = json.dumps([[address, text.decode("latin-1")] for text in texts])
        status, output = self.run(f"python3 -I /workspace/agent/probes/asking.py <<'END'\n{calls}\nEND", 90)
        assert status == 0, output
        return [Answer(text, seconds) for text, seconds in json.loads(output)]

    def bash(self, command: str, seconds: float = 60) -> str:
        """What the agent's own Bash tool answers."""
        events = self.server.turn(self.session, f"run: {command}", seconds)
        blocks = [block for e in events if e["type"] == "user" for block in e["message"]["content"]]
        [result] = [block["content"] for block in blocks if block["type"] == "tool_result"]
        return result if isinstance(result, str) else "\n".join(part["text"] for part in result)

    def environment(self) -> dict[str, str]:
        """The environment of the agent's commands."""
        told: dict[str, str] = self.python("import json, os; print(json.dumps(dict(os.environ)))")
        return told

    def worker(self) -> int:
        """The worker's number inside."""
        return int(self.run("pgrep -of '^[^ ]*python -I -c import sys'")[1])

    def status(self) -> str:
        return str(self.server.get(self.session)["status"])

    def losses(self) -> list[str]:
        """Why its sandboxes were lost since it was revived, one after the other."""
        path = f"/v1/sessions/{self.session['id']}/events/page"
        found, after = [], self.since
        while page := self.server.http.get(path, params={"after": after}).json()["data"]:
            found += [event["message"] for event in page if event["type"] == "sandbox_lost"]
            after = page[-1]["seq"]
        return found

    def lost(self, seconds: float, pause: float = 0.05) -> str:
        """Why its sandbox is lost, once it is and nothing of it runs."""
        why = until(self.losses, seconds, pause)
        until(lambda: not alive(self.processes), 5)
        return why[-1]

    def end(self) -> None:
        self.server.delete(self.session)


def system_calls(inside: Inside, *calls: tuple[int, ...]) -> list[str]:
    """The error of each x86-64 system call, given as number and arguments; "0" when it was let through."""
    program = f"""
import ctypes, errno, json
libc = ctypes.CDLL(None, use_errno=True)
told = []
for number, *arguments in {calls!r}:
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(each) for each in arguments])
    told.append(errno.errorcode[ctypes.get_errno()] if result < 0 else "0")
print(json.dumps(told))
"""
    told: list[str] = inside.python(program)
    return told


def family(server: Server) -> list[psutil.Process]:
    """All processes below a server."""
    return psutil.Process(server.process.pid).children(recursive=True)


def sandboxes(server: Server) -> set[psutil.Process]:
    """The outermost process of each sandbox; a server has other children, for moments."""
    children = alive(psutil.Process(server.process.pid).children())
    return {child for child in children if child.name() == "bwrap"}


def begun(server: Server, before: set[psutil.Process]) -> list[psutil.Process]:
    """All processes of the sandbox that runs since then: bubblewrap, init, the worker, the others."""
    [outermost] = sandboxes(server) - before
    return [outermost, *outermost.children(recursive=True)]


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def healthy(server: Server, seconds: float = 1.0) -> Iterator[None]:
    """Fails when meanwhile a `/healthz` took longer than `seconds`, or was not answered.

    On a busy machine this process waits for its turn too: by how much it did at worst is allowed on top.
    """
    stop, took, late = threading.Event(), [0.0], [0.0]

    def look() -> None:
        with httpx2.Client(base_url=server.url, timeout=10) as http:
            before = time.monotonic()
            while not stop.wait(_PAUSE):
                begun = time.monotonic()
                late.append(begun - before - _PAUSE)
                assert http.get("/healthz", headers={"Connection": "close"}).status_code == 200
                before = time.monotonic()
                took.append(before - begun)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield
        finally:
            stop.set()
        looking.result()
    assert max(took) < seconds + max(late), (
        f"/healthz took {max(took):.2f} s; we were late by {max(late):.2f}"
    )


def raw(server: Server, data: bytes, seconds: float = 10) -> bytes:
    """All that a connection to the public port answers to these bytes, until it is closed."""
    with socket.create_connection(("127.0.0.1", server.port), seconds) as connection:
        connection.sendall(data)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer
