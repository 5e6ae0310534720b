"""A throw-away process that writes an archive of a workspace to its standard output: a tar, compressed.

Its arguments are the workspace, the kind, the most bytes, the most entries, and a descriptor. To the latter
goes, once the archive is complete, a line of JSON, `{"bytes", "files", "skipped"}`, and behind it the
listing; or, where there can be no archive, `{"error": <a sentence>}`.
"""

import json
import os
import sys
from pathlib import Path

from sandbox_task.workspace.bounds import Excess
from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.plans import Folder, planned
from sandbox_task.workspace.rules import ARCHIVED, Cover
from sandbox_task.workspace.tape import Tape

_KINDNESS = 5


def main() -> None:
    root, kind, limit, most, report = sys.argv[1:]
    if kind == "light":
        os.nice(_KINDNESS)  # made after every turn, when the user looks at what came of it
    with os.fdopen(int(report), "wb") as told:
        try:
            tape, skipped = _packed(Path(root), kind, int(limit), int(most))
        except Excess as error:
            told.write(json.dumps({"error": str(error)}).encode() + b"\n")
            return
        summary = {"bytes": tape.bytes, "files": tape.files, "skipped": skipped}
        told.write(json.dumps(summary).encode() + b"\n" + tape.listing())


def _packed(root: Path, kind: str, limit: int, most: int) -> tuple[Tape, int]:
    plan = planned(root, kind, limit, most)
    with os.fdopen(1, "wb", buffering=0) as out, Descent(root) as at:
        tape = Tape(out, limit)
        for cover in ARCHIVED[kind]:
            names: list[str] = []
            for folder in plan.folders:
                del names[max(folder.depth - 1, 0) :]
                names += [folder.name] if folder.depth else []
                record(tape, at, folder, names, cover)
        tape.end()
    return tape, plan.skipped + tape.skipped


def record(tape: Tape, at: Descent, folder: Folder, names: list[str], cover: Cover) -> None:
    """Put on the tape what of a folder is covered so, itself first. Raises Excess."""
    itself = folder.above is not None and folder.place.cover == cover
    members = folder.members.get(cover, ())
    if not itself and not members:
        return
    path = "/".join([*names, ""])
    try:
        at.go(names)
    except OSError:  # taken away, or something else is there now
        tape.skipped += itself + len(members)
        return
    if itself:
        tape.folder(path[:-1], at.fd)
    for name in members:
        tape.member(path + name, name, at.fd)
