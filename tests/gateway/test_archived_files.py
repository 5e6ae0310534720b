"""The files of a session that sleeps or has ended, out of archives: real ones, and hostile ones."""

import asyncio
import io
import json
import os
import tarfile
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from opensessions.archives import LISTING, PART_BYTES
from opensessions.models import SandboxStatus
from opensessions.sessions.keeping import MANIFEST, place
from sandbox_task.workspace.compression import zstd
from tests.gateway.file_parts import PATHS, S1, SECRET, Place, error_of, place_of_files, plant, raw_get


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    async with place_of_files(tmp_path) as made:
        yield made


async def test_it_is_as_it_was(here: Place) -> None:
    large = os.urandom(PART_BYTES + 5000)
    (here.root / "app" / "large").write_bytes(large)
    (here.root / "app" / "ü").write_bytes(b"")
    live = (await here.get("files?path=app")).json()
    here.sleep()
    for here.status, here.ended in ((SandboxStatus.HIBERNATED, False), (SandboxStatus.STOPPED, True)):
        asleep = (await here.get("files?path=app")).json()
        for listed in (live, asleep):
            for entry in listed["data"]:
                entry["modifiedAt"] = entry["modifiedAt"][:19]
        assert asleep == live
        answer = await here.get("files/app/large")
        assert (answer.status_code, answer.content == large) == (200, True)
        assert (await here.get("files/app/%C3%BC")).content == b""
        assert [entry["path"] for entry in (await here.get("files")).json()["data"]] == ["app"]


async def test_a_part_of_a_file_and_its_headers(here: Place) -> None:
    here.sleep()
    whole = await here.get("files/app/index.html")
    assert (whole.content, whole.headers["content-length"]) == (b"<h1>hello</h1>", "14")
    assert whole.headers["content-disposition"] == "attachment; filename*=UTF-8''index.html"
    assert whole.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert whole.headers["cross-origin-resource-policy"] == "same-origin"
    tag = whole.headers["etag"]
    part = await here.get("files/app/index.html", range="bytes=4-8", if_range=tag)
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"hello", "bytes 4-8/14")
    assert (await here.get("files/app/index.html", range="bytes=4-8", if_range='"0"')).status_code == 200
    assert (await here.get("files/app/index.html", range="bytes=14-")).status_code == 416


async def test_the_download_is_the_same_as_of_a_live_one(here: Place) -> None:
    plant(here)
    (here.root / "app" / "run.sh").write_bytes(b"x" * 100_000)
    (here.root / "app" / "run.sh").chmod(0o755)

    def held(data: bytes) -> dict[str, Any]:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            return {m.name: (m.type, m.size, m.mode, m.linkname, m.mtime) for m in tar}

    live = await here.get("archive")
    here.sleep()
    asleep = await here.get("archive")
    assert held(asleep.content) == held(live.content)
    assert asleep.headers["content-type"] == "application/gzip"


async def test_no_path_leads_anywhere_else(here: Place) -> None:
    plant(here)
    here.sleep()
    for path, status in PATHS:
        got, body = await raw_get(here, path)
        assert (path, got) == (path, status)
        assert error_of(body)["message"] and SECRET not in body
    for path in ("home", "home/.claude", ".opensessions", "agent", "nothing", "app/index.html", "out"):
        assert (await here.get(f"files?path={path}")).status_code == 404


async def test_it_can_only_be_read(here: Place) -> None:
    here.sleep()
    answer = await here.put("files/app/x", b"new")
    assert answer.status_code == 409 and "wakes it" in answer.json()["error"]["message"]
    here.ended, here.status = True, SandboxStatus.STOPPED
    answer = await here.put("files/app/x", b"new")
    assert answer.status_code == 409 and "has ended" in answer.json()["error"]["message"]


async def test_what_is_gone_is_said_to_be(here: Place) -> None:
    here.status = SandboxStatus.STOPPED
    for path in ("files", "files/app/index.html", "archive"):
        answer = await here.get(path)
        assert answer.status_code == 404 and "are gone" in answer.json()["error"]["message"]
    here.sleep()
    here.blobs.delete(place(S1, here.archives[-1].id))
    for path in ("files", "files/app/index.html", "archive"):
        answer = await here.get(path)
        assert answer.status_code == 404 and "are gone" in answer.json()["error"]["message"]


