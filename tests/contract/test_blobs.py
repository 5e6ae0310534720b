"""Blobs: whole or not at all, under the keys that the service makes."""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from opensessions.aws import s3
from opensessions.aws.s3 import S3Blobs
from opensessions.local.files import FileBlobs
from opensessions.ports import BlobStore


@pytest.fixture(params=["files", "s3", "s3 versioned"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    if request.param == "files":
        yield FileBlobs(tmp_path / "deep" / "blobs")
        return
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="blobs")
        if request.param == "s3 versioned":
            client.put_bucket_versioning(Bucket="blobs", VersioningConfiguration={"Status": "Enabled"})
        yield S3Blobs(client, "blobs")


def put(blobs: BlobStore, *keys: str) -> None:
    for key in keys:
        blobs.put(key, key.encode())


def tree(blobs: BlobStore, prefix: str) -> dict[str, bytes]:
    """All keys beneath a prefix, without it, and what each has."""
    found: dict[str, bytes] = {}
    for name in blobs.names(prefix):
        data = blobs.get(f"{prefix}/{name}")
        found |= {} if data is None else {name: data}
        found |= {f"{name}/{rest}": data for rest, data in tree(blobs, f"{prefix}/{name}").items()}
    return found


@pytest.mark.parametrize("key", ["a", "sessions/session_1/events/12.json", "a-b_c.D"])
def test_what_was_put_is_there(blobs: BlobStore, key: str) -> None:
    assert blobs.get(key) is blobs.size(key) is None
    for data in (b"", b"\0\xff" * 500_000, b"short"):
        blobs.put(key, data)
        assert blobs.get(key) == data and blobs.size(key) == len(data)


def test_what_only_leads_to_a_key_is_none(blobs: BlobStore) -> None:
    put(blobs, "a/b/c")
    for key in ("a", "a/b", "a/b/c/d", "a/b/cc"):
        assert blobs.get(key) is blobs.size(key) is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../b",
        "a//b",
        "a/",
        ".hidden",
        "a/.b",
        "a\\b",
        "a\0",
        "a\n",
        "ü",
    ],
)
def test_other_keys_are_a_mistake(blobs: BlobStore, key: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: blobs.put(key, b"x"),
        lambda: blobs.get(key),
        lambda: blobs.size(key),
        lambda: blobs.names(key),
        lambda: blobs.copy(key, "a"),
        lambda: blobs.copy("a", key),
        lambda: blobs.delete(key),
        lambda: blobs.upload_url(key, 1, "ab" * 32),
        lambda: blobs.download_url(key),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError):
            attempt()


# ---- prefixes ----


def test_names_are_the_next_steps(blobs: BlobStore) -> None:
    put(blobs, "s/x/b/1", "s/x/b/2", "s/x/a", "s/x/c-1/d/e", "s/x-other/z", "s/x.y", "s/w")
    assert blobs.names("s/x") == ["a", "b", "c-1"]
    assert blobs.names("s") == ["w", "x", "x-other", "x.y"]
    assert blobs.names("s/x/c-1") == ["d"]
    assert blobs.names("s/x/a") == blobs.names("s/none") == blobs.names("none/at/all") == []


def test_a_copy_is_on_its_own(blobs: BlobStore) -> None:
    put(blobs, "s/x/archives/1/0", "s/x/archives/1/manifest", "s/x/archives/1/deep/er", "s/x/archives/12/0")
    blobs.put("t/copy/0", b"replaced")
    blobs.put("t/copy/more", b"kept")
    for _ in range(2):
        blobs.copy("s/x/archives/1", "t/copy")
        assert tree(blobs, "t/copy") == {
            "0": b"s/x/archives/1/0",
            "manifest": b"s/x/archives/1/manifest",
            "deep/er": b"s/x/archives/1/deep/er",
            "more": b"kept",
        }
    blobs.put("t/copy/0", b"changed")
    blobs.put("s/x/archives/1/manifest", b"changed too")
    assert blobs.get("s/x/archives/1/0") == b"s/x/archives/1/0"
    assert blobs.get("t/copy/manifest") == b"s/x/archives/1/manifest"
    blobs.delete("s/x/archives/1")
    assert blobs.get("t/copy/deep/er") == b"s/x/archives/1/deep/er"
    assert tree(blobs, "s") == {"x/archives/12/0": b"s/x/archives/12/0"}


def test_where_nothing_is_nothing_is_copied(blobs: BlobStore) -> None:
    put(blobs, "a/b", "a/bc/d")
    blobs.copy("a/b", "t")
    blobs.copy("none", "t")
    assert blobs.names("t") == [] and set(tree(blobs, "a")) == {"b", "bc/d"}


def test_a_deletion_takes_a_prefix_and_not_its_neighbours(blobs: BlobStore) -> None:
    keys = ["s/x/a", "s/x/b/c/d", "s/x/b/c/e", "s/x-other/a", "s/x.y", "s/xx/a", "s/w/a", "t/s/x/a"]
    put(blobs, *keys)
    for _ in range(2):
        blobs.delete("s/x")
        assert [key for key in keys if blobs.get(key) is None] == keys[:3]
    blobs.delete("s/x.y")
    assert blobs.names("s") == ["w", "x-other", "xx"] and blobs.names("s/x") == []
    blobs.delete("none/at/all")
    blobs.delete("s")
    assert blobs.names("s") == [] and blobs.get("t/s/x/a") == b"t/s/x/a"


