"""The caller's skills and files, put where the agent finds them.

The agent reads a SKILL.md without front matter, but leaves it out of the list of skills that it shows; so
such a file is given a minimal front matter when it is written.
"""

import json
from pathlib import Path, PurePosixPath

from sandbox_task import beneath


def place(root: Path, files: dict[str, str]) -> list[str]:
    """Write `files` (relative path → text) beneath `root`; return the names of the skills among them.

    Raises ValueError naming the path that cannot be written.
    """
    for path, text in files.items():
        try:
            beneath.write(root, path, fronted(path, text) if is_skill(path) else text)
        except (OSError, ValueError) as error:
            raise ValueError(f"The file {path!r} could not be put under /workspace/agent: {error}") from error
    return sorted(PurePosixPath(path).parent.name for path in files if is_skill(path))


def is_skill(path: str) -> bool:
    """Whether the agent would load this file as a skill."""
    found = PurePosixPath(path).parts
    return len(found) == 4 and found[:2] == (".claude", "skills") and found[3] == "SKILL.md"


def fronted(path: str, text: str) -> str:
    """`text` with front matter: its own, or the folder's name and the first line with words in it."""
    lines = text.lstrip("\ufeff").splitlines()
    if lines and lines[0].strip() == "---" and any(line.strip() == "---" for line in lines[1:]):
        return text
    name = PurePosixPath(path).parent.name
    words = (line.strip().lstrip("#>*- ").strip() for line in lines)
    description = next((line for line in words if line), name)[:200]
    # JSON strings are YAML strings, so that no text can break out of the front matter.
    return f"---\nname: {json.dumps(name)}\ndescription: {json.dumps(description)}\n---\n\n{text}"
