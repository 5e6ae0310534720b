"""What has to be seen inside for a virtual environment's Python to run there."""

import os
from collections.abc import Iterator
from pathlib import Path

from opensessions.local.walls.bubblewrap import Bind

VENV = "/opt/venv"
"""Where the environment is seen: inside, no path tells where this server was installed."""


def interpreter_binds(venv: Path) -> tuple[Bind, ...]:
    """The environment at `VENV`, and what lies outside /usr of the Python that its `python` leads to
    by links: of an installation its programs and libraries, else the one file.
    """
    found = {venv: Bind(venv, VENV)}
    for step in _links(venv / "bin" / "python"):
        if step.is_relative_to(venv) or step.parent.resolve().is_relative_to("/usr"):
            continue
        for path in _needed(step):
            found.setdefault(path, Bind(path.resolve(), str(path)))
    return tuple(found.values())


def _needed(python: Path) -> Iterator[Path]:
    installation = python.parent.parent
    if any(installation.glob("lib/python3*/os.py")) and installation != Path("/"):
        yield from (installation / "bin", installation / "lib")
    else:
        yield python


def _links(path: Path) -> Iterator[Path]:
    """Where a link leads, step by step, and then the file with the links in its folders resolved."""
    while path.is_symlink():
        path = Path(os.path.normpath(path.parent / path.readlink()))
        yield path
    yield path.resolve()
