"""The files of a live session: over the routes, the door and the worker's service, and over a hostile one."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from opensessions.models import Limits, SandboxStatus
from tests.gateway.file_parts import PATHS, S1, SECRET, Place, error_of, place_of_files, plant, raw_get


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    async with place_of_files(tmp_path, first_seconds=2, idle_seconds=1) as made:
        yield made


async def test_a_folder_is_listed(here: Place) -> None:
    plant(here)
    top = (await here.get("files")).json()
    assert top["truncated"] is False
    listed = {entry["path"]: entry["kind"] for entry in top["data"]}
    assert listed.pop("app") == "folder" and set(listed.values()) == {"link"}
    assert list(listed) == sorted(listed)
    [src] = [entry for entry in (await here.get("files?path=app")).json()["data"] if entry["kind"] == "file"]
    assert (src["path"], src["size"]) == ("app/index.html", 14)
    assert src["modifiedAt"].endswith("Z")
    assert (await here.get("files?path=app/src")).json() == {"data": [], "truncated": False}
    for path, status in (("nothing", 404), ("home", 404), ("out", 404), ("..", 400), ("app/", 400)):
        assert (await here.get(f"files?path={path}")).status_code == status


async def test_a_file_is_never_a_page_of_ours(here: Place) -> None:
    answer = await here.get("files/app/index.html", origin="https://app.example.com")
    assert (answer.status_code, answer.content) == (200, b"<h1>hello</h1>")
    expected = {
        "content-type": "application/octet-stream",
        "content-length": "14",
        "content-disposition": "attachment; filename*=UTF-8''index.html",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
        "accept-ranges": "bytes",
        "access-control-allow-origin": "https://app.example.com",
    }
    assert {name: answer.headers[name] for name in expected} == expected
    assert answer.headers["x-request-id"].startswith("req_")


async def test_names_are_told_whole(here: Place) -> None:
    (here.root / "app" / 'ü"\n;.txt').write_bytes(b"odd")
    answer = await here.get("files/app/%C3%BC%22%3B.txt")
    assert answer.status_code == 404
    (here.root / "app" / 'ü";.txt').write_bytes(b"odd")
    answer = await here.get("files/app/%C3%BC%22%3B.txt")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BC%22%3B.txt"


async def test_parts_of_a_file(here: Place) -> None:
    whole = await here.get("files/app/index.html")
    tag = whole.headers["etag"]
    part = await here.get("files/app/index.html", range="bytes=4-8", if_range=tag)
    assert (part.status_code, part.content) == (206, b"hello")
    assert part.headers["content-range"] == "bytes 4-8/14"
    assert (await here.get("files/app/index.html", range="bytes=-5")).content == b"</h1>"
    assert (
        await here.get("files/app/index.html", range="bytes=4-8", if_range='"x"')
    ).content == whole.content
    assert (await here.get("files/app/index.html", range="bytes=1-2,4-5")).content == whole.content
    beyond = await here.get("files/app/index.html", range="bytes=99-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */14")
    assert beyond.json()["error"]["type"] == "invalid_request"


async def test_a_large_file_comes_whole(here: Place) -> None:
    data = bytes(range(256)) * 40_000
    (here.root / "app" / "large").write_bytes(data)
    assert (await here.get("files/app/large")).content == data


async def test_a_file_is_written(here: Place) -> None:
    plant(here)
    for path in ("app/new/file.bin", "absolute", "app/index.html"):
        answer = await here.put(f"files/{path}", b"\x00\xff" * 1000)
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await here.get(f"files/{path}")).content == b"\x00\xff" * 1000
    assert (here.outside / "secret").read_bytes() == SECRET
    assert here.used == [S1] * 3
    assert (await here.put("files/app", b"")).status_code == 409
    assert (await here.put("files/out/secret", b"")).status_code == 404
    assert (await here.put("files/.opensessions/x", b"")).status_code == 404
    assert (await here.put("files/%2e%2e/x", b"")).status_code == 400


async def test_bytes_that_would_be_taken_for_text_are_refused(here: Place) -> None:
    for kind in ("text/plain", "image/png", "application/json"):
        headers = {"Content-Type": kind}
        answer = await here.client.put(f"/v1/sessions/{S1}/files/app/x", content=b"x", headers=headers)
        assert answer.status_code == 415
        assert "Content-Type: application/octet-stream" in answer.json()["error"]["message"]


async def test_what_is_written_is_bounded(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.files.MOST_WRITTEN", 1000)
    assert (await here.put("files/app/x", b"x" * 1000)).status_code == 204

    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"y" * 100

    assert (await here.put("files/app/y", pieces(10))).status_code == 204
    assert (await here.put("files/app/x", b"x" * 1001)).status_code == 413
    assert (await here.put("files/app/y", pieces(11))).status_code == 413
    assert (here.root / "app" / "y").read_bytes() == b"y" * 1000
    async with asyncio.timeout(5):
        while list((here.root / ".opensessions").glob("put-*")):  # what was cut is cleared away behind it
            await asyncio.sleep(0.02)


async def test_the_users_files_are_downloaded(here: Place) -> None:
    plant(here)
    answer = await here.get("archive")
    assert answer.headers["content-type"] == "application/gzip"
    assert answer.headers["content-disposition"].endswith(f"{S1}.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        names = set(tar.getnames())
    assert {"app", "app/src", "app/index.html"} <= names
    assert not {"home", "agent", ".opensessions", "out", "root"} & {name.split("/")[0] for name in names}
    assert SECRET not in answer.content and "app/node_modules" not in names


async def test_no_path_leads_outside(here: Place) -> None:
    plant(here)
    assert len(PATHS) > 30
    for path, status in PATHS:
        got, body = await raw_get(here, path)
        assert (path, got) == (path, status)
        assert error_of(body)["type"] == {400: "invalid_request", 404: "not_found"}[status]


async def test_only_who_may_see_the_session_gets_anything(here: Place) -> None:
    for path in ("files", "files/app/index.html", "archive"):
        url = f"/v1/sessions/{S1}/{path}"
        assert (await here.client.get(url, headers={"X-API-Key": ""})).status_code == 401
        assert (await here.client.get(url, headers={"X-API-Key": "wrong"})).status_code == 401
        assert (await here.client.get(url, params={"user_id": "u2"})).status_code == 404
        assert (await here.client.get(url, params={"user_id": ""})).status_code == 400
        assert (await here.client.get(url, params={"user_id": "u1"})).status_code == 200
        assert (await here.client.get(url.replace("1", "2"))).status_code == 404
        refused = await here.client.post(url)
        assert (refused.status_code, refused.headers["allow"][:3]) == (405, "GET")
        assert (await here.client.options(url)).status_code == 204


async def test_it_waits_for_a_sandbox_that_is_starting(here: Place) -> None:
    here.status = SandboxStatus.STARTING
    for answer in (await here.get("files"), await here.get("archive"), await here.put("files/app/x", b"")):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    here.status, here.hibernating = SandboxStatus.RUNNING, 7
    assert (await here.put("files/app/x", b"")).status_code == 503
    assert (await here.get("files")).status_code == 200


Hostile = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def hostile(here: Place, answer: bytes, *, then: bytes = b"", hold: bool = False) -> None:
    """Put a service behind the door that answers so, whatever is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        try:
            while then:
                writer.write(then)
                await writer.drain()
            if hold:
                await reader.read()
        except ConnectionError:
            pass
        writer.close()

    here.files = lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), serve)


