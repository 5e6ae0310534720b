"""Blobs: whole or not at all, under the keys that the service makes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from opensessions.aws.s3 import S3Blobs
from opensessions.local.files import FileBlobs
from opensessions.ports import BlobStore


@pytest.fixture(params=["files", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    if request.param == "files":
        yield FileBlobs(tmp_path / "deep" / "blobs")
    else:
        with mock_aws():
            client = boto3.client("s3", region_name="us-east-1")
            client.create_bucket(Bucket="blobs")
            yield S3Blobs(client, "blobs")


@pytest.mark.parametrize("key", ["a", "sessions/session_1/events/12.json", "a-b_c.D"])
def test_what_was_put_is_there(blobs: BlobStore, key: str) -> None:
    assert blobs.get(key) is None
    for data in (b"", b"\0\xff" * 500_000, b"short"):
        blobs.put(key, data)
        assert blobs.get(key) == data


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
    with pytest.raises(ValueError):
        blobs.put(key, b"x")
    with pytest.raises(ValueError):
        blobs.get(key)


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
