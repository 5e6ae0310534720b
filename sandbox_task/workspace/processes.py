"""The throw-away processes that pack and unpack, as the worker holds them. All methods but `close` may take
long, and belong into a thread.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, NamedTuple

from opensessions.archives import MOST_FILES, PART_BYTES, Source
from sandbox_task.workspace.bounds import readable

_CHUNK = 256 * 1024
_START = "import sys; sys.path[:] = {path!r}; from sandbox_task.workspace.{module} import main; main()"


class ArchiveFailed(Exception):
    """There is no archive, or the workspace is not what it should be; the text says why, for the user."""


class Packed(NamedTuple):
    """What is in an archive: the bytes of its files, entries, what had to be left out, and the listing."""

    size: int
    files: int
    skipped: int
    listing: memoryview


class _Process:
    """A process that has nothing of this one's environment, and finds its modules where this one does: `-I`
    alone would not find the package.
    """

    def __init__(self, module: str, *arguments: object, **options: Any) -> None:
        command = [sys.executable, "-I", "-X", "utf8", "-c", _START.format(path=sys.path, module=module)]
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [*command, *map(str, arguments)], bufsize=0, env={"PATH": "/usr/bin:/bin"}, **options
        )
        self._busy = threading.Lock()

    def close(self) -> None:
        """End the process, whatever it does; nobody waits any longer for a method that is under way."""
        self._process.kill()
        with self._busy:
            for file in self._files():
                file.close()
        self._process.wait()

    def _files(self) -> list[Any]:
        return [file for file in (self._process.stdin, self._process.stdout) if file is not None]


class Packing(_Process):
    """An archive of a workspace as it comes into being."""

    def __init__(self, root: Path, kind: str, limit: int) -> None:
        reading, writing = os.pipe()
        self._report = os.fdopen(reading, "rb")
        try:
            super().__init__(
                "pack", root, kind, limit, MOST_FILES, writing,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=[writing],
            )  # fmt: skip
        except OSError:
            self._report.close()
            raise
        finally:
            os.close(writing)

    def part(self) -> memoryview:
        """The next part, PART_BYTES long unless it is the last; empty at the end."""
        with self._busy:
            assert self._process.stdout is not None
            return _filled(self._process.stdout, PART_BYTES)

    def packed(self) -> Packed:
        """What was packed, once there is no part left. Raises ArchiveFailed."""
        with self._busy:
            summary, listing = self._report.readline(10_000), _filled(self._report, PART_BYTES + 1)
            status = self._process.wait()
        told = _object(summary, f"The archive could not be made: packing ended with status {status}.")
        if len(listing) > PART_BYTES:
            raise ArchiveFailed(f"The list of all files has more than {readable(PART_BYTES)}, compressed.")
        return Packed(told["bytes"], told["files"], told["skipped"], listing)

    def _files(self) -> list[Any]:
        return [*super()._files(), self._report]


class Unpacking(_Process):
    """An archive on its way into a workspace."""

    def __init__(self, root: Path, source: Source) -> None:
        super().__init__(
            "unpack", root, source.kind, source.bytes, source.files,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def take(self, part: memoryview) -> bool:
        """Unpack a part. False if the process takes no more: `end` says why."""
        with self._busy:
            assert self._process.stdin is not None
            try:
                while part:
                    part = part[self._process.stdin.write(part) :]
            except BrokenPipeError:
                return False
            return True

    def end(self) -> None:
        """All parts are there. Raises ArchiveFailed unless the archive was complete, and is unpacked now."""
        with self._busy:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.close()
            answer = self._process.stdout.read()
            status = self._process.wait()
        _object(answer, f"The archive could not be unpacked: this ended with status {status}.")


def _filled(file: IO[bytes], size: int) -> memoryview:
    """So many bytes of a file, or what there is until its end; no more memory than that."""
    data = bytearray()
    while len(data) < size and (more := file.read(min(size - len(data), _CHUNK))):
        data += more
    return memoryview(data)


def _object(line: bytes, otherwise: str) -> dict[str, Any]:
    """What a process said. Raises ArchiveFailed if that is an error, or nothing."""
    try:
        said: dict[str, Any] = json.loads(line)
    except ValueError:
        raise ArchiveFailed(otherwise) from None
    if "error" in said:
        raise ArchiveFailed(said["error"])
    return said
