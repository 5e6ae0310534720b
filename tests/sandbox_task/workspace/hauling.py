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
    kinds = {"between": resource.RUSAGE_SELF, "packing and unpacking": resource.RUSAGE_CHILDREN}
    print(json.dumps({kind: resource.getrusage(who).ru_maxrss * 1024 for kind, who in kinds.items()}))
