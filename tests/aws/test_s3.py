"""What is S3's alone: addresses of single objects, good for a while, and what a versioned bucket keeps."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx2
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.server import ThreadedMotoServer

from opensessions.aws import wiring
from opensessions.aws.s3 import S3Blobs
from opensessions.errors import StoreError

DATA = b"an archive's part"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        made = boto3.client("s3", region_name="us-east-1", config=Config(signature_version="s3v4"))
        made.create_bucket(Bucket="blobs")
        made.put_bucket_versioning(Bucket="blobs", VersioningConfiguration={"Status": "Enabled"})
        yield made


@pytest.fixture
def blobs(client: Any) -> S3Blobs:
    return S3Blobs(client, "blobs")


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


# ---- addresses ----


def test_a_download_is_saved_and_never_shown(blobs: S3Blobs) -> None:
    asked = query(blobs.download_url("sessions/1/page.html"))
    assert asked["response-content-type"] == "application/octet-stream"
    assert asked["response-content-disposition"] == "attachment"
    assert asked["response-cache-control"] == "no-store"
    assert asked["X-Amz-Expires"] == "300" and asked["X-Amz-SignedHeaders"] == "host"


def test_an_upload_is_of_the_bytes_that_were_signed(blobs: S3Blobs) -> None:
    one, longer, other = (
        query(blobs.upload_url("sessions/1/a", size, sha256))
        for size, sha256 in ((1000, SHA256), (1001, SHA256), (1000, "ab" * 32))
    )
    assert one["X-Amz-SignedHeaders"].split(";") == ["content-length", "host", "x-amz-checksum-sha256"]
    assert len({asked["X-Amz-Signature"] for asked in (one, longer, other)}) == 3
    assert one["X-Amz-Expires"] == "300"


def test_what_is_put_at_an_address_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the headers that archives.py names, and over the wire."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client("s3", region_name="us-east-1", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="blobs")
        blobs = S3Blobs(client, "blobs")
        checksum = base64.b64encode(bytes.fromhex(SHA256)).decode()
        url = blobs.upload_url("sessions/1/0", len(DATA), SHA256)
        put = httpx2.put(url, content=DATA, headers={"x-amz-checksum-sha256": checksum}, trust_env=False)
        assert put.status_code == 200 and blobs.get("sessions/1/0") == DATA
        assert httpx2.get(blobs.download_url("sessions/1/0"), trust_env=False).content == DATA
    finally:
        server.stop()


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_addresses_are_of_the_buckets_region(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address without a region answers with a redirection, for which the signature is not good."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.setattr(wiring, "_made", wiring._made.__wrapped__)
    blobs = S3Blobs(wiring.Late("s3", wiring.PATIENT), "blobs")
    for url in (blobs.upload_url("a", 5, SHA256), blobs.download_url("a")):
        assert urlsplit(url).hostname == f"blobs.s3.{region}.amazonaws.com"


# ---- versions ----


def test_nothing_is_left_of_what_was_deleted(client: Any, blobs: S3Blobs) -> None:
    for key in ("s/x/0", "s/x/0", "s/x/deep/1", "s/x-other", "s/x"):
        blobs.put(key, DATA)
    client.delete_object(Bucket="blobs", Key="s/x/deep/1")
    client.delete_object(Bucket="blobs", Key="s/x")
    blobs.delete("s/x")
    left = client.list_object_versions(Bucket="blobs")
    assert [version["Key"] for version in left["Versions"]] == ["s/x-other"]
    assert "DeleteMarkers" not in left


class Refusing:
    """A client to whom S3 refuses some of a deletion, or all that has to do with one key."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def delete_objects(self, **_: Any) -> Any:
        return {"Errors": [{"Key": "s/x/0", "Code": "AccessDenied"}]}

    def copy_object(self, **arguments: Any) -> Any:
        if arguments["CopySource"]["Key"].endswith("/1"):
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "CopyObject")
        return self._client.copy_object(**arguments)


def test_what_is_refused_is_not_passed_over(client: Any, blobs: S3Blobs) -> None:
    for number in range(3):
        blobs.put(f"s/x/{number}", DATA)
    refusing = S3Blobs(Refusing(client), "blobs")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="s/x/0: AccessDenied"):
        refusing.delete("s/x")
    with pytest.raises(ClientError):
        refusing.copy("s/x", "s/y")


def test_a_copy_leaves_out_what_is_deleted_meanwhile(client: Any, blobs: S3Blobs) -> None:
    class Late(Refusing):
        def copy_object(self, **arguments: Any) -> Any:
            if arguments["CopySource"]["Key"].endswith("/1"):
                blobs.delete("s/x/1")
            return client.copy_object(**arguments)

    for number in range(3):
        blobs.put(f"s/x/{number}", DATA)
    S3Blobs(Late(client), "blobs").copy("s/x", "s/y")  # type: ignore[arg-type]
    assert blobs.names("s/y") == ["0", "2"]


def test_who_may_not_list_is_told_that_what_is_missing_is_forbidden() -> None:
    class Forbidden:
        def get_object(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "GetObject")

        def head_object(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": "403", "Message": ""}}, "HeadObject")

    client: Any = Forbidden()
    blind = S3Blobs(client, "blobs", lists=False)
    assert blind.get("a") is None and blind.size("a") is None
    for read in (S3Blobs(client, "blobs").get, S3Blobs(client, "blobs").size):
        with pytest.raises(ClientError):
            read("a")


def test_a_key_has_a_length(blobs: S3Blobs) -> None:
    with pytest.raises(ValueError):
        blobs.get("a" * 1025)
