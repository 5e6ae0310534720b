"""Which processes a sandbox consists of, as the host sees them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """`memory` is in pages and counts shared ones in full."""

    pid: int
    parent: int
    threads: int
    memory: int


def table() -> Mapping[int, list[Process]]:
    """All processes of the machine, by parent."""
    children: dict[int, list[Process]] = {}
    for name in Path("/proc").iterdir():
        if name.name.isdigit() and (process := _read(int(name.name))):
            children.setdefault(process.parent, []).append(process)
    return children


def descendants(pid: int, children: Mapping[int, list[Process]]) -> Iterator[Process]:
    """All below `pid`, parents first. Complete for the first process of a pid namespace: what loses its
    parent in there becomes a child of that one.
    """
    waiting = list(children.get(pid, ()))
    while waiting:
        process = waiting.pop()
        yield process
        waiting.extend(children.get(process.pid, ()))


def proportional_memory(pid: int) -> int:
    """Bytes that a process holds for itself, its share of what it shares included; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    fields = [line.split() for line in lines]
    sizes = {words[0]: int(words[1]) for words in fields if len(words) == 3 and words[2] == "kB"}
    if "Pss_Anon:" in sizes:
        return (sizes["Pss_Anon:"] + sizes.get("Pss_Shmem:", 0)) * 1024
    return sizes.get("Pss:", 0) * 1024


def _read(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return Process(pid, int(fields[1]), int(fields[17]), int(fields[21]))
