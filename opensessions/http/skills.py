"""Files that a caller gives to the agent: paths that can only lie where they should."""

import re
from typing import Annotated

from pydantic import AfterValidator

from opensessions.http.fields import bounded
from opensessions.http.strict_json import shown

MOST_FILES = 64
LARGEST_TOTAL = 256 * 1024
LONGEST_PATH = 512

_DRIVE = re.compile(r"[A-Za-z]:")


def _skills(files: dict[str, str]) -> dict[str, str]:
    if len(files) > MOST_FILES:
        raise ValueError(f"has {len(files):,} files; {MOST_FILES} are possible")
    result: dict[str, str] = {}
    for given, content in files.items():
        path = _plain(given)
        if path in result:
            raise ValueError(f"has the file {shown(path)} twice")
        result[path] = content
    _refuse_folders(result)
    bounded("".join(result.values()), "agent_config.skills", LARGEST_TOTAL)
    return result


def _plain(given: str) -> str:
    """The path without empty and `.` steps. Raises ValueError for one that could lead elsewhere."""
    steps = given.split("/")
    plain = [step for step in steps if step not in ("", ".")]
    if given.startswith("/") or ".." in steps or "\\" in given or _DRIVE.match(given):
        raise ValueError(f"has the path {shown(given)}; paths are relative, without '..', '\\' or a drive")
    if not given.isprintable() or not plain or steps[-1] in ("", "."):
        raise ValueError(f"has the path {shown(given)}, which does not name a file")
    if len(given.encode()) > LONGEST_PATH or any(len(step.encode()) > 255 for step in plain):
        raise ValueError(f"has a path that is too long: {shown(given)}")
    return "/".join(plain)


def _refuse_folders(files: dict[str, str]) -> None:
    for path in files:
        steps = path.split("/")
        for depth in range(1, len(steps)):
            if (folder := "/".join(steps[:depth])) in files:
                raise ValueError(f"has {shown(folder)} both as a file and as a folder")


Skills = Annotated[dict[str, str], AfterValidator(_skills)]
