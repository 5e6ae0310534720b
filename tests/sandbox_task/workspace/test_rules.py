import pytest

from sandbox_task.workspace import rules

TABLE = {
    "versioned": [
        "", "app", "app/src/index.ts", "app/.env", "app/.gitignore", "app/build/out.js", "notes.md",
        "app/home/page.tsx", "app/agent/main.py", "app/.opensessions", "app/cache/x", "app/tmp/x",
        "app/node_modules.txt", "app/venv2/x", "app/dev/cache/x", "other/.npm/x", "app/caf\udce9.txt",
        "home/.claude/projects", "home/.claude/projects/-workspace-app/1.jsonl",
    ],
    "kept": [
        "home", "home/.bashrc", "home/.claude", "home/.claude.json", "home/.claude/todos/1.json",
        "home/.local/bin/tsc", ".opensessions", ".opensessions/versions.git/HEAD",
        ".opensessions/versions.git/refs/heads/node_modules", "app/.git", "app/.git/config",
        "app/.git/refs/heads/venv", "app/.git/refs/heads/__pycache__/x", "app/sub/.git", "app/.GIT/config",
        "home/.claude/projects/x/.git/config", "home/project/.git",
    ],
    "dependency": [
        "app/node_modules", "app/node_modules/react/index.js", "app/node_modules/.bin/vite",
        "app/node_modules/x/.git/config", "app/.venv/bin/python3", "app/venv", "venv/lib/x",
        "app/.next/server/page.js", "app/.next", "app/packages/web/node_modules/x", "app/.svelte-kit/x",
        "home/node_modules/x", "home/.local/lib/python3.11/site-packages/x.py", "home/.cargo/bin/rg",
        "home/.local/share/pnpm/global/x",
    ],
    "cache": [
        "agent", "agent/skills/x/SKILL.md", "home/.npm/_cacache/x", "home/.cache", "home/.cache/pip/x",
        "app/__pycache__/x.pyc", "app/.venv/lib/python3.11/__pycache__/x.pyc", "app/.next/cache/webpack/x",
        "app/.next/dev/cache/x", "app/node_modules/.cache/babel/x", "node_modules/.cache", "app/.turbo/x",
        "app/.pytest_cache/v", "app/.mypy_cache/x", "app/.pnpm-store/v3/x", "home/.cargo/registry/x",
        "home/.local/share/pnpm/store/v3/x", "app/__pycache__/.git/x",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "cover"), [(path, cover) for cover, paths in TABLE.items() for path in paths]
)
def test_a_path_is_covered(path: str, cover: str) -> None:
    assert rules.covered(path) == cover


@pytest.mark.parametrize("path", sorted(path for paths in TABLE.values() for path in paths))
def test_a_walk_that_enters_what_may_hold_something_misses_nothing(path: str) -> None:
    cover, folder, place = rules.covered(path), "", rules.ROOT
    for name in path.split("/"):
        assert rules.may_hold(place, (cover,)) or rules.may_hold(place, ("versioned", "kept", "dependency"))
        place, folder = rules.below(place, folder, name), f"{folder}/{name}" if folder else name
    if cover in ("versioned", "kept"):
        assert rules.may_hold(rules.place(path.rpartition("/")[0]), ("versioned", "kept"))


@pytest.mark.parametrize(
    ("path", "users"),
    [
        ("app/src/x", True), ("app/.git/config", True), ("README.md", True), ("app/home/x", True),
        ("app/node_modules/x", False), ("app/__pycache__/x", False), ("home/x", False), ("agent/x", False),
        ("home/.claude/projects/x", False), (".opensessions/versions.git/HEAD", False),
    ],
)  # fmt: skip
def test_what_the_user_made(path: str, users: bool) -> None:
    assert rules.is_users(path) is users
