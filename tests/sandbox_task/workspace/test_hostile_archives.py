"""Archives as nobody should make them: refused by name, or harmless; nothing outside is touched."""

import io
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tarfile import BLKTYPE, CHRTYPE, CONTTYPE, DIRTYPE, FIFOTYPE, GNUTYPE_LONGNAME, GNUTYPE_SPARSE, XGLTYPE

import pytest

from sandbox_task.workspace import unpack as unpacking
from sandbox_task.workspace.compression import zstd
from sandbox_task.workspace.entries import Refused, Stream
from sandbox_task.workspace.processes import ArchiveFailed
from tests.sandbox_task.workspace import tars
from tests.sandbox_task.workspace.tars import (
    file,
    folder,
    hard,
    head,
    link,
    packed,
    padded,
    pax,
    raw_pax,
    with_size,
)
from tests.sandbox_task.workspace.trees import snapshot, unpack

OUT = "../outside"
"""Where the canary is, for a link in the workspace."""
Blocks = list[bytes]
DEEP = "d/" * 5000 + "d"
REFUSED: dict[str, tuple[Blocks, str]] = {
    "absolute": ([file("/outside/x", b"x")], "is absolute"),
    "absolute by pax": ([pax(path="/outside/x"), file("x", b"x")], "is absolute"),
    "absolute folder": ([folder("/outside")], "is absolute"),
    "absolute, two slashes": ([pax(path="//outside/x"), file("x")], "is absolute"),
    "up": ([file("../x", b"x")], "no plain path"),
    "up by pax": ([pax(path="../canary"), file("x", b"x")], "no plain path"),
    "up from within": ([file("a/../../x", b"x")], "no plain path"),
    "up at the end": ([folder("a/..")], "no plain path"),
    "up as a link": ([link("../x", "y")], "no plain path"),
    "dot": ([folder(".")], "no plain path"),
    "dot first": ([file("./x")], "no plain path"),
    "two slashes": ([pax(path="a//b"), file("x")], "no plain path"),
    "no name": ([pax(path=""), file("x")], "no plain path"),
    "a slash for a name": ([pax(path="/"), folder("x")], "is absolute"),
    "a name with NUL": ([pax(path=b"a\0b"), file("x")], "no plain path"),
    "hard link": ([file("a"), hard("b", "a")], "'b' in the archive is a hard link"),
    "hard link out": ([hard("b", f"{OUT}/canary")], "'b' in the archive is a hard link"),
    "character device": ([head("null", CHRTYPE)], "'null' in the archive is a device"),
    "block device": ([head("disk", BLKTYPE)], "'disk' in the archive is a device"),
    "pipe": ([head("fifo", FIFOTYPE)], "'fifo' in the archive is a pipe"),
    "sparse": ([head("s", GNUTYPE_SPARSE)], "'s' in the archive is a sparse file"),
    "sparse by pax": ([pax(GNU__sparse__major="1", GNU__sparse__minor="0"), file("s")], "is a sparse file"),
    "sparse map": ([pax(GNU__sparse__map="0,1" * 99), file("s")], "is a sparse file"),
    "header for all": ([raw_pax(b"12 path=ab\n\n", XGLTYPE), file("x")], "is a header for all entries"),
    "GNU's long names": ([head("l", GNUTYPE_LONGNAME, 4), padded(b"../x"), file("x")], "of an unknown kind"),
    "reserved kind": ([head("c", CONTTYPE)], "of an unknown kind"),
    "kind of nobody": ([head("z", b"Z")], "of an unknown kind"),
    "through a link": ([link("a", OUT), file("a/x", b"x")], "'a/x' in the archive cannot be made"),
    "through a link of /proc": (
        [link("a", "/proc/self/cwd"), file("a/x")],
        "'a/x' in the archive cannot be made",
    ),
    "folder through a link": ([link("a", OUT), folder("a/b/c")], "'a/b/c' in the archive cannot be made"),
    "link through a link": ([link("a", OUT), link("a/x", "y")], "'a/x' in the archive cannot be made"),
    "through two links": ([link("b", OUT), link("a", "b"), file("a/x")], "'a/x' in the archive cannot be"),
    "through a link within": ([folder("d"), link("a", "d"), file("a/x")], "'a/x' in the archive cannot be"),
    "through a circle": ([link("a", "a"), file("a/x")], "'a/x' in the archive cannot be made"),
    "through a file": ([file("a"), file("a/x")], "'a/x' in the archive cannot be made"),
    "too deep": ([pax(path=DEEP), folder("x")], "too long or too deep"),
    "too long": ([pax(path="x" * 40_000), file("x")], "too long or too deep"),
    "too long a name": ([pax(path="x" * 256), file("x")], "cannot be made: File name too long"),
    "link to nothing": ([link("a", "")], "a link to nowhere"),
    "link with NUL": ([pax(linkpath=b"a\0b"), link("a", "x")], "a link to nowhere"),
    "link too long": ([pax(linkpath="x" * 5000), link("a", "x")], "a link to nowhere"),
    "folder with content": ([head("d", DIRTYPE, 512), bytes(512)], "impossible size"),
    "negative size": ([with_size(head("x"), b"\xff" * 12)], "impossible size"),
    "endless size": ([with_size(head("x"), b"\x80" + b"\x7f" * 11)], "more than"),
    "size that is no number": ([with_size(head("x"), b"size unknown")], "damaged"),
    "endless size by pax": ([pax(size="9" * 15), file("x")], "more than"),
    "negative size by pax": ([pax(size="-1"), file("x")], "impossible size"),
    "size of 4,000 digits": ([pax(size="9" * 4000), file("x")], "impossible size"),
    "content that lacks": ([head("x", size=3000), bytes(512)], "ends in the middle"),
    "time that is none": ([pax(mtime="nan"), file("x")], "impossible time"),
    "time without an end": ([pax(mtime="1e999"), file("x")], "impossible time"),
    "time in years": ([pax(mtime="9" * 12), file("x")], "impossible time"),
    "a header of a gigabyte": ([head("pax", b"x", 10**9), bytes(512)], "A header of the archive has 1.0 GB"),
    "a header below nothing": (
        [with_size(head("pax", b"x"), b"\xff" * 12)],
        "A header of the archive has -1",
    ),
    "header upon header": ([pax(path="a"), pax(path="b"), file("x")], "of an unknown kind"),
    "header without an entry": ([pax(path="a")], "ends after a header"),
    "record beyond its end": ([raw_pax(b"99 path=a\n"), file("x")], "cannot be read"),
    "record of no length": ([raw_pax(b"0 path=a\n"), file("x")], "cannot be read"),
    "record without a line end": ([raw_pax(b"9 path=abc"), file("x")], "cannot be read"),
    "record without a value": ([raw_pax(b"7 path\n"), file("x")], "cannot be read"),
    "record that is text": ([raw_pax(b"path=a\n"), file("x")], "cannot be read"),
    "checksum": ([file("x")[:100] + b"y" + file("x")[101:]], "damaged"),
    "noise": ([bytes(range(256)) * 4], "damaged"),
}


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the workspace, which nobody may touch."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "canary").write_text("alive")
    before, about = snapshot(tmp_path), outside.stat()
    yield outside
    after = {path: told for path, told in snapshot(tmp_path).items() if not path.startswith("workspace")}
    assert after == {path: told for path, told in before.items() if not path.startswith("workspace")}
    assert (outside.stat().st_mtime_ns, outside.stat().st_mode) == (about.st_mtime_ns, about.st_mode)


