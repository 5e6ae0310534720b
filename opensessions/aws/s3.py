"""The blob store of the cloud: one S3 bucket."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3Blobs:
    """A BlobStore, and addresses by which one object can be fetched or stored without an AWS account."""

    def __init__(self, client: Callable[[], "S3Client"], bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def put(self, key: str, data: bytes) -> None:
        self._client().put_object(Bucket=self._bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes | None:
        try:
            return self._client().get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise

    def download_url(self, key: str, seconds: int, filename: str) -> str:
        """Where `key` can be fetched for so many seconds; a browser saves it and never shows it."""
        shown = {
            "ResponseContentType": "application/octet-stream",
            "ResponseContentDisposition": f'attachment; filename="{filename}"',
        }
        of = {"Bucket": self._bucket, "Key": key, **shown}
        return self._client().generate_presigned_url("get_object", Params=of, ExpiresIn=seconds)

    def upload_url(self, key: str, size: int, seconds: int) -> str:
        """Where exactly `size` bytes can be PUT as `key`; the length is signed, so that no more will do."""
        of = {"Bucket": self._bucket, "Key": key, "ContentLength": size}
        return self._client().generate_presigned_url("put_object", Params=of, ExpiresIn=seconds)
