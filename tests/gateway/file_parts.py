"""The files' routes on a real port, before a workspace behind a real door, and archives in a folder."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from gateway.archived_files import ArchivedFiles
from gateway.callers import Callers
from gateway.files import Files
from gateway.hub import Hub
from gateway.live_files import LiveFiles
from gateway.sse import OpenStreams
from gateway.streams import EventStreams, streams_app
from opensessions.access.callers import Caller
from opensessions.access.keyring import Key
from opensessions.archives import LISTING, PART_BYTES, Archived, Part
from opensessions.errors import NotFound, Unauthorized
from opensessions.handshake import door_key
from opensessions.local.files import FileBlobs
from opensessions.models import Archive, Head, Limits, SandboxStatus, Session, Status
from opensessions.sessions.keeping import MANIFEST, place
from sandbox_task.door import Door
from sandbox_task.workspace.file_service import FileService
from sandbox_task.workspace.processes import Packing
from tests.gateway.model_parts import serving

S1 = "session_" + "1" * 32
SANDBOX = "sb-" + "a" * 32
KEY = "osb_" + "k" * 40
NOW = datetime(2026, 11, 24, tzinfo=UTC)
SECRET = b"a secret of the host's"
DOOR_KEY = door_key(b"m" * 32, SANDBOX)


@dataclass
class Place:
    """The public side, a workspace and a blob store. `status` is the session's, `archive` its newest one."""

    folder: Path
    status: SandboxStatus = SandboxStatus.RUNNING
    ended: bool = False
    hibernating: int | None = None
    limits: Limits = Limits()  # noqa: RUF009
    archives: tuple[Archive, ...] = ()
    used: list[str] = field(default_factory=list)
    files: Callable[[], asyncio.Protocol] | None = None
    client: httpx2.AsyncClient = field(default_factory=httpx2.AsyncClient)
    archived: ArchivedFiles = field(init=False)

    @property
    def root(self) -> Path:
        return self.folder / "workspace"

    @property
    def outside(self) -> Path:
        return self.folder / "outside"

    @property
    def blobs(self) -> FileBlobs:
        return FileBlobs(self.folder / "blobs")

    def session(self, *_: object) -> Session:
        status = Status.ENDED if self.ended else Status.READY
        return Session(
            id=S1, account="acme", user_id="u1", sandbox_id=SANDBOX, title="t",
            launched_at=NOW, created_at=NOW,
            head=Head(status=status, sandbox_status=self.status, updated_at=NOW),
            archives=self.archives, hibernating=self.hibernating, limits=self.limits,
        )  # fmt: skip

    def authenticate(self, key: str) -> Caller:
        if key != KEY:
            raise Unauthorized("The API key is not known.")
        return Caller("acme")

    def good(self, key: Key) -> bool:
        return True

    def read(self, account: str, session_id: str, user_id: str | None = None) -> Session:
        if session_id != S1 or user_id not in (None, "u1"):
            raise NotFound("Session not found")
        return self.session()

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """A path behind the session's own, as it is."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(f"/v1/sessions/{S1}/{path}", headers=named)

    async def put(self, path: str, body: Any) -> httpx2.Response:
        headers = {"Content-Type": "application/octet-stream"}
        return await self.client.put(f"/v1/sessions/{S1}/{path}", content=body, headers=headers)

    def sleep(self) -> None:
        """The workspace is packed, as a sandbox does it, and the sandbox stops."""
        packing, data = Packing(self.root, "full", 10**9), b""
        try:
            while part := packing.part():
                data += part
            packed = packing.packed()
        finally:
            packing.close()
        self.store(data, packed.listing, packed.size, packed.files)

    def store(self, data: bytes, listing: bytes, size: int, files: int) -> None:
        """Put an archive where it is looked for, whatever it is."""
        number = f"{len(self.archives):032x}"
        pieces = [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)] or [b""]
        prefix = place(S1, number)
        for index, piece in [*enumerate(pieces), (LISTING, listing)]:
            self.blobs.put(f"{prefix}/{index}", piece)
        about = [Part(size=len(piece), sha256="0" * 64) for piece in (*pieces, listing)]
        told = Archived(kind="full", parts=about[:-1], listing=about[-1], bytes=size, files=files)
        self.blobs.put(f"{prefix}/{MANIFEST}", told.model_dump_json().encode())
        made = Archive(id=number, kind="full", size=len(data), bytes=size, files=files, created_at=NOW)
        self.archives, self.status = (*self.archives, made), SandboxStatus.HIBERNATED


@asynccontextmanager
async def place_of_files(
    folder: Path, *, first_seconds: float = 10.0, idle_seconds: float = 30.0
) -> AsyncIterator[Place]:
    """A place whose workspace has an app, with things of others beside it."""
    here = Place(folder)
    (here.root / "app" / "src").mkdir(parents=True)
    (here.root / "app" / "index.html").write_bytes(b"<h1>hello</h1>")
    for name in ("home/.claude", "agent", ".opensessions", "app/node_modules"):
        (here.root / name).mkdir(parents=True)
        (here.root / name / "inner").write_bytes(SECRET)
    here.outside.mkdir()
    (here.outside / "secret").write_bytes(SECRET)
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    door = Door(set())
    here.files = FileService(here.root, 10**9).protocol
    door.key, door.files = DOOR_KEY, lambda: here.files() if here.files else asyncio.Protocol()
    server = await door.listen(listener.detach(), None)
    hub = Hub(lambda *_: [], poll_seconds=30)
    times = {"first_seconds": first_seconds, "idle_seconds": idle_seconds}
    live = LiveFiles(here.session, lambda *_: address, lambda _: DOOR_KEY, **times)
    here.archived = ArchivedFiles(here.blobs)
    files = Files(Callers(here, allow_query_key=True), live, here.archived, here.used.append)
    app = streams_app(EventStreams(here, hub, OpenStreams(), allow_query_key=True), *files.routes())
    try:
        async with (
            serving(app) as url,
            httpx2.AsyncClient(base_url=url, trust_env=False, headers={"X-API-Key": KEY}) as here.client,
        ):
            yield here
    finally:
        server.close()
        here.archived.close()


def plant(here: Place) -> None:
    """Whatever an agent can leave in its workspace."""
    root = here.root
    for name, target in {
        "out": "../outside", "up": "..", "passwd": "/etc/passwd", "environ": "/proc/self/environ",
        "self": "/proc/self", "root": "/", "absolute": str(here.outside / "secret"), "dangling": "nowhere",
        "loop": "loop", "zero": "/dev/zero", "hidden": "home/.claude", "inward": "app/index.html",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    os.mkfifo(root / "pipe")


LONG = "x" * 256
PATHS: list[tuple[str, int]] = [
    ("", 400), ("/", 400), ("/etc/passwd", 400), ("%2fetc/passwd", 400), ("%2Fproc%2Fself%2Fenviron", 400),
    ("%2e%2e/outside/secret", 400), ("%2e%2e%2foutside%2fsecret", 400), ("..%2foutside/secret", 400),
    ("app/%2e%2e/%2E%2E/outside/secret", 400), ("app/%2e%2e", 400), ("%2e", 400), ("%2e/app", 400),
    ("app//index.html", 400), ("app/", 400), ("app/index.html/", 400), ("..%5coutside%5csecret", 400),
    ("app%5cindex.html", 400), ("app%2findex.html", 400), ("%00", 400), ("app/index.html%00.png", 400),
    ("%ff", 400), ("app/%fe%ff", 400), ("%c0%ae%c0%ae/outside/secret", 400), ("%c0%af/etc/passwd", 400),
    ("%e0%80%ae%e0%80%ae/outside", 400), ("%ed%b0%80", 400), (LONG, 400), ("/".join(["x" * 200] * 30), 400),
    ("%252e%252e/outside/secret", 404), ("app%252findex.html", 404), ("app/%E2%80%A5/x", 404), ("...", 404),
    ("app/%20", 404), ("nothing", 404), ("app", 404), ("app/src", 404), ("app/index.html/x", 404),
    ("home/.claude/inner", 404), ("agent/inner", 404), (".opensessions/inner", 404), (".opensessions", 404),
    ("%2eopensessions/inner", 404), ("out", 404), ("out/secret", 404), ("up/outside/secret", 404),
    ("passwd", 404), ("environ", 404), ("self/environ", 404), ("root/etc/passwd", 404), ("absolute", 404),
    ("dangling", 404), ("loop", 404), ("pipe", 404), ("zero", 404), ("hidden/inner", 404), ("inward", 404),
    ("a%0ab", 404),
]  # fmt: skip


async def raw_get(here: Place, path: str) -> tuple[int, bytes]:
    """A GET of a path behind `/files/` that no client has tidied."""
    url = here.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"GET /v1/sessions/{S1}/files/{path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


def error_of(answer: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(answer)["error"]
    return error
