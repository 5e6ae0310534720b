"""Addresses of single objects in S3, good for a while."""

from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import pytest
from botocore.config import Config

from opensessions.aws import wiring
from opensessions.aws.s3 import S3Blobs


@pytest.fixture
def blobs() -> S3Blobs:
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(signature_version="s3v4"),
    )
    return S3Blobs(client, "blobs")


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_a_download_is_saved_and_never_shown(blobs: S3Blobs) -> None:
    asked = query(blobs.download_url("sessions/1/page.html", 60, 'so "good"\r\nSet-Cookie: ü.html'))
    assert asked["response-content-type"] == "application/octet-stream"
    disposition = asked["response-content-disposition"]
    assert disposition.startswith("attachment; filename*=UTF-8''so%20%22good%22%0D%0A")
    assert disposition.isascii() and "\r" not in disposition and "ü" in unquote(disposition)
    assert asked["X-Amz-Expires"] == "60"


def test_an_upload_has_the_length_that_was_signed(blobs: S3Blobs) -> None:
    one, other = (query(blobs.upload_url("sessions/1/a", size, 60)) for size in (1000, 1001))
    assert "content-length" in one["X-Amz-SignedHeaders"].split(";")
    assert one["X-Amz-Signature"] != other["X-Amz-Signature"]


@pytest.mark.parametrize("key", ["../other", "/etc", "a//b", "", "a" * 1025])
def test_other_keys_get_no_address(blobs: S3Blobs, key: str) -> None:
    with pytest.raises(ValueError):
        blobs.download_url(key, 60, "a")
    with pytest.raises(ValueError):
        blobs.upload_url(key, 1, 60)


def test_the_functions_sign_with_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    url = S3Blobs(wiring.Late("s3", wiring.PATIENT), "blobs").upload_url("a", 5, 60)
    assert "content-length" in query(url)["X-Amz-SignedHeaders"]