async def test_the_newest_archive_counts(here: Place) -> None:
    here.sleep()
    (here.root / "app" / "index.html").write_bytes(b"newer")
    here.sleep()
    assert (await here.get("files/app/index.html")).content == b"newer"


async def test_a_file_that_comes_early_costs_no_part_behind_it(here: Place) -> None:
    (here.root / "app" / "zzz").write_bytes(os.urandom(3 * PART_BYTES))
    here.sleep()
    prefix = place(S1, here.archives[-1].id)
    for part in range(1, 4):
        here.blobs.delete(f"{prefix}/{part}")
    assert (await here.get("files/app/index.html")).content == b"<h1>hello</h1>"
    with pytest.raises(httpx2.RemoteProtocolError):
        await here.get("files/app/zzz")


async def test_four_at_once(here: Place) -> None:
    (here.root / "app" / "large").write_bytes(os.urandom(40 << 20))
    here.sleep()
    url = f"/v1/sessions/{S1}/files/app/large"
    open_ones = [here.client.stream("GET", url) for _ in range(4)]
    for stream in open_ones:
        assert (await stream.__aenter__()).status_code == 200
    for path in ("files", "files/app/index.html", "archive"):
        refused = await here.get(path)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    for stream in open_ones:
        await stream.__aexit__(None, None, None)
    async with asyncio.timeout(10):
        while (await here.get("files")).status_code != 200:
            await asyncio.sleep(0.02)


