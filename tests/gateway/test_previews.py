"""Previews through the real data plane and the real door of a sandbox, in one loop."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.previews import NoPreviews, Previews
from gateway.private import Private
from gateway.uses import Uses
from gateway.wakes import Wakes
from opensessions.handshake import door_key
from opensessions.models import Head, SandboxStatus, Session, Status
from sandbox_task.door import Door
from tests.gateway.callback_parts import Callback

MASTER = b"m" * 32
NOW = datetime(2026, 11, 24, tzinfo=UTC)
A, B = ("sb-" + letter * 32 for letter in "ab")
NAVIGATION = {"Sec-Fetch-Dest": "document", "Accept": "text/html"}


def session_of(
    sandbox_id: str, status: Status = Status.RUNNING, sandbox: SandboxStatus = SandboxStatus.RUNNING
) -> Session:
    return Session(
        id="session_" + sandbox_id[3:],
        account="acme",
        user_id="u",
        sandbox_id=sandbox_id,
        title="<b>My app</b>",
        launched_at=NOW,
        created_at=NOW,
        head=Head(status=status, sandbox_status=sandbox, updated_at=NOW),
    )


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Stage:
    """A gateway's preview side, and sandboxes whose apps answer with their own name and the Host they saw."""

    folder: Path
    kind: type[Previews] = Previews
    domain: str = "preview.test"
    sessions: dict[str, Session] = field(default_factory=dict)
    doors: dict[str, Path] = field(default_factory=dict)
    servers: list[asyncio.Server] = field(default_factory=list)
    kept: list[asyncio.StreamWriter] = field(default_factory=list)
    callback: Callback = field(default_factory=Callback)

    async def open(self) -> None:
        client = self.callback.client()
        self.uses, self.wakes = Uses(client, soon=0.02), Wakes(client, pauses=(0.02, 0.02))
        self.previews = self.kind(
            self.domain,
            find=self.sessions.get,
            dial=lambda sandbox_id, port: str(self.doors.get(sandbox_id, self.folder / "none")),
            door_key=lambda sandbox_id: door_key(MASTER, sandbox_id),
            preview_url=lambda sandbox_id, port: f"https://{sandbox_id}-p{port}.preview.test",
            narrate=lambda session: ["Wrote <index.html>"],
            uses=self.uses,
            wakes=self.wakes,
            private=Private(MASTER, client),
        )
        server = await asyncio.get_running_loop().create_server(self.previews.client, "127.0.0.1", 0)
        self.servers.append(server)
        self.port = server.sockets[0].getsockname()[1]

    async def sandbox(self, sandbox_id: str) -> Door:
        self.sessions[sandbox_id] = session_of(sandbox_id)
        self.doors[sandbox_id] = self.folder / sandbox_id[:8]
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.doors[sandbox_id]))
        listener.listen()
        door = Door(own=set())
        door.key = door_key(MASTER, sandbox_id)
        self.servers.append(await door.listen(listener.detach(), None))
        return door

    async def app(self, name: str) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            host = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"host:"))
            body = name.encode() + b" " + host
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            self.kept.append(writer)
            if b"/slow" not in head:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def get(self, host: str, path: str = "/", **headers: str) -> Answer:
        return await self.ask("GET", host, path, **headers)

    async def ask(self, method: str, host: str, path: str = "/", **headers: str) -> Answer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        line = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"
        writer.write(f"{line}{fields}Connection: close\r\n\r\n".encode())
        async with asyncio.timeout(10):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        first, *lines = head.decode().split("\r\n")
        return Answer(
            int(first.split()[1]), {k.lower(): v for k, _, v in (li.partition(": ") for li in lines)}, body
        )


@contextlib.asynccontextmanager
async def closing(stage: Stage) -> AsyncIterator[None]:
    """The stage is open until the end of this."""
    await stage.open()
    yield
    for server in stage.servers:
        server.close()
    await stage.previews.client.shutdown(0)
    await asyncio.gather(stage.uses.aclose(), stage.wakes.aclose())
    for writer in stage.kept:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    async with closing(made):
        yield made


async def test_the_app_answers_and_believes_to_be_on_localhost(stage: Stage) -> None:
    await stage.sandbox(A)
    port = await stage.app("app of a")
    answer = await stage.get(f"{A}-p{port}.preview.test")
    assert (answer.status, answer.body) == (200, f"app of a Host: localhost:{port}".encode())


