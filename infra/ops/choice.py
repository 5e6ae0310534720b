"""What the operator chose, read as the CDK reads it: `-c key=value` before `cdk.json` before
`cdk.context.json`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra import context
from infra.context import Context, ContextError
from infra.ops.account import STACK

FOLDER = Path(__file__).parents[2]


def values(words: Sequence[str], folder: Path = FOLDER) -> dict[str, Any]:
    """Raises ContextError."""
    found: dict[str, Any] = {}
    for name in ("cdk.context.json", "cdk.json"):
        path = folder / name
        content = json.loads(path.read_text()) if path.exists() else {}
        found |= content.get("context", {}) if name == "cdk.json" else content
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ContextError(f"-c takes key=value; {word!r} has no '='.")
        found[key] = value
    return found


def read(words: Sequence[str], folder: Path = FOLDER) -> Context:
    """The context, checked. Raises ContextError."""
    return context.read(values(words, folder).get)


def stack(words: Sequence[str], folder: Path = FOLDER) -> str:
    """The stack's name."""
    return str(values(words, folder).get("stack") or STACK)