@pytest.fixture
def root(tmp_path: Path, outside: Path) -> Path:
    (tmp_path / "workspace").mkdir()
    return tmp_path / "workspace"


def taken(root: Path, data: bytes, size: int = 10**6, files: int = 100) -> None:
    unpacking.unpack(Stream(io.BytesIO(data), size, files), root)


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused(root: Path, outside: Path, case: str) -> None:
    blocks, said = REFUSED[case]
    with pytest.raises(Refused) as refused:
        taken(root, packed(*blocks))
    assert said in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_link_may_lead_anywhere_and_nothing_follows_it(root: Path, outside: Path) -> None:
    blocks = [link("a", str(outside)), link("b", "../outside/canary"), link("c", "/usr/bin/python3")]
    taken(root, packed(*blocks, folder("d"), link("d/e", "../../outside")), 0, 5)
    assert (root / "a").readlink() == outside
    assert (root / "d/e").is_symlink()


def test_what_takes_the_place_of_a_link_is_not_written_through_it(root: Path, outside: Path) -> None:
    for name in ("planted", "folder"):
        (root / name).symlink_to(outside / ("canary" if name == "planted" else "folder"))
    link_and_file = [link("x", str(outside / "canary")), file("x", b"new")]
    link_and_folder = [link("y", str(outside)), folder("y", 0o700), file("y/z", b"new")]
    blocks = [*link_and_file, *link_and_folder, file("planted", b"new"), folder("folder"), file("folder/z")]
    taken(root, packed(*blocks), 9, 8)
    assert [(root / name).read_bytes() for name in ("x", "y/z", "planted", "folder/z")] == [b"new"] * 3 + [
        b""
    ]


def test_a_folder_that_becomes_a_link(root: Path, outside: Path) -> None:
    with pytest.raises(Refused, match="'a' in the archive cannot be made"):
        taken(root, packed(folder("a", 0o777), link("a", OUT)), 0, 2)


def test_the_mode_has_nothing_but_permissions(root: Path) -> None:
    taken(root, packed(file("suid", b"x", 0o6755), folder("sticky", 0o7777)), 1, 2)
    assert stat.S_IMODE((root / "suid").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "sticky").stat().st_mode) == 0o777
    assert (root / "suid").stat().st_uid == os.getuid()


