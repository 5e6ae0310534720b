"""A workspace packed and unpacked: the same tree, whatever is in it."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sandbox_task.workspace import rules
from sandbox_task.workspace.compression import zstd
from sandbox_task.workspace.processes import ArchiveFailed
from sandbox_task.workspace.removal import clear
from tests.sandbox_task.workspace.trees import nested, pack, snapshot, unpack

ODD_NAMES = [
    b"caf\xe9 latin1", b"\xff\xfe", b"na\xc3\xafve", b"new\nline", b"-rf", b"back\\slash", b" ",
    b"\xf0\x9f\x98\x80", b"x" * 255, b"con:aux", b"*?", b"~", b"'\"",
]  # fmt: skip


def plant(root: Path) -> None:
    """A workspace with all that agents make."""
    app = root / "app"
    for folder in (
        "src",
        ".git/refs/heads/venv",
        "node_modules/.bin",
        "node_modules/vite",
        ".venv/bin",
        "empty",
    ):
        (app / folder).mkdir(parents=True)
    (root / "home/.claude/projects/x").mkdir(parents=True)
    (root / "home/.claude/projects/x/1.jsonl").write_text("{}\n")
    (app / "src/main.ts").write_text("export {}\n" * 5000)
    (app / "src/run.sh").write_text("#!/bin/sh\n")
    (app / "src/run.sh").chmod(0o755)
    (app / ".git/refs/heads/venv/x").write_text("1" * 40)
    (app / "node_modules/vite/bin.js").write_text("//")
    (app / "node_modules/.bin/vite").symlink_to("../vite/bin.js")
    (app / ".venv/bin/python3").symlink_to("/usr/bin/python3")
    (app / "linked").symlink_to("src")
    (app / "dangling").symlink_to("nowhere\udcff")
    (app / "zeros").write_bytes(bytes(100_000))
    (app / "nothing").touch()
    for name in ODD_NAMES:
        Path(os.fsdecode(os.path.join(os.fsencode(app), b"src", name))).write_bytes(name)  # noqa: PTH118
    os.utime(app / "src/main.ts", ns=(1, 1_600_000_000_123_456_789))
    os.utime(app / "nothing", ns=(0, -1_500_000_000))
    os.utime(app / "dangling", ns=(0, 77), follow_symlinks=False)
    os.utime(app / "empty", ns=(0, 5_000_000_000))
    (app / "empty").chmod(0o555)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workspace").mkdir()
    return tmp_path / "workspace"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    (tmp_path / "other").mkdir()
    return tmp_path / "other"


def test_the_tree_comes_back_as_it_was(root: Path, other: Path) -> None:
    plant(root)
    archive = pack(root)
    unpack(other, archive.data, archive.size, archive.files)
    found = snapshot(root)
    assert snapshot(other) == found
    assert archive.files == len(found)
    assert archive.packed.skipped == 0


def test_the_listing_names_all_and_the_users_files_come_first(root: Path) -> None:
    plant(root)
    archive = pack(root)
    rows = [json.loads(line) for line in zstd.decompress(archive.packed.listing).splitlines()]
    found = snapshot(root)
    assert {row[0]: row[1] for row in rows} == {
        path: {"l": "l", "d": "d", "-": "f"}[told[0][0]] for path, told in found.items()
    }
    assert ["app/nothing", "f", 0, -2] in rows
    order = [row[0] for row in rows]
    assert order.index("app/src/main.ts") < order.index("app/.git") < order.index("app/node_modules")


def test_a_light_archive_over_a_full_one_is_the_newest_state(root: Path, other: Path) -> None:
    plant(root)
    full = pack(root)
    (root / "app/src/main.ts").unlink()
    (root / "app/src/new.ts").write_text("new")
    (root / "home/.claude/projects/x/1.jsonl").write_text("{}\n{}\n")
    (root / "app/nothing").unlink()
    (root / "app/nothing/node_modules").mkdir(parents=True)
    (root / "app/nothing/index.js").write_text("a folder now")
    (root / "app/node_modules/vite/bin.js").write_text("not in it")
    light = pack(root, "light")
    unpack(other, full.data, full.size, full.files)
    unpack(other, light.data, light.size, light.files, "light")
    expected, found = snapshot(root), snapshot(other)
    assert (other / "app/node_modules/vite/bin.js").read_text() == "//"
    for path in ("app/nothing/node_modules", "app/node_modules/vite/bin.js"):
        expected.pop(path)
        found.pop(path, None)
    assert found == expected


def test_a_file_where_a_folder_with_dependencies_was(root: Path, other: Path) -> None:
    (root / "app/web/node_modules/x").mkdir(parents=True)
    (root / "app/old").mkdir()
    full = pack(root)
    unpack(other, full.data, full.size, full.files)
    (root / "app/web/node_modules/x").rmdir()
    (root / "app/web/node_modules").rmdir()
    (root / "app/web").rmdir()
    (root / "app/web").write_text("a file now")
    (root / "app/old").rmdir()
    (root / "app/old").symlink_to("web")
    light = pack(root, "light")
    unpack(other, light.data, light.size, light.files, "light")
    assert snapshot(other) == snapshot(root)


def test_caches_are_in_no_archive(root: Path) -> None:
    for folder in ("home/.npm/x", "app/__pycache__", "agent/skills", "app/.next/cache"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text("x")
    listing = zstd.decompress(pack(root).packed.listing).decode()
    assert [json.loads(line)[0] for line in listing.splitlines()] == ["app", "home", "app/.next"]


def test_three_thousand_levels(root: Path, other: Path) -> None:
    with nested(root, 3000), nested(other, 1):
        archive = pack(root)
        assert archive.files == 6000
        unpack(other, archive.data, archive.size, archive.files)
        assert len(snapshot(other)) == 6000
        clear(other, rules.ARCHIVED["light"])
        assert snapshot(other) == {}


def test_specials_are_left_out(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(root)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    (root / "file").write_text("x")
    assert zstd.decompress(pack(root).packed.listing).decode().splitlines() == [
        json.dumps(["file", "f", 1, int((root / "file").stat().st_mtime)], separators=(",", ":"))
    ]


def test_hard_links_are_files_of_their_own(root: Path, other: Path) -> None:
    (root / "one").write_text("same")
    (root / "two").hardlink_to(root / "one")
    archive = pack(root)
    unpack(other, archive.data, archive.size, archive.files)
    assert (other / "one").read_text() == (other / "two").read_text() == "same"
    assert (other / "one").stat().st_nlink == 1


def test_a_sparse_file_without_an_end_is_refused_by_name(root: Path) -> None:
    with (root / "disk.img").open("wb") as file:
        file.truncate(4 * 10**12)
    with pytest.raises(ArchiveFailed, match=r"holds 4\.0 TB .* 1\.0 GB at most.*'disk\.img' with 4\.0 TB"):
        pack(root)


def test_too_many_bytes_are_refused(root: Path) -> None:
    (root / "a").write_bytes(bytes(600))
    (root / "b").write_bytes(bytes(500))
    pack(root, limit=1100)
    with pytest.raises(ArchiveFailed, match=r"holds 1\.1 kB in files"):
        pack(root, limit=1099)


def test_files_that_change_while_they_are_read_have_the_length_that_was_said(root: Path, other: Path) -> None:
    file, over = root / "file", threading.Event()
    file.write_bytes(bytes(3_000_000))

    def change() -> None:
        size = 0
        while not over.is_set():
            size = (size + 777_777) % 5_000_000
            os.truncate(file, size)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(5):
            archive = pack(root)
            unpack(other, archive.data, archive.size, archive.files)
            assert (other / "file").stat().st_size == archive.size
    finally:
        over.set()
        changing.join()


def test_the_memory_of_both_ends_is_bounded(root: Path, other: Path) -> None:
    """200 MB in 2,000 files."""
    noise = os.urandom(2**20)
    for number in range(2000):
        start = number * 503
        (root / f"file{number}").write_bytes((noise[start:] + noise)[:100_000])
    code = f"import sys; sys.path[:] = {sys.path!r}; from tests.sandbox_task.workspace.hauling import main; "
    code += f"main({str(root)!r}, {str(other)!r}, {2000 * 100_000}, 2000)"
    peaks = json.loads(subprocess.check_output([sys.executable, "-I", "-c", code]))
    assert len(list(other.iterdir())) == 2000
    assert max(peaks.values()) < 150e6, peaks
