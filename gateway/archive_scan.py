"""An archive in the blob store, read from its beginning on: nothing is unpacked to a disk, and never more is
held than a part of it. Archives are made by sandboxes, which are hostile. All of this blocks.
"""

import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, cast

from gateway.file_bodies import Broken
from opensessions.archives import LISTING, Archived
from opensessions.models import Archive
from opensessions.ports import BlobStore
from opensessions.sessions.keeping import MANIFEST, place
from sandbox_task.workspace.compression import UNPACKING, zstd
from sandbox_task.workspace.entries import Entry, Refused, Stream
from sandbox_task.workspace.paths import is_plain, stays
from sandbox_task.workspace.rules import is_users
from sandbox_task.workspace.tarball import Tarball

STEP = 256 * 1024
_ENTRIES_A_STEP = 200
_MOST_LINE = 256 * 1024
_MOST_LISTING = 256 * 2**20
_KINDS = {"f": "file", "d": "folder", "l": "link"}


class Listed(NamedTuple):
    """An entry of an archive's listing; `modified` is in seconds."""

    path: str
    kind: str
    size: int
    modified: int


class Scan:
    """One archive. Its iterators yield empty bytes while they look for something, so that who drives them can
    stop; they raise Broken where the archive is not what it should be.
    """

    def __init__(self, blobs: BlobStore, session_id: str, archive: Archive) -> None:
        self._blobs, self._archive = blobs, archive
        self._prefix = place(session_id, archive.id)
        self._parts = 0

    def open(self) -> bool:
        """Whether the archive is there."""
        manifest = self._blobs.get(f"{self._prefix}/{MANIFEST}")
        if manifest is not None:
            self._parts = len(Archived.model_validate_json(manifest).parts)
        return manifest is not None

    def listing(self) -> Iterator[Listed]:
        """What is in the archive, as its listing says, in the archive's order."""
        packed = self._blobs.get(f"{self._prefix}/{LISTING}") or b""
        left, count = _MOST_LISTING, 0
        try:
            with zstd.ZstdFile(io.BytesIO(packed), options=UNPACKING) as lines:
                while line := lines.readline(_MOST_LINE):
                    left, count = left - len(line), count + 1
                    if left < 0 or count > self._archive.files:
                        raise Broken("the listing has more than it should")
                    yield _listed(line)
        except (zstd.ZstdError, EOFError, ValueError, RecursionError) as error:
            raise Broken(f"the listing is damaged: {error}") from None

    def file(self, wanted: Listed, start: int, stop: int) -> Iterator[bytes]:
        """Bytes of a file. Raises FileNotFoundError when it is not there as it was listed."""
        stream = self._stream()
        for tick, entry in self._entries(stream):
            if entry is None:
                yield tick
            elif entry.path == wanted.path and entry.kind == "file" and entry.size == wanted.size:
                yield from _skipped(stream, start)
                yield from _taken(stream, stop - start)
                return
            else:
                yield from _skipped(stream, entry.size)
        raise FileNotFoundError(wanted.path)

    def users(self) -> Iterator[bytes]:
        """A .tar.gz of the user's files."""
        stream, tar, seen = self._stream(), Tarball(), _Seen()
        for tick, entry in self._entries(stream):
            if entry is None:
                yield tick
            elif not seen.fits(entry):
                yield from _skipped(stream, entry.size)
            else:
                yield tar.entry(
                    entry.path.removesuffix("/"), entry.kind, entry.mtime // 10**9,
                    size=entry.size, mode=entry.mode, target=entry.target,
                )  # fmt: skip
                for data in _taken(stream, entry.size):
                    yield tar.data(data)
                yield tar.close_file()
        yield tar.end()

    def _stream(self) -> Stream:
        parts = io.BufferedReader(_Parts(self._blobs, self._prefix, self._parts), STEP)
        return Stream(cast(BinaryIO, parts), self._archive.bytes, self._archive.files)

    def _entries(self, stream: Stream) -> Iterator[tuple[bytes, Entry | None]]:
        """The entries, and nothing now and then. Their content is to be taken."""
        entries = stream.entries()
        try:
            for number, entry in enumerate(entries, 1):
                yield b"", entry
                if number % _ENTRIES_A_STEP == 0:
                    yield b"", None
        except (Refused, ValueError) as error:
            raise Broken(str(error)) from None


class _Parts(io.RawIOBase):
    """The parts of an archive, one behind the other."""

    def __init__(self, blobs: BlobStore, prefix: str, count: int) -> None:
        self._blobs, self._prefix, self._left = blobs, prefix, iter(range(count))
        self._part = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._part and (number := next(self._left, None)) is not None:
            part = self._blobs.get(f"{self._prefix}/{number}")
            if part is None:
                raise Broken("a part of the archive is gone")
            self._part = memoryview(part)
        size = min(len(buffer), len(self._part))
        buffer[:size], self._part = self._part[:size], self._part[size:]
        return size


class _Seen:
    """What of an archive a person can be given: each path once, nothing beyond a link, no link that leads out
    of what they get.
    """

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}

    def fits(self, entry: Entry) -> bool:
        path = entry.path.removesuffix("/")
        if path in self._paths or not is_plain(path) or not is_users(path):
            return False
        folder = path.rpartition("/")[0]
        if folder and self._paths.get(folder) != "folder":
            return False
        self._paths[path] = entry.kind
        return entry.kind != "link" or stays(path, entry.target)


def _listed(line: bytes) -> Listed:
    path, kind, size, modified = json.loads(line)
    if not isinstance(path, str) or kind not in _KINDS or not all(type(n) is int for n in (size, modified)):
        raise ValueError("a line makes no sense")
    return Listed(path.removesuffix("/"), _KINDS[kind], size, modified)


def _taken(stream: Stream, size: int) -> Iterator[bytes]:
    while size > 0:
        try:
            data = stream.take(min(size, STEP))
        except Refused as error:
            raise Broken(str(error)) from None
        size -= len(data)
        yield data


def _skipped(stream: Stream, size: int) -> Iterator[bytes]:
    for _ in _taken(stream, size):
        yield b""
