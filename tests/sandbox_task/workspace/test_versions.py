"""Versions of a workspace: what they hold, and what comes back of it."""

import hashlib
import os
import secrets
import subprocess
import time
from pathlib import Path

import pytest

from sandbox_task.workspace.versions import DIFF_BYTES, FOLDER, Versions, VersionsFailed

EXECUTABLE = 0o755


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "workspace"
    (made / "app").mkdir(parents=True)
    return made


@pytest.fixture
def versions(root: Path) -> Versions:
    return Versions(root)


def put(root: Path, files: dict[str, str | None]) -> None:
    """Write files; None takes one away."""
    for path, text in files.items():
        if text is None:
            (root / path).unlink()
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)


def tree(root: Path) -> dict[str, str]:
    """Everything but our own folder: files by checksum and mode, links by target."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.startswith(".opensessions"):
            continue
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() + oct(path.stat().st_mode & 0o100)
    return found


def committed(versions: Versions, message: str = "a turn") -> str:
    commit = versions.commit(message)
    assert commit is not None
    return commit


def git(root: Path, *words: str) -> str:
    command = ["git", f"--git-dir={root / FOLDER}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_version_comes_back_with_files_links_and_conversation(root: Path, versions: Versions) -> None:
    talk = "home/.claude/projects/-workspace-app/1.jsonl"
    put(root, {"app/index.html": "one", "app/run.sh": "#!/bin/sh\n", talk: "turn 1\n", "notes.txt": "n"})
    (root / "app/run.sh").chmod(EXECUTABLE)
    (root / "app/link").symlink_to("../notes.txt")
    first, before = committed(versions), tree(root)
    put(
        root, {"app/index.html": "two", talk: "turn 1\nturn 2\n", "app/new/deep/file": "x", "notes.txt": None}
    )
    (root / "app/run.sh").chmod(0o644)
    (root / "app/link").unlink()
    (root / "app/link").mkdir()
    second, after = committed(versions), tree(root)
    versions.checkout(first)
    assert tree(root) == before
    assert not (root / "app/new").exists()
    versions.checkout(second)
    assert tree(root) == after
    Versions(root).checkout(first)
    assert tree(root) == before


def test_what_can_be_installed_and_the_users_own_git_stay_as_they_are(root: Path, versions: Versions) -> None:
    put(
        root,
        {"app/a": "1", "app/lib/.git/HEAD": "ref: x", "app/node_modules/m/i.js": "m", "home/.npmrc": "r"},
    )
    first = committed(versions)
    put(root, {"app/a": "2", "app/lib/b": "b", "app/lib/.git/HEAD": "ref: y", "app/node_modules/m/i.js": "n"})
    committed(versions)
    put(root, {"home/.npmrc": "s"})
    versions.checkout(first)
    assert (root / "app/a").read_text() == "1" and not (root / "app/lib/b").exists()
    assert (root / "app/lib/.git/HEAD").read_text() == "ref: y"
    assert (root / "app/node_modules/m/i.js").read_text() == "n"
    assert (root / "home/.npmrc").read_text() == "s"
    assert git(root, "ls-tree", "-r", "--name-only", first).split() == ["app/a"]


def test_an_app_with_a_repository_of_its_own_is_versioned_by_its_files(
    root: Path, versions: Versions
) -> None:
    put(
        root,
        {"app/web/index.html": "x", "app/web/.gitattributes": "* filter=evil\n", "app/.gitignore": "*\n"},
    )
    for folder in (root / "app", root / "app/web"):
        subprocess.run(["git", "init", "-q", folder], check=True)
    (root / "app/.git/hooks/post-commit").write_text(f"#!/bin/sh\ntouch {root}/hooked\n")
    (root / "app/.git/hooks/post-commit").chmod(EXECUTABLE)
    commit = committed(versions)
    listed = git(root, "ls-tree", "-r", "--name-only", commit).split()
    assert listed == ["app/.gitignore", "app/web/.gitattributes", "app/web/index.html"]
    assert not (root / "hooked").exists()


def test_what_changed_is_named_and_shown(root: Path, versions: Versions) -> None:
    put(root, {"app/a.txt": "one\n", "app/b.txt": "b\n", "home/.claude/projects/p/1.jsonl": "{}"})
    (root / "app/logo.png").write_bytes(b"\x89PNG\0\0")
    first = committed(versions)
    made = versions.difference(None, first)
    assert {change.path: change.change for change in made.files} == dict.fromkeys(
        ("app/a.txt", "app/b.txt", "app/logo.png"), "added"
    )
    put(root, {"app/a.txt": "two\n", "app/b.txt": None, "app/c d.txt": "c\n"})
    (root / "app/logo.png").write_bytes(b"\x89PNG\0\1")
    second = committed(versions)
    changed = versions.difference(first, second)
    assert [(change.path, change.change) for change in changed.files] == [
        ("app/a.txt", "modified"), ("app/b.txt", "deleted"),
        ("app/c d.txt", "added"), ("app/logo.png", "modified"),
    ]  # fmt: skip
    assert changed.changed == 4
    assert "-one\n+two\n" in changed.diff and "Binary files a/app/logo.png and b/app/logo.png" in changed.diff
    assert "home/" not in changed.diff
    assert versions.difference(second, second).diff == ""


def test_a_long_diff_is_cut(root: Path, versions: Versions) -> None:
    put(root, {f"app/{n}.txt": f"é {n}\n" * 3000 for n in range(30)})
    shown = versions.difference(None, committed(versions)).diff
    assert DIFF_BYTES - 100 < len(shown.encode()) <= DIFF_BYTES
    assert shown.endswith("it is too long.)\n")


def test_nothing_changed_is_the_same_commit_and_history_goes_on_after_going_back(
    root: Path, versions: Versions
) -> None:
    put(root, {"app/a": "1"})
    first = committed(versions)
    assert committed(versions) == first
    put(root, {"app/a": "2"})
    second = committed(versions)
    versions.checkout(first)
    assert committed(versions) == first
    put(root, {"app/a": "3"})
    third = committed(versions)
    assert git(root, "rev-parse", f"{third}^1", f"{third}^2").split() == [first, second]
    assert Versions(root).commit("again") == third
    versions.checkout(second)
    assert (root / "app/a").read_text() == "2"


def test_whatever_stands_in_the_way_of_a_version_goes(root: Path, versions: Versions, tmp_path: Path) -> None:
    put(root, {"app/src/a": "1", "app/file": "f"})
    first, before = committed(versions), tree(root)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("not mine")
    put(root, {"app/src/a": None, "app/file": None, "app/file/node_modules/x": "x"})
    (root / "app/src").rmdir()
    (root / "app/src").symlink_to(outside)
    versions.checkout(first)
    assert tree(root) == before
    (root / "app/src/a").unlink()
    (root / "app/src").rmdir()
    os.mkfifo(root / "app/src")
    versions.checkout(first)
    assert tree(root) == before
    assert (outside / "a").read_text() == "not mine"


def test_no_file_is_read_or_written_through_a_link_and_no_pipe_is_waited_for(
    root: Path, versions: Versions, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t")
    (root / "app/link").symlink_to(secret)
    (root / "app/folder").symlink_to(tmp_path)
    (root / "app/.gitmodules").symlink_to(secret)
    os.mkfifo(root / "app/package.json")
    commit = committed(versions)
    assert git(root, "cat-file", "blob", f"{commit}:app/link") == str(secret)
    assert git(root, "ls-tree", "-r", "--name-only", commit).split() == ["app/folder", "app/link"]
    (root / "app/link").unlink()
    versions.checkout(commit)
    assert (root / "app/link").readlink() == secret and secret.read_text() == "s3cr3t"


def test_names_that_are_hard_to_write_down(root: Path, versions: Versions) -> None:
    names = [b"new\nline", b'"quoted"', b"back\\slash", b"\xff\xfe", b" space ", "ü".encode(), b"git~1"]
    for name in names:
        (root / "app" / os.fsdecode(name)).write_text("x")
    commit = committed(versions)
    for name in names:
        (root / "app" / os.fsdecode(name)).unlink()
    difference = versions.difference(commit, committed(versions))
    assert difference.changed == len(names)
    versions.checkout(commit)
    assert {os.fsencode(path.name) for path in (root / "app").iterdir()} == set(names)


def test_a_file_that_is_too_large_is_left_out_and_counted(root: Path, versions: Versions) -> None:
    put(root, {"app/a": "1"})
    first = committed(versions)
    with (root / "app/video").open("wb") as file:
        file.truncate(21 * 2**20)
    put(root, {"app/a": "2"})
    second = committed(versions)
    assert versions.left_out == 1
    assert git(root, "ls-tree", "-r", "--name-only", second).split() == ["app/a"]
    versions.checkout(first)
    assert (root / "app/video").stat().st_size == 21 * 2**20


def test_a_change_that_keeps_size_and_time_is_seen(root: Path, versions: Versions) -> None:
    file = root / "app/a"
    file.write_text("one")
    first = committed(versions)
    about = file.stat()
    file.write_text("two")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert committed(versions) != first


def test_a_fresh_start_has_neither_versions_nor_conversation(root: Path, versions: Versions) -> None:
    put(root, {"app/a": "1", "home/.claude/projects/p/1.jsonl": "{}"})
    first = committed(versions)
    versions.forget()
    assert not (root / FOLDER).exists() and not (root / "home/.claude/projects").exists()
    with pytest.raises(VersionsFailed, match="could not be brought back"):
        versions.checkout(first)
    assert committed(versions) != first
    Versions(root).forget()
    versions.forget()


def test_versions_that_are_broken_are_begun_anew(root: Path, versions: Versions) -> None:
    put(root, {"app/a": "1"})
    committed(versions)
    (root / FOLDER / "refs/heads/now.lock").touch()
    put(root, {"app/a": "2"})
    second = committed(versions)
    for path in (root / FOLDER / "objects").rglob("*"):
        if path.is_file():
            path.unlink()
    again = Versions(root)
    third = committed(again)
    assert third != second
    put(root, {"app/a": "3"})
    again.checkout(third)
    assert (root / "app/a").read_text() == "2"
    (root / ".opensessions").rename(root / "elsewhere")
    (root / ".opensessions").symlink_to("elsewhere")
    committed(Versions(root))
    assert (root / ".opensessions").is_dir() and not (root / ".opensessions").is_symlink()


def test_without_git_there_are_no_versions(
    root: Path, versions: Versions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(root))
    assert versions.commit("x") is None and versions.commit("x") is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with pytest.raises(VersionsFailed, match="no git program"):
        versions.checkout("0" * 40)


def test_many_versions_of_a_long_conversation_take_little_room(root: Path, versions: Versions) -> None:
    talk, first = root / "home/.claude/projects/p/1.jsonl", ""
    put(root, {"home/.claude/projects/p/1.jsonl": ""})
    for number in range(20):
        with talk.open("a") as file:
            file.write("".join(f"{number} {secrets.token_hex(100)}\n" for _ in range(1_200)))
        last = committed(versions)
        first = first or last
    size = talk.stat().st_size
    (root / FOLDER / "objects/pack/tmp_pack_x").touch()
    versions.tidy()
    assert not (root / FOLDER / "objects/pack/tmp_pack_x").exists()
    (root / FOLDER / "objects/pack/tmp_pack_x").touch()
    versions.tidy()
    assert not (root / FOLDER / "objects/pack/tmp_pack_x").exists()
    stored = sum(path.stat().st_size for path in (root / FOLDER).rglob("*") if path.is_file())
    print(f"{size / 1e6:.1f} MB of conversation, {stored / 1e6:.1f} MB of versions")
    assert stored < size
    versions.checkout(first)
    assert talk.stat().st_size < size / 15
    versions.checkout(last)
    assert talk.stat().st_size == size


def test_two_thousand_files_are_quick(root: Path, versions: Versions) -> None:
    put(root, {f"app/src/{n % 40}/{n}.ts": f"export const n = {n};\n" * 20 for n in range(2000)})
    began = time.perf_counter()
    first = committed(versions)
    whole = time.perf_counter() - began
    put(root, {"app/src/0/0.ts": "changed"})
    committed(versions)
    put(root, {"app/src/0/0.ts": "changed again"})
    began = time.perf_counter()
    second = committed(versions)
    next_one = time.perf_counter() - began
    began = time.perf_counter()
    shown = versions.difference(first, second)
    print(f"first {whole:.3f} s, next {next_one:.3f} s, diff {time.perf_counter() - began:.3f} s")
    assert shown.changed == 1
    assert whole < 5 and next_one < 1  # for a busy machine; alone it takes a fifth of it