def test_more_than_a_listing_takes_at_once(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PAGE", 4)
    put(blobs, *(f"s/x/{number}/{part}" for number in range(9) for part in (0, 0, 1)))
    put(blobs, *["s/x-0"] * 9)
    blobs.copy("s/x", "s/y")
    assert blobs.names("s/x") == blobs.names("s/y") == [str(number) for number in range(9)]
    assert len(tree(blobs, "s/y")) == 18
    blobs.delete("s/x")
    assert blobs.names("s") == ["x-0", "y"]
    blobs.delete("s/x-0")
    assert blobs.names("s") == ["y"]


def test_what_was_deleted_can_be_put_again(blobs: BlobStore) -> None:
    put(blobs, "s/x/a")
    blobs.put("s/x/a", b"newer")
    blobs.delete("s/x")
    assert blobs.get("s/x/a") is blobs.size("s/x/a") is None and blobs.names("s") == []
    put(blobs, "s/x/a")
    assert tree(blobs, "s") == {"x/a": b"s/x/a"}


# ---- files alone ----


def test_a_reader_sees_no_half(tmp_path: Path) -> None:
    """Writers race on one key, in threads. S3 promises it; moto does not keep it."""
    blobs = FileBlobs(tmp_path / "blobs")
    whole = [bytes([letter]) * 300_000 for letter in b"abcd"]
    blobs.put("x", whole[0])
    with ThreadPoolExecutor(4) as writers:
        writing = [writers.submit(blobs.put, "x", data) for data in whole * 5]
        while not all(done.done() for done in writing):
            assert blobs.get("x") in whole
    assert blobs.get("x") in whole


def test_files_are_the_owners_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path / "blobs")
    blobs.put("a/b", b"x")
    (tmp_path / "blobs" / "a" / "taken").mkdir()
    with pytest.raises(OSError):
        blobs.put("a/taken", b"x")
    assert {file.name for file in (tmp_path / "blobs" / "a").iterdir()} == {"b", "taken"}
    assert (tmp_path / "blobs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "blobs" / "a" / "b").stat().st_mode & 0o777 == 0o600


def test_a_copy_takes_no_place_and_no_bytes_are_left_of_a_deletion(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path / "blobs")
    put(blobs, "s/x/archives/1/0", "s/x/archives/2/0", "s/w/0")
    blobs.copy("s/x", "s/y")
    one, other = (tmp_path / "blobs/s" / name / "archives/1/0" for name in "xy")
    assert one.samefile(other)
    (tmp_path / "blobs/s/x/archives/1/.half-written").write_bytes(b"secret")
    blobs.delete("s/x/archives/1")
    assert {path.name for path in (tmp_path / "blobs/s/x/archives").iterdir()} == {"2"}
    blobs.delete("s/x/archives/2")
    blobs.delete("s/y")
    assert [str(path.relative_to(tmp_path / "blobs")) for path in (tmp_path / "blobs").rglob("*")] == [
        "s",
        "s/w",
        "s/w/0",
    ]


def test_a_copy_onto_another_disk_is_one_of_bytes(tmp_path: Path) -> None:
    blobs, elsewhere = FileBlobs(tmp_path / "blobs"), Path("/dev/shm")
    if elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other disk")
    put(blobs, "s/x/0")
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        (tmp_path / "blobs/t").symlink_to(folder)
        blobs.copy("s/x", "t/x")
        blobs.put("s/x/0", b"changed")
        assert tree(blobs, "t") == {"x/0": b"s/x/0"}


def test_a_put_outlives_deletions_beside_it(tmp_path: Path) -> None:
    """Each takes away the folders that are empty after it."""
    blobs = FileBlobs(tmp_path / "blobs")
    with ThreadPoolExecutor(2) as threads:
        deleting = threads.submit(lambda: [blobs.delete(f"s/x/{number % 7}") for number in range(1000)])
        kept = 0
        while not deleting.done():
            blobs.put("s/x/kept/0", b"x")
            assert blobs.get("s/x/kept/0") == b"x"
            blobs.copy("s/x/kept", "s/y/z")
            assert blobs.get("s/y/z/0") == b"x"
            blobs.delete("s/x/kept")
            blobs.delete("s/y/z")
            kept += 1
        deleting.result()
    assert kept and blobs.names("s") == []


def test_a_copy_leaves_out_what_is_deleted_meanwhile(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path / "blobs")
    put(blobs, *(f"s/x/{number}" for number in range(100)))
    with ThreadPoolExecutor(1) as threads:
        copying = threads.submit(blobs.copy, "s/x", "s/y")
        blobs.delete("s/x")
        copying.result()
    assert blobs.names("s/x") == [] and len(blobs.names("s/y")) <= 100
