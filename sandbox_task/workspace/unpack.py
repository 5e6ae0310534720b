"""A throw-away process that unpacks an archive, which comes by its standard input, into a workspace.

Its arguments are the workspace, the kind, and the bytes and entries that the archive has. What a light
archive covers is removed first. One line of JSON is its answer: `{"bytes", "files"}`, or `{"error": <a
sentence>}`; the workspace is good for nothing then.

Links are kept as they are, wherever they lead: a virtual environment has them to `/usr`. Nothing is ever
written, made or looked up through one, whoever put it there, and when. So no path leaves the workspace.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from sandbox_task.workspace.bounds import shown
from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.entries import Entry, Refused, Stream
from sandbox_task.workspace.removal import clear, remove
from sandbox_task.workspace.rules import ARCHIVED

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1024 * 1024


def main() -> None:
    root, kind, size, files = sys.argv[1:]
    answer: dict[str, int | str]
    try:
        if kind == "light":
            clear(Path(root), ARCHIVED[kind])
        with os.fdopen(0, "rb", buffering=0) as source:
            unpack(Stream(source, int(size), int(files)), Path(root))
        answer = {"bytes": int(size), "files": int(files)}
    except Refused as error:
        answer = {"error": str(error)}
    except OSError as error:
        answer = {"error": f"The archive could not be unpacked: {error.strerror}."}
    print(json.dumps(answer))


def unpack(stream: Stream, root: Path) -> None:
    """Unpack all entries over what is there. Raises Refused."""
    folders: dict[str, Entry] = {}
    with Descent(root) as at:
        for entry in stream.entries():
            try:
                *above, name = entry.path.split("/")
                at.go(above, make=True)
                if entry.kind == "file":
                    _file(at, name, entry, stream)
                elif entry.kind == "link":
                    _link(at, name, entry)
                else:
                    _folder(at, name)
                    folders[entry.path] = entry
            except OSError as error:
                raise Refused(
                    f"{shown(entry.path)} in the archive cannot be made: {error.strerror}."
                ) from None
        # The folders last, and each before those above it: one that forbids writing is full by then.
        for path in sorted(folders, reverse=True):
            _finish(at, folders[path])


def _file(at: Descent, name: str, entry: Entry, stream: Stream) -> None:
    left = entry.size
    try:
        fd = os.open(name, _NEW, 0o600, dir_fd=at.fd)
    except FileExistsError:
        remove(at, name)
        fd = os.open(name, _NEW, 0o600, dir_fd=at.fd)
    try:
        while left:
            data = memoryview(stream.take(min(left, _CHUNK)))
            left -= len(data)
            while data:
                data = data[os.write(fd, data) :]
        os.fchmod(fd, entry.mode)
        os.utime(fd, ns=(entry.mtime, entry.mtime))
    finally:
        os.close(fd)


def _link(at: Descent, name: str, entry: Entry) -> None:
    try:
        os.symlink(entry.target, name, dir_fd=at.fd)
    except FileExistsError:
        remove(at, name)
        os.symlink(entry.target, name, dir_fd=at.fd)
    # Without following: a time is all that could be changed, but it would be somebody else's.
    os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=at.fd, follow_symlinks=False)


def _folder(at: Descent, name: str) -> None:
    """Make the folder, unless there is one."""
    try:
        os.mkdir(name, 0o700, dir_fd=at.fd)
        return
    except FileExistsError:
        with suppress(IsADirectoryError):
            os.unlink(name, dir_fd=at.fd)
            os.mkdir(name, 0o700, dir_fd=at.fd)


def _finish(at: Descent, entry: Entry) -> None:
    try:
        at.go(entry.path.split("/"))
        os.utime(".", ns=(entry.mtime, entry.mtime), dir_fd=at.fd)
        os.chmod(".", entry.mode, dir_fd=at.fd)
    except OSError as error:
        raise Refused(f"{shown(entry.path)} in the archive cannot be made: {error.strerror}.") from None