async def test_c5_a_door_of_another_sandbox_is_hung_up_on(stage: Stage) -> None:
    await stage.sandbox(A)
    await stage.sandbox(B)
    port = await stage.app("anybody's")
    stage.doors[A], stage.doors[B] = stage.doors[B], stage.doors[A]
    for sandbox in (A, B):
        answer = await stage.get(f"{sandbox}-p{port}.preview.test")
        assert answer.status == 502 and b"anybody's" not in answer.body


async def test_nothing_listens_yet_is_told_by_who_asks(stage: Stage) -> None:
    await stage.sandbox(A)
    host = f"{A}-p3999.preview.test"
    page = await stage.get(host, **NAVIGATION)
    assert (page.status, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert (
        "x-frame-options" not in page.headers
        and "frame-ancestors" not in page.headers["content-security-policy"]
    )
    part = await stage.get(host, Sec_Fetch_Dest="script")
    assert (part.status, part.headers["retry-after"], part.body) == (503, "1", b"")
    call = await stage.get(host, Accept="application/json")
    assert call.status == 502 and json.loads(call.body)["error"]["message"].startswith("Nothing listens")


async def test_the_waiting_page_learns_what_the_agent_does(stage: Stage) -> None:
    await stage.sandbox(A)
    answer = await stage.get(f"{A}-p3999.preview.test", Accept="application/x-preview-waiting")
    told = json.loads(answer.body)
    assert answer.status == 503
    assert (told["title"], told["lines"]) == ("<b>My app</b>", ["Wrote <index.html>"])


@pytest.mark.parametrize("asked", [NAVIGATION, {"Accept": "*/*"}], ids=["page", "call"])
async def test_an_ended_session_is_gone_and_its_sockets_are_cut(stage: Stage, asked: dict[str, str]) -> None:
    await stage.sandbox(A)
    port = await stage.app("a")
    host = f"{A}-p{port}.preview.test"
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(f"GET /slow HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    stage.sessions[A] = session_of(A, Status.ENDED)
    stage.previews.changed(stage.sessions[A].id)
    assert (await _eventually(stage, host, 410, **asked)).status == 410
    writer.close()


async def _eventually(stage: Stage, host: str, status: int, **headers: str) -> Answer:
    async with asyncio.timeout(5):
        while (answer := await stage.get(host, **headers)).status != status:
            await asyncio.sleep(0.01)
    return answer


@pytest.mark.parametrize(
    "label",
    [
        "p03000",
        "p+3000",
        "p0",
        "p1",
        "p0001",
        "p80",
        "p65536",
        "p99999",
        "p3000x",
        "p",
        "3000",
        "p3000.x",
        "p-3000",
        "p3000-p3001",
    ],
)
async def test_o02_ports_have_one_spelling(stage: Stage, label: str) -> None:
    await stage.sandbox(A)
    assert (await stage.get(f"{A}-{label}.preview.test")).status in (400, 404)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("sb-" + "0" * 32 + "-p3000.preview.test", 404),
        ("SB-" + "a" * 32 + "-p3000.preview.test", 404),
        ("sb-" + "a" * 32 + "-p3000.preview.test.", 404),
        ("x.preview.test", 404),
        ("evil.test", 421),
    ],
)
async def test_o02_unknown_previews(stage: Stage, host: str, status: int) -> None:
    await stage.sandbox(A)
    assert (await stage.get(host)).status == status


async def test_the_gateways_own_name_is_no_preview(stage: Stage) -> None:
    assert not stage.previews.owns(b"gateway.preview.test")
    assert stage.previews.owns(b"x.gateway.preview.test") and stage.previews.owns(b"sb-1.preview.test")


async def test_a_sandbox_that_is_away_is_waited_for(stage: Stage) -> None:
    stage.sessions[A] = session_of(A)
    assert (await stage.get(f"{A}-p3000.preview.test", **NAVIGATION)).status == 503


async def test_where_previews_are_off_no_name_is_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, NoPreviews, "")
    async with closing(stage):
        await stage.sandbox(A)
        for host in (f"{A}-p3000.", f"{A}-p3000.preview.test", "x."):
            assert not stage.previews.owns(host.encode())
            assert (await stage.get(host)).status == 421
