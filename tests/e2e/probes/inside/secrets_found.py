"""Runs in a sandbox: every token and canary that can be read of any process or file, one JSON object.

The canaries are given backwards, so that this search does not find itself.
"""

import json
import os
import re
import sys
from array import array
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

PAGE = os.sysconf("SC_PAGE_SIZE")
CHUNK = 4096
LARGEST_FILE = 32 << 20
TOKEN = rb"osw_[0-9a-f]{32}_[0-9a-f]{64}"
WANTED = re.compile(b"|".join([TOKEN, *(re.escape(word[::-1].encode()) for word in sys.argv[1:])]))
FOLDERS = ("/workspace", "/tmp", "/run", "/dev/shm", "/etc", "/opt")


def memory(pid: int) -> Iterator[bytes]:
    """What a process itself put into memory: the pages that are there, of what it can write."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as mem, Path(f"/proc/{pid}/pagemap").open("rb", 0) as pages:
        for place in filter(None, (re.match(r"([0-9a-f]+)-([0-9a-f]+) .w", line) for line in maps)):
            first, last = (int(word, 16) // PAGE for word in place.groups())
            for start, count in present(pages, first, last):
                try:
                    mem.seek(start * PAGE)
                    yield mem.read(count * PAGE)
                except OSError:
                    continue


def present(pages: BinaryIO, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Runs of pages that are in memory: the first of each, and how many."""
    for start in range(first, last, CHUNK):
        pages.seek(start * 8)
        entries = array("Q", pages.read(min(CHUNK, last - start) * 8))
        place = start
        for there, run in groupby(entries, lambda entry: bool(entry >> 62)):
            count = len(list(run))
            if there:
                yield place, count
            place += count


def contents(pid: int) -> Iterator[bytes]:
    for name in ("environ", "cmdline", "maps"):
        yield Path(f"/proc/{pid}/{name}").read_bytes()
    yield from memory(pid)


def processes() -> Iterator[tuple[str, Iterator[bytes]]]:
    for name in (path.name for path in Path("/proc").iterdir()):
        if name.isdigit() and int(name) != os.getpid():
            yield name, contents(int(name))


def files() -> Iterator[tuple[str, Iterator[bytes]]]:
    for folder in FOLDERS:
        for path in Path(folder).rglob("*"):
            if path.is_file() and path.stat().st_size < LARGEST_FILE:
                yield str(path), iter([path.read_bytes()])


def main() -> None:
    found: set[str] = set()
    closed, read = [], 0
    for source in (processes(), files()):
        for name, parts in source:
            try:
                for part in parts:
                    read += len(part)
                    found.update(each.decode() for each in WANTED.findall(part))
            except OSError:
                closed.append(name)
    print(json.dumps({"found": sorted(found), "closed": closed, "read": read}))


main()
