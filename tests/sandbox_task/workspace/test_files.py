"""The workspace's files at the door: what is shown, what is not, and nothing from outside."""

import asyncio
import ctypes
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h11
import pytest

from gateway.door import door
from opensessions.handshake import FILES_PORT, door_key
from sandbox_task.door import Door
from sandbox_task.workspace.file_service import FileService
from sandbox_task.workspace.files import Opened, Replacement, listing
from sandbox_task.workspace.paths import Span, Unsatisfiable, span, stays

KEY = door_key(b"master", "sb-one")
SECRET = b"a secret of the host's"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Workspace:
    """A workspace with a file of the host's beside it, and its service behind a real door."""

    root: Path
    door: int
    service: FileService

    @property
    def outside(self) -> Path:
        return self.root.parent / "outside"

    async def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request by way of the door."""
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        connect = door(lambda: ("127.0.0.1", self.door), KEY, FILES_PORT)
        transport = await connect(lambda: protocol)
        writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())  # type: ignore[arg-type]
        http = h11.Connection(h11.CLIENT)
        fields = [("host", "files"), *((name.replace("_", "-"), value) for name, value in headers.items())]
        if body is not None:
            fields.append(("content-length", str(len(body))))
        writer.write(http.send(h11.Request(method=method, target=target, headers=fields)) or b"")
        writer.write((http.send(h11.Data(data=body or b"")) or b"") + (http.send(h11.EndOfMessage()) or b""))
        try:
            return await _answer(http, reader)
        finally:
            writer.close()

    async def read(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", f"/file/{quote(path)}", None, **headers)

    async def put(self, path: str, body: bytes) -> int:
        return (await self.ask("PUT", f"/file/{quote(path)}", body)).status


async def _answer(http: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    status, headers, body = 0, {}, b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await asyncio.wait_for(reader.read(65536), 10))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status, headers, body)
        else:
            raise AssertionError(event)


@asynccontextmanager
async def serving(root: Path, limit: int = 10**9) -> AsyncIterator[Workspace]:
    listener = socket.create_server(("127.0.0.1", 0))
    made = Door(set())
    service = FileService(root, limit)
    made.key, made.files = KEY, service.protocol
    server = await made.listen(listener.detach(), None)
    try:
        yield Workspace(root, server.sockets[0].getsockname()[1], service)
    finally:
        server.close()


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    root = tmp_path / "workspace"
    (root / "app" / "src").mkdir(parents=True)
    (root / "app" / "index.html").write_bytes(b"<h1>hello</h1>")
    for name in ("home/.claude", "agent", ".opensessions", "app/node_modules/x", "app/__pycache__"):
        (root / name).mkdir(parents=True)
        (root / name / "inner").write_bytes(SECRET)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    async with serving(root) as made:
        yield made


async def test_a_folder_is_listed_without_what_is_hidden(workspace: Workspace) -> None:
    (workspace.root / "app" / "link").symlink_to("index.html")
    os.link(workspace.root / "app" / "index.html", workspace.root / "app" / "twin")
    os.mkfifo(workspace.root / "app" / "pipe")
    Path(os.fsdecode(os.fsencode(workspace.root / "app") + b"/\xff")).touch()
    top = (await workspace.ask("GET", "/folder/")).json()
    assert [entry[:3] for entry in top["data"]] == [["app", "folder", 0]]
    within = (await workspace.ask("GET", "/folder/app")).json()
    kinds = {name: kind for name, kind, _, _ in within["data"]}
    folders = dict.fromkeys(("src", "node_modules", "__pycache__"), "folder")
    assert kinds == {"index.html": "link", "link": "link", "twin": "link", **folders}
    assert within["truncated"] is False


async def test_a_large_folder_is_listed_in_part(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_task.workspace.files.MOST_LISTED", 2)
    listed = (await workspace.ask("GET", "/folder/app")).json()
    assert (len(listed["data"]), listed["truncated"]) == (2, True)


async def test_a_file_is_read_whole_and_in_part(workspace: Workspace) -> None:
    whole = await workspace.read("app/index.html")
    assert (whole.status, whole.body) == (200, b"<h1>hello</h1>")
    assert whole.headers["content-length"] == "14"
    part = await workspace.read("app/index.html", range="bytes=4-8", if_range=whole.headers["etag"])
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"hello", "bytes 4-8/14")
    changed = await workspace.read("app/index.html", range="bytes=4-8", if_range='"other"')
    assert (changed.status, changed.body) == (200, whole.body)
    beyond = await workspace.read("app/index.html", range="bytes=14-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */14")


@pytest.mark.parametrize(
    ("wanted", "of_ten"),
    [
        ("", (0, 10)), ("bytes=0-0", (0, 1)), ("bytes=2-", (2, 10)), ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)), ("bytes=5-99", (5, 10)), ("bytes=-", (0, 10)), ("bytes=3-2", (0, 10)),
        ("bytes=0-1,3-4", (0, 10)), ("lines=1-2", (0, 10)), ("bytes=0x1-2", (0, 10)),
        ("bytes=10-", None), ("bytes=-0", None), ("bytes=999999999999999-", None),
    ],
)  # fmt: skip
def test_ranges(wanted: str, of_ten: tuple[int, int] | None) -> None:
    if of_ten is None:
        with pytest.raises(Unsatisfiable):
            span(wanted, 10)
    else:
        partial = wanted not in ("", "bytes=-", "bytes=3-2", "bytes=0-1,3-4", "lines=1-2", "bytes=0x1-2")
        assert span(wanted, 10) == Span(*of_ten, partial)


@pytest.mark.parametrize(
    ("path", "target", "within"),
    [
        ("app/a", "b", True), ("app/a", "../b/c", True), ("app/a", "..", True), ("a", ".", False),
        ("a", "..", False), ("app/a", "../..", False), ("app/a", "b/..", False), ("app/a", "/etc", False),
        ("app/a", "../../etc", False), ("app/a", "", False), ("app/a", "b//c", False), ("app/a", "b/", False),
    ],
)  # fmt: skip
def test_links_that_stay_in_the_workspace(path: str, target: str, within: bool) -> None:
    assert stays(path, target) is within


LONG = "x" * 256
PATHS: list[tuple[str, int]] = [
    ("", 400), ("/", 400), ("/etc/passwd", 400), ("//etc/passwd", 400), ("%2fetc/passwd", 400),
    ("%2Fproc/self/environ", 400), ("..", 400), ("../outside/secret", 400), ("app/../../outside/secret", 400),
    ("app/..", 400), ("%2e%2e/outside/secret", 400), ("%2e%2e%2foutside%2fsecret", 400),
    ("..%2foutside/secret", 400), ("app/%2e%2e/%2E%2E/outside/secret", 400), (".", 400), ("./app", 400),
    ("app/./index.html", 400), ("app//index.html", 400), ("app/", 400), ("app/index.html/", 400),
    ("..%5coutside%5csecret", 400), ("app%5cindex.html", 400), ("%00", 400), ("app/index.html%00.png", 400),
    ("%ff", 400), ("%c0%ae%c0%ae/outside/secret", 400), ("%e0%80%ae%e0%80%ae/outside", 400),
    ("%ed%b0%80", 400), (LONG, 400), ("/".join(["x" * 200] * 30), 400), ("%252e%252e/outside/secret", 404),
    ("app%252findex.html", 404), ("app/%E2%80%A5/x", 404), ("...", 404), ("app/%20", 404), ("nothing", 404),
    ("app", 404), ("app/src", 404), ("app/index.html/x", 404), ("home/inner", 404),
    ("home/.claude/inner", 404), ("home/../app/index.html", 400),
    ("agent/inner", 404), (".opensessions/inner", 404), (".opensessions", 404),
    ("%2eopensessions/inner", 404),
    ("out", 404), ("out/secret", 404), ("up", 404), ("up/outside/secret", 404), ("passwd", 404),
    ("environ", 404), ("self/environ", 404), ("root/etc/passwd", 404), ("absolute", 404), ("dangling", 404),
    ("loop", 404), ("hard", 404), ("pipe", 404), ("zero", 404), ("sock", 404), ("hidden/inner", 404),
    ("inward", 404),
]  # fmt: skip


def plant(root: Path) -> None:
    """Whatever an agent can leave in its workspace."""
    for name, target in {
        "out": "../outside", "up": "..", "passwd": "/etc/passwd", "environ": "/proc/self/environ",
        "self": "/proc/self", "root": "/", "absolute": str(root.parent / "outside" / "secret"),
        "dangling": "nowhere", "loop": "loop", "zero": "/dev/zero", "hidden": "home/.claude",
        "inward": "app/index.html",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    os.link(root.parent / "outside" / "secret", root / "hard")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as plug:
        before = Path.cwd()
        os.chdir(root)  # the names of sockets are short
        try:
            plug.bind("sock")
        finally:
            os.chdir(before)


async def test_no_path_leads_outside(workspace: Workspace) -> None:
    plant(workspace.root)
    for path, status in PATHS:
        answer = await workspace.ask("GET", f"/file/{path}")
        assert (path, answer.status, answer.body) == (path, status, b"")
        if path and path != "/":
            listed = await workspace.ask("GET", f"/folder/{path}")
            expected = {"app": 200, "app/src": 200}.get(path, status)
            assert (path, listed.status) == (path, expected)
        assert SECRET not in answer.body


async def test_nothing_is_written_outside(workspace: Workspace) -> None:
    plant(workspace.root)
    replaced = {
        "out",
        "up",
        "passwd",
        "environ",
        "absolute",
        "dangling",
        "loop",
        "hard",
        "pipe",
        "zero",
        "sock",
    }
    new = {"%252e%252e/outside/secret", "app%252findex.html", "app/%E2%80%A5/x", "...", "app/%20", "nothing"}
    new |= {"self/environ", "root/etc/passwd", "out/secret", "up/outside/secret", "hidden/inner", "inward"}
    for path, status in PATHS:
        answer = await workspace.ask("PUT", f"/file/{path}", b"new")
        if path in replaced | new:
            assert (path, answer.status in (204, 404)) == (path, True)
        else:
            assert (path, answer.status) == (path, {"app": 409, "app/src": 409}.get(path, status))
    assert [each.name for each in workspace.outside.iterdir()] == ["secret"]
    assert (workspace.outside / "secret").read_bytes() == SECRET
    assert (workspace.root / "home" / ".claude" / "inner").read_bytes() == SECRET
    assert (workspace.root / ".opensessions" / "inner").read_bytes() == SECRET


async def test_a_link_and_a_pipe_are_replaced_not_written_to(workspace: Workspace) -> None:
    plant(workspace.root)
    for name in ("absolute", "passwd", "inward", "hard", "pipe", "loop"):
        assert await workspace.put(name, b"mine") == 204
        assert (workspace.root / name).read_bytes() == b"mine"
        assert not (workspace.root / name).is_symlink()
    assert (workspace.outside / "secret").read_bytes() == SECRET
    assert (workspace.root / "app" / "index.html").read_bytes() == b"<h1>hello</h1>"


async def test_writing_makes_folders_and_keeps_the_mode(workspace: Workspace) -> None:
    script = workspace.root / "app" / "run.sh"
    script.write_bytes(b"old")
    script.chmod(0o750)
    assert await workspace.put("app/run.sh", b"new") == 204
    assert (script.read_bytes(), script.stat().st_mode & 0o777) == (b"new", 0o750)
    assert await workspace.put("app/deep/er/file.txt", b"") == 204
    assert (workspace.root / "app/deep/er/file.txt").stat().st_mode & 0o777 == 0o644
    assert await workspace.put("app/src", b"") == 409
    assert await workspace.put("app/run.sh/x", b"") == 404
    assert [each.name for each in (workspace.root / ".opensessions").iterdir()] == ["inner"]


async def test_what_is_cut_or_too_large_changes_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_task.workspace.file_service.MOST_WRITTEN", 1000)
    assert await workspace.put("app/index.html", b"x" * 1001) == 413
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport: Any = await door(lambda: ("127.0.0.1", workspace.door), KEY, FILES_PORT)(lambda: protocol)
    transport.write(b"PUT /file/app/index.html HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
    transport.write_eof()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    transport.close()
    assert (workspace.root / "app" / "index.html").read_bytes() == b"<h1>hello</h1>"
    assert [each.name for each in (workspace.root / ".opensessions").iterdir()] == ["inner"]


async def test_a_link_that_is_swapped_in_meanwhile_leads_nowhere(workspace: Workspace) -> None:
    """A folder and a file take turns with links to a place outside, while both are read and written."""
    root, over = workspace.root, threading.Event()
    (root / "real").mkdir()
    (root / "real" / "secret").write_bytes(b"own")
    (root / "file").write_bytes(b"mine")
    (root / "link").symlink_to("../outside")
    (root / "flink").symlink_to("../outside/secret")
    (workspace.outside / "only outside").touch()
    swaps, read_as, listed = 0, set[bytes](), set[str]()

    exchange = ctypes.CDLL(None).renameat2

    def swap() -> None:
        nonlocal swaps
        while not over.is_set():
            for one, other in (b"real", b"link"), (b"file", b"flink"):
                exchange(-100, bytes(root) + b"/" + one, -100, bytes(root) + b"/" + other, 2)
            swaps += 1

    def read(*names: str) -> bytes:
        opened = Opened(root, names)
        try:
            return opened.read(0, 100)
        finally:
            opened.close()

    def write(*names: str) -> None:
        replacement = Replacement(root, names)
        try:
            replacement.write(b"mine")
            replacement.put()
        finally:
            replacement.close()

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        while swaps < 1000 or len(read_as) < 2:
            with suppress(OSError):
                read_as.add(read("real", "secret"))
            with suppress(OSError):
                read_as.add(read("file"))
            with suppress(OSError):
                write("real", "new")
            with suppress(OSError):
                listed |= {entry.name for entry in listing(root, ("real",))[0]}
    finally:
        over.set()
        thread.join()
    assert read_as == {b"mine", b"own"} and listed == {"secret", "new"}
    assert {each.name for each in workspace.outside.iterdir()} == {"only outside", "secret"}


async def test_the_archive_holds_the_users_files_and_no_others(workspace: Workspace) -> None:
    plant(workspace.root)
    (workspace.root / "app" / "inside").symlink_to("index.html")
    (workspace.root / "app" / "run.sh").write_bytes(b"#!/bin/sh\n" * 40_000)
    (workspace.root / "app" / "run.sh").chmod(0o700)
    answer = await workspace.ask("GET", "/archive")
    assert answer.status == 200 and SECRET not in answer.body
    with tarfile.open(fileobj=io.BytesIO(answer.body), mode="r:gz") as tar:
        kinds = {member.name: member.type for member in tar}
        script = tar.getmember("app/run.sh")
        assert (script.mode, script.uname, script.uid, script.size) == (0o755, "", 0, 400_000)
        held = b"".join(f.read() for each in tar if (f := each.isreg() and tar.extractfile(each)))
    assert SECRET not in held
    assert kinds == {
        "app": b"5", "app/src": b"5", "app/index.html": b"0", "app/run.sh": b"0", "app/inside": b"2",
        "inward": b"2", "hidden": b"2", "dangling": b"2", "loop": b"2",
    }  # fmt: skip


async def test_an_archive_that_would_be_too_large_is_refused_before_it_begins(workspace: Workspace) -> None:
    async with serving(workspace.root, limit=10) as small:
        assert (await small.ask("GET", "/archive")).status == 413


async def test_who_leaves_an_archive_takes_its_process_along(workspace: Workspace) -> None:
    with (workspace.root / "app" / "large").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport: Any = await door(lambda: ("127.0.0.1", workspace.door), KEY, FILES_PORT)(lambda: protocol)
    transport.write(b"GET /archive HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")

    def children() -> list[str]:
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return [pid for pid in listed if b"workspace.download" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    assert children()
    transport.abort()
    async with asyncio.timeout(30):
        while workspace.service.packing:
            await asyncio.sleep(0.02)
    assert not children()


@pytest.mark.parametrize(
    "request_line", ["POST /file/app", "DELETE /file/app", "GET /", "GET /elsewhere/app"]
)
async def test_there_is_nothing_else(workspace: Workspace, request_line: str) -> None:
    method, target = request_line.split()
    assert (await workspace.ask(method, target)).status == 404


def test_a_worker_starts_without_it() -> None:
    ask = "import sys, sandbox_task.worker; sys.exit('sandbox_task.workspace.file_service' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", ask], cwd=Path(__file__).parents[3]).returncode == 0
