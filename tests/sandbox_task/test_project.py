"""Frameworks and artifacts, in workspaces that mean harm too."""

import json
import os
from pathlib import Path

import pytest

from sandbox_task import beneath
from sandbox_task.project import Artifacts, framework


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"package.json": {"dependencies": {"next": "16", "react": "19"}}}, "nextjs"),
        ({"package.json": {"devDependencies": {"vite": "8"}, "dependencies": {"react": "19"}}}, "vite"),
        (
            {"package.json": {"devDependencies": {"vite": "8", "@sveltejs/kit": "2", "svelte": "5"}}},
            "sveltekit",
        ),
        ({"package.json": {"dependencies": {"astro": "5"}}}, "astro"),
        ({"package.json": {"dependencies": {"nuxt": "4", "vue": "3"}}}, "nuxt"),
        ({"package.json": {"dependencies": {"@remix-run/react": "2", "react": "18"}}}, "remix"),
        ({"package.json": {"dependencies": {"express": "5"}}}, "express"),
        ({"package.json": {"dependencies": {"lodash": "5"}}, "index.html": "x"}, "static"),
        ({"requirements.txt": "uvicorn\nFastAPI==0.1\n"}, "fastapi"),
        ({"requirements.txt": "flask-cors\n"}, None),
        ({"pyproject.toml": '[project]\ndependencies = ["Django>=5"]'}, "django"),
        ({"requirements.txt": "streamlit"}, "streamlit"),
        ({"web/package.json": {"dependencies": {"vue": "3"}}}, "vue"),
        ({"node_modules/package.json": {"dependencies": {"vue": "3"}}}, None),
        ({"public/index.html": "x"}, "static"),
        ({"package.json": "[]"}, None),
        ({"package.json": '{"dependencies": ["next"]}'}, None),
        ({"package.json": "[" * 100_000}, None),
        ({"package.json": " " * 300_000 + '{"dependencies": {"next": "1"}}'}, None),
        ({}, None),
    ],
)
def test_framework(tmp_path: Path, files: dict[str, object], expected: str | None) -> None:
    for path, content in files.items():
        file = tmp_path / "app" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    assert framework(tmp_path, "app") == expected


@pytest.mark.timeout(10)
def test_pipes_links_devices_and_endless_files_are_not_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "package.json").write_text('{"dependencies": {"next": "1"}}')
    root = tmp_path / "workspace"
    for name in ("fifo", "link", "endless", "folder", "proc"):
        (root / name).mkdir(parents=True)
    os.mkfifo(root / "fifo/package.json")
    (root / "link/package.json").symlink_to(outside / "package.json")
    (root / "proc/package.json").symlink_to("/proc/self/environ")
    os.truncate(os.open(root / "endless/package.json", os.O_CREAT | os.O_WRONLY), 1 << 42)
    (root / "folder/package.json").mkdir()
    (root / "linked").symlink_to(outside)
    (root / "zero").symlink_to("/dev/zero")
    for name in ("fifo", "link", "endless", "folder", "proc", "linked", "zero", ""):
        assert framework(root, name) is None


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\\b", "a\0b", ""])
def test_only_plain_relative_paths_are_written(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError):
        beneath.write(tmp_path, path, "x")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("old")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "kept")
    with pytest.raises(OSError):
        beneath.write(root, "folder/kept", "new")
    beneath.write(root, "file", "new")
    assert (outside / "kept").read_text() == "old"
    assert (root / "file").read_text() == "new"


def test_artifacts_are_the_files_that_were_written_and_are_there(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    for name in ("a", "b"):
        (tmp_path / "app" / name).write_text("x")
    made = Artifacts(tmp_path)
    made.note("Write", {"file_path": f"{tmp_path}/app/a"}, "Wrote a")
    made.note("Write", {"file_path": f"{tmp_path}/app/b"}, "Wrote b")
    made.note("Edit", {"file_path": f"{tmp_path}/app/../app/a"}, "Edited a")
    made.note("Write", {"file_path": f"{tmp_path}/app/gone"}, "Wrote gone")
    made.note("Read", {"file_path": f"{tmp_path}/app/b"}, "Read b")
    made.note("Write", {"file_path": "/etc/hosts"}, "Wrote hosts")
    made.note("Write", {"file_path": f"{tmp_path}-sibling/x"}, "Wrote x")
    made.note("Write", {"file_path": 7}, "Wrote 7")
    assert [(found.path, found.summary) for found in made.listed()] == [
        ("app/b", "Wrote b"),
        ("app/a", "Edited a"),
    ]