OK = b"HTTP/1.1 200 OK\r\n"
NONSENSE = {
    "nothing": b"",
    "no HTTP": b"220 smtp ready\r\n\r\n",
    "an endless head": OK + b"X: " + b"x" * 100_000,
    "many fields": OK + b"X: y\r\n" * 5000 + b"\r\n",
    "no length": OK + b"\r\n<script>",
    "a length that is none": OK + b"Content-Length: 1e3\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n",
    "another status": b"HTTP/1.1 299 Fine\r\nContent-Length: 0\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "a range of nothing": b"HTTP/1.1 206 Partial\r\nContent-Length: 2\r\n\r\nab",
    "a wrong range": b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 5-4/9\r\nContent-Length: 0\r\n\r\n",
    "a range beyond": b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-1/1\r\nContent-Length: 2\r\n\r\nab",
    "416 without a size": b"HTTP/1.1 416 No\r\nContent-Range: x\r\nContent-Length: 0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE.keys())
async def test_a_sandbox_that_answers_nonsense(here: Place, answer: bytes) -> None:
    hostile(here, answer)
    for path in ("files", "files/app/index.html"):
        got = await here.get(path)
        assert got.status_code == 503 and "retry-after" in got.headers
        assert got.headers["content-type"] == "application/json"


async def test_a_sandbox_that_says_nothing(here: Place) -> None:
    hostile(here, b"", hold=True)
    assert (await here.get("files/app/index.html")).status_code == 503
    hostile(here, b"HTTP/1.1 100 Continue\r\n\r\n", then=b"HTTP/1.1 102 Processing\r\n\r\n")
    assert (await here.get("files/app/index.html")).status_code == 503
    hostile(here, OK + b"Content-Length: 50\r\n\r\nsome", hold=True)
    with pytest.raises(httpx2.RemoteProtocolError):
        await here.get("files/app/index.html")


async def test_nothing_of_a_sandboxs_headers_passes(here: Place) -> None:
    fields = b"Content-Type: text/html\r\nSet-Cookie: a=b\r\nX-Evil: 1\r\nLocation: /\r\nETag: W/<x>\r\n"
    fields += b"Content-Disposition: inline\r\nContent-Encoding: gzip\r\nAccess-Control-Allow-Origin: *\r\n"
    hostile(here, OK + fields + b"Content-Length: 8\r\n\r\n<script>")
    answer = await here.get("files/app/index.html")
    assert (answer.status_code, answer.content) == (200, b"<script>")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    evil = {"set-cookie", "x-evil", "location", "etag", "content-encoding", "access-control-allow-origin"}
    assert not evil & set(answer.headers)


@pytest.mark.parametrize(
    "listing",
    [
        b"[]", b'{"data": 1}', b'{"data": [["a", "device", 0, 0]], "truncated": false}', b"[" * 50_000,
        b'{"data": [["a", "file", -1, 0]], "truncated": false}',
        b'{"data": [' + b'["a", "file", 0, 0],' * 5000 + b'["a", "file", 0, 0]], "truncated": false}',
        b"x" * (5 << 20),
    ],
)  # fmt: skip
async def test_a_listing_that_makes_no_sense(here: Place, listing: bytes) -> None:
    hostile(here, OK + b"Content-Length: %d\r\n\r\n%b" % (len(listing), listing))
    assert (await here.get("files")).status_code == 503


async def test_a_listing_is_looked_through(here: Place) -> None:
    said = b'{"data": [["../x", "file", 1, 0], ["..", "folder", 0, 0], ["home", "folder", 0, 0],'
    said += b'["b", "link", 0, 9], ["a", "file", 3, 99999999999999999999], ["a", "folder", 0, -5],'
    said += b'["", "file", 0, 0]], "truncated": true}'
    hostile(here, OK + b"Content-Length: %d\r\n\r\n%b" % (len(said), said))
    listed = (await here.get("files")).json()
    assert [(entry["path"], entry["kind"]) for entry in listed["data"]] == [("a", "folder"), ("b", "link")]
    assert listed["truncated"] is True


async def test_an_archive_without_an_end_is_cut(here: Place) -> None:
    here.limits = Limits(workspace_bytes=10**6)
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    hostile(here, OK + b"Transfer-Encoding: chunked\r\n\r\n", then=chunk)
    seen = 0
    with pytest.raises(httpx2.RemoteProtocolError):
        async with here.client.stream("GET", f"/v1/sessions/{S1}/archive") as answer:
            async for data in answer.aiter_raw():
                seen += len(data)
    assert seen <= 2 * 10**6


async def test_few_at_once_of_a_session(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.live_files.AT_ONCE", 1)
    (here.root / "app" / "large").write_bytes(bytes(64 << 20))
    async with here.client.stream("GET", f"/v1/sessions/{S1}/files/app/large") as answer:
        assert answer.status_code == 200
        refused = await here.get("files")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")

    async def free() -> bool:
        return (await here.get("files")).status_code == 200

    async with asyncio.timeout(5):
        while not await free():
            await asyncio.sleep(0.02)
