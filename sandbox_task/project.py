"""What the agent has made, judged by its files. They are hostile: opened beneath the workspace only, never
through a link, never more than a bound.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensessions.events import Artifact
from sandbox_task import beneath

_FILE_LIMIT = 256 * 1024
_FOLDERS = 20
_NODE = (
    ("next", "nextjs"), ("nuxt", "nuxt"), ("@sveltejs/kit", "sveltekit"), ("astro", "astro"),
    ("@remix-run/react", "remix"), ("@remix-run/node", "remix"), ("@angular/core", "angular"),
    ("vite", "vite"), ("react", "react"), ("vue", "vue"), ("svelte", "svelte"), ("express", "express"),
)  # fmt: skip
_PYTHON = tuple((name, re.compile(rf"(?<![\w.-]){name}(?![\w-])", re.I)) for name in
                ("fastapi", "streamlit", "django", "flask"))  # fmt: skip
_WRITERS = frozenset({"Write", "Edit", "MultiEdit", "NotebookEdit"})


def framework(root: Path, folder: str) -> str | None:
    """The framework of the project in `folder` (relative to `root`, "" for `root` itself) or just below it;
    "static" for plain pages, None when there is nothing to see.
    """
    below = sorted(beneath.names(root, folder) - {"node_modules"})[:_FOLDERS]
    for candidate in (folder, *(f"{folder}/{name}".lstrip("/") for name in below)):
        if (found := _of_node(root, candidate) or _of_python(root, candidate)) is not None:
            return found
    pages = ("index.html", "public/index.html", "static/index.html")
    return "static" if any(beneath.is_file(root, f"{folder}/{page}".lstrip("/")) for page in pages) else None


def _of_node(root: Path, folder: str) -> str | None:
    data = beneath.read(root, f"{folder}/package.json".lstrip("/"), _FILE_LIMIT)
    try:
        package = json.loads(data) if data else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(package, dict):
        return None
    sections = (package.get(name) for name in ("dependencies", "devDependencies"))
    needed = {name for section in sections if isinstance(section, dict) for name in section}
    return next((framework for name, framework in _NODE if name in needed), None)


def _of_python(root: Path, folder: str) -> str | None:
    for name in ("requirements.txt", "pyproject.toml"):
        data = beneath.read(root, f"{folder}/{name}".lstrip("/"), _FILE_LIMIT)
        text = (data or b"").decode("utf-8", "replace")
        for framework, pattern in _PYTHON:
            if pattern.search(text):
                return framework
    return None


class Artifacts:
    """The files that the agent's tools wrote, newest last, each with a line about what was done last."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, str] = {}

    def note(self, tool: str, given: Mapping[str, Any], summary: str) -> None:
        """Take in a tool call that succeeded."""
        path = given.get("file_path") or given.get("notebook_path")
        if tool not in _WRITERS or not isinstance(path, str):
            return
        path = os.path.normpath(path)
        if path.startswith(f"{self._root}/"):
            name = os.path.relpath(path, self._root)
            self._found.pop(name, None)
            self._found[name] = summary[:300]

    def listed(self) -> list[Artifact]:
        """The newest 200 that are still there, paths relative to the workspace."""
        there = [(p, s) for p, s in self._found.items() if len(p) <= 1024 and beneath.is_file(self._root, p)]
        return [Artifact(path=path, summary=summary) for path, summary in there[-200:]]
