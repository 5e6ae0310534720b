"""The blob store of the cloud: one S3 bucket."""

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_LONGEST_KEY = 1024


class S3Blobs:
    """A `ports.BlobStore`, and addresses by which one object can be fetched or stored without an AWS account.
    Every method raises ValueError for a key that is not made of plain names (letters, digits, `.`, `_`, `-`;
    no leading dot) and single slashes.
    """

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=_checked(key), Body=data)

    def get(self, key: str) -> bytes | None:
        try:
            return self._client.get_object(Bucket=self._bucket, Key=_checked(key))["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise

    def download_url(self, key: str, seconds: int, filename: str) -> str:
        """Where `key` can be fetched for so many seconds; a browser saves it as `filename` and never shows
        it.
        """
        of = {
            "Bucket": self._bucket,
            "Key": _checked(key),
            "ResponseContentType": "application/octet-stream",
            "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
            "ResponseCacheControl": "no-store",
        }
        return self._client.generate_presigned_url("get_object", Params=of, ExpiresIn=seconds)

    def upload_url(self, key: str, size: int, seconds: int) -> str:
        """Where exactly `size` bytes can be PUT as `key`: the length is signed, so that no more will do."""
        of = {"Bucket": self._bucket, "Key": _checked(key), "ContentLength": size}
        return self._client.generate_presigned_url("put_object", Params=of, ExpiresIn=seconds)


def _checked(key: str) -> str:
    if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key: plain names, parted by single slashes")
    return key
