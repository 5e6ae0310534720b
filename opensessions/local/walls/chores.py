"""What the host must do to the files of a workspace, done inside walls like the sandbox's own.

A workspace is made by a stranger: links, folders that nobody may enter, thousands of levels. The programs
here run as the workspace's user, see nothing but it, and have, inside, the one capability that permissions
cannot stop.
"""

import re
from pathlib import Path

from opensessions.local.walls.bubblewrap import WORKSPACE, Bind, Recipe
from opensessions.local.walls.spawner import Spawner

_MEASURE = f"du -sx --block-size=1 {WORKSPACE} 2>/dev/null; du -sx --inodes {WORKSPACE} 2>/dev/null"
_EMPTY = f"find {WORKSPACE} -xdev -mindepth 1 -delete 2>&1 | tail -c 300"


def measure(spawner: Spawner, workspace: Path, uid: int | None) -> tuple[int, int]:
    """Bytes on disk and number of files of a workspace; hard links count once, holes not. Raises OSError."""
    text = _run(spawner, Bind(workspace, WORKSPACE), uid, _MEASURE, "CAP_DAC_READ_SEARCH")
    numbers = re.findall(r"^(\d+)\t", text, re.MULTILINE)
    if len(numbers) != 2:
        raise OSError(f"{workspace} could not be measured: {text[-300:]}")
    return int(numbers[0]), int(numbers[1])


def empty(spawner: Spawner, workspace: Path, uid: int | None) -> None:
    """Delete all that is in a workspace, following no link. Nothing may run in it. Raises OSError."""
    text = _run(spawner, Bind(workspace, WORKSPACE, writable=True), uid, _EMPTY, "CAP_DAC_OVERRIDE")
    if text:
        raise OSError(f"{workspace} could not be emptied: {text}")


def _run(spawner: Spawner, bind: Bind, uid: int | None, script: str, capability: str) -> str:
    recipe = Recipe((bind,), ("/usr/bin/sh", "-c", script), {"PATH": "/usr/bin:/bin"}, (capability,))
    process = spawner.start(recipe, uid)
    output, _ = process.communicate()
    spawner.settle(process)
    return output.decode(errors="replace")
