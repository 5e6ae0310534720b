"""A process that packs one workspace into another, part by part, and prints the memory that took."""

import json
import resource
from contextlib import closing
from pathlib import Path

from opensessions.archives import Source
from sandbox_task.workspace.processes import Packing, Unpacking


def main(root: str, other: str, size: int, files: int) -> None:
    """Peaks are in bytes: that of this process, and that of the larger of the two."""
    source = Source(id="0" * 32, kind="full", parts=[], bytes=size, files=files)
    with (
        closing(Packing(Path(root), "full", size)) as packing,
        closing(Unpacking(Path(other), source)) as end,
    ):
        while part := packing.part():
            end.take(part)
        packing.packed()
        end.end()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"between": _own_peak(), "packing and unpacking": children}))


def _own_peak() -> int:
    """Of this program alone: `getrusage` counts what the process was before, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
