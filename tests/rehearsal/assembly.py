"""Changing a synthesised stack by hand, as a mistake in `infra/` would."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.rehearsal.deployment import STACK

Template = dict[str, Any]
_TEMPLATE, _ASSETS, _MANIFEST = f"{STACK}.template.json", f"{STACK}.assets.json", "manifest.json"


def template(assembly: Path) -> Template:
    return dict(json.loads((assembly / _TEMPLATE).read_text()))


def changed(assembly: Path, out: Path, change: Callable[[Template], None]) -> Path:
    """A copy of the assembly at `out` whose template went through `change`.

    It has a key of its own among the assets: by the old one the CLI would find, and deploy, the old template.
    """
    out.mkdir()
    for path in assembly.iterdir():
        (out / path.name).symlink_to(path)
    body = template(assembly)
    change(body)
    text = json.dumps(body, indent=1)
    new = hashlib.sha256(text.encode()).hexdigest()
    assets = json.loads((assembly / _ASSETS).read_text())
    [old] = [key for key, file in assets["files"].items() if file["source"]["path"] == _TEMPLATE]
    _write(out / _TEMPLATE, text)
    for name in (_ASSETS, _MANIFEST):
        _write(out / name, (assembly / name).read_text().replace(old, new))
    return out


def only(body: Template, kind: str, **wanted: Any) -> dict[str, Any]:
    """The one resource of a kind whose properties are as given."""
    found = [resource for resource in body["Resources"].values() if _is(resource, kind, wanted)]
    assert len(found) == 1, f"{len(found)} resources are {kind} with {wanted}"
    resource: dict[str, Any] = found[0]
    return resource


def _is(resource: dict[str, Any], kind: str, wanted: dict[str, Any]) -> bool:
    properties = resource.get("Properties", {})
    return resource["Type"] == kind and all(properties.get(name) == value for name, value in wanted.items())


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