def test_what_else_a_header_says_is_nothing_to_us(root: Path) -> None:
    header = pax(uid="0", gname="root", SCHILY__xattr__security__capability=b"\1\0\0\2", comment="=\n=")
    taken(root, packed(header, file("x", b"x")), 1, 1)
    assert os.listxattr(root / "x") == []


@pytest.mark.parametrize(
    "name",
    [
        b"\xff\xfe",
        b"caf\xe9",
        b"\xc0\xaf..\xc0\xaf",
        b"a\\..\\b",
        b"C:\\x",
        b"\xe2\x80\xae",
        b"new\nline",
        b"-rf",
        b"... ",
    ],
)
def test_odd_names_are_names(root: Path, name: bytes) -> None:
    taken(root, packed(pax(hdrcharset="BINARY", path=b"d/" + name), file("x", b"x")), 1, 1)
    assert os.listdir(os.fsencode(root / "d")) == [name]  # noqa: PTH208


def test_the_last_of_two_counts(root: Path) -> None:
    taken(
        root, packed(file("x", b"first"), folder("d"), file("d/y"), file("x", b"last"), link("l", "a")), 9, 5
    )
    assert (root / "x").read_bytes() == b"last"


@pytest.mark.parametrize(("size", "files", "said"), [(10, 2, "is beyond"), (11, 1, "'b' is beyond")])
def test_more_than_it_says(root: Path, size: int, files: int, said: str) -> None:
    with pytest.raises(Refused, match=said):
        taken(root, packed(file("a", b"x" * 6), file("b", b"x" * 5)), size, files)


@pytest.mark.parametrize(("size", "files"), [(12, 2), (11, 3)])
def test_less_than_it_says(root: Path, size: int, files: int) -> None:
    with pytest.raises(Refused, match="has 2 entries with 11 bytes instead of"):
        taken(root, packed(file("a", b"x" * 6), file("b", b"x" * 5)), size, files)


def test_a_bomb_in_a_file(root: Path) -> None:
    bomb = zstd.compress(with_size(head("zeros"), b"\x80" + (10**12).to_bytes(11, "big")) + bytes(10**8))
    with pytest.raises(Refused, match="'zeros' is beyond"):
        taken(root, bomb)
    assert list(root.iterdir()) == []


def test_a_bomb_of_headers(root: Path) -> None:
    one = pax(path="x", comment="y" * 60_000) + file("x")
    with pytest.raises(Refused, match="unpacks to more than it says"):
        taken(root, zstd.compress(one * 4000), 0, 4000)


def test_a_bomb_of_names(root: Path) -> None:
    one = pax(path="/".join(["d" * 255] * 120)) + folder("x")
    with pytest.raises(Refused, match="The paths in the archive have more than"):
        taken(root, zstd.compress(one * 3000), 0, 3000)


def test_a_frame_that_needs_all_memory(root: Path) -> None:
    parameter = zstd.CompressionParameter
    options: dict[int, int] = {parameter.window_log: 27, parameter.compression_level: 3}
    compressor = zstd.ZstdCompressor(options=options)
    data = compressor.compress(file("x", bytes(1000)) + tars.END) + compressor.flush()
    with pytest.raises(Refused, match="damaged"):
        taken(root, data, 1000, 1)


@pytest.mark.parametrize(
    "data", [b"", b"\x1f\x8b" + bytes(100), b"PK\3\4" * 9, b"\x28\xb5\x2f\xfd", os.urandom(999)]
)
def test_what_is_no_archive(root: Path, data: bytes) -> None:
    with pytest.raises(Refused, match=r"damaged|ends in the middle"):
        taken(root, data)


def test_half_an_archive(root: Path) -> None:
    data = packed(file("x", os.urandom(400_000)))
    with pytest.raises(Refused, match=r"damaged|ends in the middle"):
        taken(root, data[: len(data) // 2], 400_000, 1)


def test_an_archive_that_changed_on_the_way(root: Path) -> None:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})
    data = bytearray(compressor.compress(file("x", os.urandom(4000)) + tars.END) + compressor.flush())
    data[2000] ^= 1
    with pytest.raises(Refused, match="damaged"):
        taken(root, bytes(data), 4000, 1)


def test_the_process_says_why(root: Path) -> None:
    with pytest.raises(ArchiveFailed, match="'b' in the archive is a hard link"):
        unpack(root, packed(file("a"), hard("b", "a")), 0, 2)


def test_more_data_than_the_process_takes(root: Path) -> None:
    """It has ended long before all was written to it."""
    noise = os.urandom(4_000_000)
    with pytest.raises(ArchiveFailed, match="is absolute"):
        unpack(root, packed(file("/x"), file("y", noise)), len(noise), 2)
    unpack(root, packed(file("y", b"z")) + noise, 1, 1)


def test_an_archive_of_gnu_tar_without_its_specials(root: Path, outside: Path) -> None:
    command = ["tar", "--format=posix", "-C", str(outside), "-cf", "-", "canary", "folder"]
    made = subprocess.run(command, check=True, capture_output=True).stdout
    taken(root, zstd.compress(made), 5, 2)
    assert (root / "canary").read_text() == "alive"