def entry(name: str, data: bytes = b"", **fields: Any) -> bytes:
    """One entry of a tar."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return head + data + bytes(-len(data) % 512)


def listing(*lines: Sequence[object]) -> bytes:
    return zstd.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


END = bytes(1024)
SYMLINK, HARD, DEVICE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE
APP = entry("app", type=tarfile.DIRTYPE)
FILE = ["app/x", "f", 4, 0]
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no tar": b"\xff" * 5000,
    "cut": entry("app/y", b"abcd")[:600],
    "absolute": entry("/etc/passwd", b"abcd"),
    "above": entry("../x", b"abcd"),
    "above within": entry("app/../../x", b"abcd"),
    "a hard link": entry("app/x", type=HARD, linkname="/etc/passwd"),
    "a device": entry("app/x", type=DEVICE, devmajor=1, devminor=5),
    "a sparse file": entry("app/x", b"abcd", pax_headers={"GNU.sparse.realsize": str(2**60)}),
    "a size that is none": entry("app/x", b"abcd", pax_headers={"size": "-5"}),
    "a size without an end": entry("app/x", b"abcd", pax_headers={"size": "999999999999999"}),
    "a header without an end": tarfile.TarInfo("x").tobuf()[:124] + b"77777777777\0" + bytes(376),
    "a name of another": entry("app/y", b"abcd", pax_headers={"path": "../../etc/x"}),
    "more than it says": b"".join(entry(f"app/{number}", b"x" * 1000) for number in range(50)),
}


@pytest.mark.parametrize("tar", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_archive_gives_nothing(here: Place, tar: bytes) -> None:
    here.store(zstd.compress(tar + END), listing(FILE), 4, 2)
    answer = await here.get("files/app/x")
    assert answer.status_code in (404, 503), answer.content
    try:
        archive = await here.get("archive")
    except httpx2.RemoteProtocolError:
        return
    if archive.status_code == 200:
        with tarfile.open(fileobj=io.BytesIO(archive.content)) as made:
            assert not [name for name in made.getnames() if ".." in name or name.startswith("/")]


async def test_a_bomb_goes_off_nowhere(here: Place) -> None:
    """A gigabyte of zeros in 32 kB, which the archive does not own up to."""
    packer = zstd.ZstdCompressor(level=1)
    packed = packer.compress(APP + entry("app/x", b"")[:124] + b"77777777777\0" + bytes(376))
    packed += b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    here.store(packed, listing(FILE), 4, 2)
    assert (await here.get("files/app/x")).status_code == 503
    with pytest.raises(httpx2.RemoteProtocolError):
        await here.get("archive")


@pytest.mark.parametrize(
    "lines",
    [
        b"[", b"{}\n", b'["app/x", "z", 4, 0]\n', b'["app/x", "f", "4", 0]\n', b"[" * 100_000,
        b'["app/x", "f", 4, 0]\n' * 3, b'["' + b"x" * 300_000, b"[1, 2, 3, 4]\n", b"\xff\xfe\n",
    ],
)  # fmt: skip
async def test_a_hostile_listing_gives_nothing(here: Place, lines: bytes) -> None:
    here.store(zstd.compress(APP + entry("app/x", b"abcd") + END), zstd.compress(lines), 4, 2)
    assert (await here.get("files")).status_code == 503
    assert (await here.get("files?path=app")).status_code == 503


async def test_a_listing_that_is_no_zstd_or_a_bomb(here: Place) -> None:
    tar = zstd.compress(APP + entry("app/x", b"abcd") + END)
    huge = zstd.ZstdCompressor(level=1)
    bomb = b"".join(huge.compress(b"\n" * (1 << 20)) for _ in range(300)) + huge.flush()
    wide = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    far = wide.compress(b'["app", "d", 0, 0]\n') + wide.flush()
    for bad in (b"", b"nonsense", bomb, far):
        here.store(tar, bad, 4, 2)
        assert (await here.get("files?path=app")).status_code == 503


async def test_a_listing_is_looked_through(here: Place) -> None:
    lines = [
        ["app", "d", 0, 5], ["app/../..", "d", 0, 0], ["..", "d", 0, 0], ["/etc", "d", 0, 0],
        ["home", "d", 0, 0], ["a\u0000b", "f", 1, 0], ["\udcff", "f", 1, 0], ["b", "l", 7, -9],
        ["z", "f", -1, 10**30], ["app", "f", 9, 0],
    ]  # fmt: skip
    here.store(zstd.compress(END), listing(*lines), 4, 20)
    listed = (await here.get("files")).json()["data"]
    assert [(each["path"], each["kind"], each["size"]) for each in listed] == [
        ("app", "folder", 0), ("b", "link", 0), ("z", "file", 0)
    ]  # fmt: skip
    assert (await here.get("files/z")).status_code == 404


async def test_a_download_leads_nowhere_when_it_is_unpacked(here: Place) -> None:
    tar = [
        APP, entry("app/x", b"abcd"), entry("app/x", b"efgh"),
        entry("app/up", type=SYMLINK, linkname="../.."), entry("app/up/y", b"abcd"),
        entry("app/in", type=SYMLINK, linkname="../app/x"), entry("app/in", b"abcd"),
        entry("app/far", type=SYMLINK, linkname="/etc/passwd"),
        entry("app/turn", type=SYMLINK, linkname="in/../../.."),
        entry("home", type=tarfile.DIRTYPE), entry("home/secret", SECRET),
        entry("nowhere/y", b"abcd"),
        entry("node_modules", type=tarfile.DIRTYPE), entry("node_modules/y", b"abcd"),
        END,
    ]  # fmt: skip
    here.store(zstd.compress(b"".join(tar)), listing(), 6 * 4 + len(SECRET), 14)
    answer = await here.get("archive")
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as made:
        assert made.getnames() == ["app", "app/x", "app/in"]
        kept = made.extractfile("app/x")
        assert kept and kept.read() == b"abcd"


async def test_what_lies_too_deep_is_given_up(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    here.sleep()
    held, get = threading.Event(), type(here.blobs).get

    def slow(blobs: Any, key: str) -> bytes | None:
        if not key.endswith((MANIFEST, str(LISTING))):
            held.wait(10)
        return get(blobs, key)

    monkeypatch.setattr("opensessions.local.files.FileBlobs.get", slow)
    monkeypatch.setattr(here.archived, "_seconds", 0.2)
    try:
        for _ in range(4):
            answer = await here.get("files/app/index.html")
            assert answer.status_code == 503 and "too deep" in answer.json()["error"]["message"]
        # Those that were given up still have their threads.
        assert "many archives" in (await here.get("files/app/index.html")).json()["error"]["message"]
    finally:
        held.set()
    async with asyncio.timeout(10):
        while (await here.get("files/app/index.html")).status_code != 200:
            await asyncio.sleep(0.02)
