"""The blob store of the cloud: one S3 bucket."""

import base64
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from opensessions.errors import StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ADDRESS_SECONDS = 300
"""How long an address is good."""

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_LONGEST_KEY = 1024
_AT_ONCE = 16
_PAGE = 1000
"""Of a listing and of a deletion: the most that S3 takes."""
_MISSING = frozenset({"NoSuchKey", "404"})
_FORBIDDEN = frozenset({"AccessDenied", "403"})
_SHOWN_NOWHERE = {
    "ResponseContentType": "application/octet-stream",
    "ResponseContentDisposition": "attachment",
    "ResponseCacheControl": "no-store",
}


class S3Blobs:
    """A `ports.BlobStore`. Every method raises ValueError for a key or prefix that is not made of plain names
    (letters, digits, `.`, `_`, `-`; no leading dot) and single slashes.

    Whoever uses an `upload_url` has to send the SHA-256, in base64, as `x-amz-checksum-sha256`: S3 takes it
    from nowhere else. What a `download_url` leads to is saved by a browser and never shown.

    `lists` False is for a role that may not list: S3 tells it of what is not there that it is forbidden.
    """

    def __init__(self, client: "S3Client", bucket: str, *, lists: bool = True) -> None:
        self._client, self._bucket = client, bucket
        self._missing = _MISSING if lists else _MISSING | _FORBIDDEN

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=_checked(key), Body=data)

    def get(self, key: str) -> bytes | None:
        try:
            return self._client.get_object(Bucket=self._bucket, Key=_checked(key))["Body"].read()
        except ClientError as error:
            if self._is_missing(error):
                return None
            raise

    def size(self, key: str) -> int | None:
        try:
            return self._client.head_object(Bucket=self._bucket, Key=_checked(key))["ContentLength"]
        except ClientError as error:
            if self._is_missing(error):
                return None
            raise

    def names(self, prefix: str) -> list[str]:
        beneath = f"{_checked(prefix)}/"
        found: set[str] = set()
        for page in self._pages(beneath, Delimiter="/"):
            found |= {folder["Prefix"].removesuffix("/") for folder in page.get("CommonPrefixes", ())}
            found |= {blob["Key"] for blob in page.get("Contents", ())}
        return sorted(name.removeprefix(beneath) for name in found)

    def copy(self, source: str, target: str) -> None:
        """Several at once: the creation of a session waits for it."""
        beneath, into = f"{_checked(source)}/", f"{_checked(target)}/"
        keys = [blob["Key"] for page in self._pages(beneath) for blob in page.get("Contents", ())]
        with ThreadPoolExecutor(_AT_ONCE, "copy") as threads:
            for _ in threads.map(partial(self._copy, beneath, into), keys):
                pass

    def _copy(self, beneath: str, into: str, key: str) -> None:
        target = into + key.removeprefix(beneath)
        try:
            self._client.copy_object(
                Bucket=self._bucket, Key=target, CopySource={"Bucket": self._bucket, "Key": key}
            )
        except ClientError as error:
            if not self._is_missing(error):
                raise

    def delete(self, prefix: str) -> None:
        while versions := self._versions(_checked(prefix)):
            doomed: Any = {"Objects": versions, "Quiet": True}
            answer = self._client.delete_objects(Bucket=self._bucket, Delete=doomed)
            if failed := answer.get("Errors"):
                raise StoreError(f"S3 did not delete {failed[0].get('Key')}: {failed[0].get('Code')}.")

    def _versions(self, prefix: str) -> list[dict[str, str]]:
        """Some versions of the key `prefix` or of those beneath it, while there are any. The key comes before
        its neighbours, which the delimiter folds together; with the slash there are none.
        """
        for beginning, delimiter in ((prefix, "/"), (f"{prefix}/", "")):
            page = self._client.list_object_versions(
                Bucket=self._bucket, Prefix=beginning, Delimiter=delimiter, MaxKeys=_PAGE
            )
            found = [
                {"Key": version["Key"], "VersionId": version["VersionId"]}
                for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
                if not delimiter or version["Key"] == prefix
            ]
            if found:
                return found
        return []

    def upload_url(self, key: str, size: int, sha256: str) -> str:
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        return self._address("put_object", key, ContentLength=size, ChecksumSHA256=checksum)

    def download_url(self, key: str) -> str:
        return self._address("get_object", key, **_SHOWN_NOWHERE)

    def _address(self, operation: str, key: str, **parameters: Any) -> str:
        of = {"Bucket": self._bucket, "Key": _checked(key), **parameters}
        return self._client.generate_presigned_url(operation, Params=of, ExpiresIn=ADDRESS_SECONDS)

    def _is_missing(self, error: ClientError) -> bool:
        return error.response["Error"]["Code"] in self._missing

    def _pages(self, prefix: str, **options: Any) -> Iterator[Any]:
        listing = self._client.get_paginator("list_objects_v2")
        options["PaginationConfig"] = {"PageSize": _PAGE}
        return iter(listing.paginate(Bucket=self._bucket, Prefix=prefix, **options))


def _checked(key: str) -> str:
    if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key: plain names, parted by single slashes")
    return key
