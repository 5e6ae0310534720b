"""What of a workspace is kept where: the one table of it.

Paths are relative to the workspace, with `/` between their names and none at either end. A file is covered as
its name and the folders above it say, whatever it is: a link named `node_modules` is a dependency, too.
"""

from collections.abc import Collection
from typing import Final, Literal, NamedTuple

Cover = Literal["versioned", "kept", "dependency", "cache"]
"""- `versioned`: what a turn makes, and the conversation; in versions and in all archives.
- `kept`: in all archives, in no version: the home, a `.git`, our own `.opensessions`.
- `dependency`: can be installed anew; in full archives only.
- `cache`: in nothing, because it comes by itself; also what the worker places at each launch.
"""


class Place(NamedTuple):
    """What holds for something in the workspace, and for all beneath it if `sealed`."""

    cover: Cover
    sealed: bool = False


ROOT: Final = Place("versioned")
_KEPT = Place("kept", sealed=True)
_CACHE = Place("cache", sealed=True)
_DEPENDENCY = Place("dependency")

_ANCHORED: Final[dict[str, Place]] = {
    ".opensessions": _KEPT,
    "agent": _CACHE,
    "home": Place("kept"),
    "home/.claude/projects": Place("versioned"),
    **dict.fromkeys(
        [
            *("home/.npm", "home/.cache", "home/.node-gyp", "home/.bun/install/cache", "home/.yarn/cache"),
            *("home/.local/share/pnpm/store", "home/.local/state/pnpm", "home/.local/share/Trash"),
            *("home/.cargo/registry", "home/go/pkg/mod/cache"),
        ],
        _CACHE,
    ),
    **dict.fromkeys(
        [
            *("home/.local/lib", "home/.local/share/uv", "home/.local/share/pnpm", "home/.nvm", "home/.bun"),
            *("home/.deno", "home/.cargo", "home/.rustup", "home/go", "home/.m2", "home/.gradle"),
        ],
        _DEPENDENCY,
    ),
}
# A store of pnpm is linked hard into node_modules: an archive, which has no such links, would hold all twice.
_CACHES: Final = frozenset(
    (
        *("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".turbo", ".parcel-cache"),
        *(".sass-cache", ".eslintcache", ".stylelintcache", ".pnpm-store"),
    )
)
_CACHES_WITHIN: Final = ("/node_modules/.cache", "/.next/cache", "/.next/dev/cache", "/.angular/cache")
_WITHIN: Final = frozenset(path.rpartition("/")[2] for path in _CACHES_WITHIN)
_DEPENDENCIES: Final = frozenset(
    (
        *("node_modules", "bower_components", ".venv", "venv", "__pypackages__", ".tox", ".nox", ".next"),
        *(".nuxt", ".output", ".svelte-kit", ".astro", ".gradle"),
    )
)


def below(above: Place, folder: str, name: str) -> Place:
    """What holds for `name` in `folder` (a path, empty for the workspace itself), whose own place is `above`.

    Beneath a dependency there are only dependencies and caches, beneath a cache only caches.
    """
    if above.sealed:
        return above
    anchored = _ANCHORED.get(f"{folder}/{name}" if folder else name)
    if anchored is not None:
        return anchored
    if name in _CACHES or (name in _WITHIN and f"/{folder}/{name}".endswith(_CACHES_WITHIN)):
        return _CACHE
    if above.cover == "dependency":
        return above
    if name in _DEPENDENCIES:
        return _DEPENDENCY
    # Git knows its folder however it is written. A branch may have any name: no rule holds beneath.
    return _KEPT if name.lower() == ".git" else above


def may_hold(folder: Place, covers: Collection[Cover]) -> bool:
    """Whether something in a folder may be covered so: the conversation lies within the home."""
    return folder.cover in covers or (not folder.sealed and folder.cover == "kept")


def place(path: str) -> Place:
    """What holds for a path; the empty one is the workspace."""
    found, folder = ROOT, ""
    for name in path.split("/") if path else ():
        found = below(found, folder, name)
        folder = f"{folder}/{name}" if folder else name
    return found


def covered(path: str) -> Cover:
    """How a path is covered."""
    return place(path).cover


def is_users(path: str) -> bool:
    """Whether a path is what the user made: neither the sandbox's own folders nor what can be had anew."""
    return path.partition("/")[0] not in _OWN and covered(path) in ("versioned", "kept")


_OWN: Final = frozenset(("home", "agent", ".opensessions"))
ARCHIVED: Final[dict[str, tuple[Cover, ...]]] = {
    "full": ("versioned", "kept", "dependency"),
    "light": ("versioned", "kept"),
}
"""What the two kinds of archives hold, in the order in which they hold it."""
