"""What a caller may name of a workspace, and how much of a file: the same where it is live and where it is an
archive.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

MOST_NAME = 255
MOST_PATH = 4096
"""Bytes, of one name and of a whole path."""
MOST_WRITTEN = 16 * 2**20
"""Bytes that can be written at once."""
MOST_LISTED = 5000
"""Entries of a folder that are listed."""

HIDDEN = frozenset(("home", "agent", ".opensessions"))
"""What lies in the workspace beside the user's files."""
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


class BadPath(ValueError):
    """This is no path; the text says why."""


def plain(path: str) -> tuple[str, ...]:
    """The names of a relative path, which has one spelling alone. Raises BadPath."""
    if path.startswith("/"):
        raise BadPath("A path is relative to the workspace and does not begin with a slash.")
    names = tuple(path.split("/"))
    for name in names:
        _check(name)
    if len(path.encode()) > MOST_PATH:
        raise BadPath(f"A path has at most {MOST_PATH} bytes.")
    return names


def _check(name: str) -> None:
    if not name:
        raise BadPath("A path has no empty parts: no slash at its end, and no two in a row.")
    if name in (".", ".."):
        raise BadPath("A path has no . or .. in it.")
    if "\0" in name or "\\" in name:
        raise BadPath("A path has no NUL and no backslash in it.")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise BadPath("A path is UTF-8.") from None
    if length > MOST_NAME:
        raise BadPath(f"Each part of a path has at most {MOST_NAME} bytes.")


def is_plain(path: str) -> bool:
    """Whether `plain` takes it."""
    try:
        plain(path)
    except BadPath:
        return False
    return True


def hidden(names: Sequence[str]) -> bool:
    """Whether a path leads to what nobody is shown."""
    return bool(names) and names[0] in HIDDEN


def stays(path: str, target: str) -> bool:
    """Whether a link at `path` leads to within the workspace, whatever other such links lie on its way: it
    goes up first, if at all, and then only down.
    """
    steps = target.split("/")
    down = next((place for place, step in enumerate(steps) if step != ".."), len(steps))
    return down <= path.count("/") and (down == len(steps) or is_plain("/".join(steps[down:])))


class Unsatisfiable(Exception):
    """A range that begins beyond the end."""


class Span(NamedTuple):
    """Bytes from `start` up to, not with, `stop`; `part` when a range was asked for."""

    start: int
    stop: int
    part: bool


def span(wanted: str, size: int) -> Span:
    """What a `Range` asks for of so many bytes; all of them, when it is none or not one that is understood.

    Raises Unsatisfiable.
    """
    found = _RANGE.fullmatch(wanted)
    if not found or not any(found.groups()):
        return Span(0, size, False)
    first, last = found.groups()
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return Span(0, size, False)
    if start >= stop:
        raise Unsatisfiable
    return Span(start, stop, True)
