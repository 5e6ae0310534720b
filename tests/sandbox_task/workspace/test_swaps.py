"""Somebody swaps folders and files for links while a workspace is packed, unpacked or cleared."""

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sandbox_task.workspace import rules
from sandbox_task.workspace import unpack as unpacking
from sandbox_task.workspace.compression import zstd
from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.entries import Refused, Stream
from sandbox_task.workspace.pack import record
from sandbox_task.workspace.plans import planned
from sandbox_task.workspace.removal import clear
from sandbox_task.workspace.tape import Tape
from tests.sandbox_task.workspace.tars import file, folder, packed
from tests.sandbox_task.workspace.trees import snapshot

SECRET = b"the canary is alive, and its text is in no archive " * 10
ROUNDS = 25
FILES = 30


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    outside = tmp_path / "outside"
    (outside / "d").mkdir(parents=True)
    for number in range(FILES):
        (outside / f"f{number}").write_bytes(SECRET)
        (outside / f"d/f{number}").write_bytes(SECRET)
    before = snapshot(outside)
    yield outside
    assert snapshot(outside) == before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workspace").mkdir()
    return tmp_path / "workspace"


@contextmanager
def meanwhile(swap: Callable[[], None]) -> Iterator[None]:
    """Do it again and again, as fast as possible."""
    over = threading.Event()

    def go() -> None:
        while not over.is_set():
            with suppress(OSError):
                swap()

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def plant(root: Path) -> None:
    (root / "a/d").mkdir(parents=True)
    for number in range(FILES):
        (root / f"a/f{number}").write_bytes(b"inside")
        (root / f"a/d/f{number}").write_bytes(b"inside")


def swapping(folder: Path, by: Path, aside: Path) -> Callable[[], None]:
    """A folder becomes a link and then a folder again."""

    def swap() -> None:
        with suppress(OSError):
            folder.rename(aside)
        with suppress(OSError):
            folder.symlink_to(by)
        with suppress(OSError):
            folder.unlink()
        aside.rename(folder)

    return swap


def contents(root: Path) -> bytes:
    """The tar of the workspace, as the process makes it."""
    out = io.BytesIO()
    tape = Tape(out, 10**8)
    plan = planned(root, "full", 10**8, 10**5)
    with Descent(root) as at:
        for each in plan.folders:
            record(tape, at, each, each.names, "versioned")
    tape.end()
    return zstd.decompress(out.getvalue())


@pytest.mark.parametrize("swapped", ["a", "a/d"])
def test_packing_reads_no_file_by_way_of_a_link(root: Path, outside: Path, swapped: str) -> None:
    plant(root)
    by = outside if swapped == "a" else outside / "d"
    with meanwhile(swapping(root / swapped, by, root / "aside")):
        for _ in range(ROUNDS):
            assert SECRET[:40] not in contents(root)


def test_packing_reads_no_file_that_became_a_link(root: Path, outside: Path) -> None:
    plant(root)
    files = [root / f"a/f{number}" for number in range(FILES)]

    def swap() -> None:
        for each in files:
            each.unlink(missing_ok=True)
            each.symlink_to(outside / each.name)
        for each in files:
            each.unlink()
            each.write_bytes(b"inside")

    with meanwhile(swap):
        for _ in range(ROUNDS):
            assert SECRET[:40] not in contents(root)


@pytest.mark.parametrize("swapped", ["a", "a/d"])
def test_unpacking_writes_nothing_by_way_of_a_link(root: Path, outside: Path, swapped: str) -> None:
    names = [*(f"a/f{n}" for n in range(FILES)), *(f"a/d/f{n}" for n in range(FILES)), "a/new", "a/d/new/x"]
    data = packed(folder("a", 0o700), folder("a/d", 0o700), *(file(name, b"x") for name in names))
    by = outside if swapped == "a" else outside / "d"
    with meanwhile(swapping(root / swapped, by, root / "aside")):
        for _ in range(ROUNDS):
            with suppress(Refused):
                unpacking.unpack(Stream(io.BytesIO(data), len(names), len(names) + 2), root)


def test_unpacking_writes_through_no_link_that_is_planted_ahead_of_it(root: Path, outside: Path) -> None:
    names = [f"f{number}" for number in range(FILES)]
    data = packed(*(file(name, b"x") for name in names))

    def plant_links() -> None:
        for name in names:
            with suppress(OSError):
                (root / name).symlink_to(outside / name)
            with suppress(OSError):
                os.replace(root / name, root / f"{name}.old")  # noqa: PTH105

    with meanwhile(plant_links):
        for _ in range(ROUNDS):
            with suppress(Refused):
                unpacking.unpack(Stream(io.BytesIO(data), FILES, FILES), root)


@pytest.mark.parametrize("swapped", ["a", "a/d"])
def test_clearing_removes_nothing_by_way_of_a_link(
    root: Path, outside: Path, tmp_path: Path, swapped: str
) -> None:
    by = outside if swapped == "a" else outside / "d"
    with meanwhile(swapping(root / swapped, by, root / "aside")):
        for number in range(ROUNDS):
            spare = tmp_path / f"spare{number}"
            plant(spare)
            with suppress(OSError):
                (spare / "a").rename(root / "a")
            with suppress(OSError):
                clear(root, rules.ARCHIVED["light"])


def test_a_folder_that_is_moved_while_one_stands_in_it(root: Path, tmp_path: Path) -> None:
    (root / "a/b/c").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    with Descent(root) as at:
        at.go(["a", "b", "c"])
        (root / "a/b").rename(tmp_path / "elsewhere/b")
        at.rise(1)
        assert at.names == ["a"]
        assert os.path.samestat(os.fstat(at.fd), (root / "a").stat())


def test_a_folder_that_is_moved_and_what_was_above_it_is_gone(root: Path, tmp_path: Path) -> None:
    (root / "a/b/c").mkdir(parents=True)
    with Descent(root) as at:
        at.go(["a", "b", "c"])
        (root / "a/b").rename(tmp_path / "b")
        (root / "a").rmdir()
        (root / "a").symlink_to(tmp_path)
        with pytest.raises(OSError, match="Not a directory"):
            at.rise(1)
        assert at.names == []
        assert os.path.samestat(os.fstat(at.fd), root.stat())
