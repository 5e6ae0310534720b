"""What runs in a folder."""

from contextlib import suppress
from pathlib import Path


def working_in(folder: Path) -> list[int]:
    """Processes that work in a sandbox's folder: programs the agent left in the background too."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
    return found
