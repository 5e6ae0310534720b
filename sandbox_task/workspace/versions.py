"""The history of a workspace: a commit for each turn, in a git directory of our own beside the app.

Only git's plumbing is used, on content that is read here, so that neither links nor the user's own `.git`
mean anything to it.
"""

import logging
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opensessions.archives import Change
from sandbox_task.workspace import removal
from sandbox_task.workspace.checkout import Checkout, stand
from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.git import TEXTS, Git, GitFailed
from sandbox_task.workspace.state import CONVERSATION, Entry, State

log = logging.getLogger(__name__)
FOLDER = ".opensessions/versions.git"
DIFF_BYTES = 300_000
_FILES = 500
_LOOSE, _LOOSE_KB, _PACKS = 2000, 16 * 1024, 20
"""How many objects, of how many kB, and packs there may be until they are packed into one."""
_EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""The tree without files, which git knows by itself."""
_NEWEST, _NOW = "refs/heads/versions", "refs/heads/now"
_USERS = ("--", ":(exclude,top)home")
_CUT = "\n(The rest of this diff is left out: it is too long.)\n"
_CHANGES: dict[str, Literal["added", "deleted"]] = {"A": "added", "D": "deleted"}


class VersionsFailed(Exception):
    """There is no such version, or git could not do it; the text is a sentence."""


@dataclass(frozen=True)
class Difference:
    """What changed of the user's files from one commit to another: the first few of them, how many there are,
    and git's diff, which is cut at `DIFF_BYTES` bytes and only names what is not text.
    """

    files: list[Change]
    changed: int
    diff: str


class Versions:
    """The versions of the workspace `root`. Blocking and thread-safe: one thing is done after the other.

    A version holds what `rules` calls versioned, with links as links, but no file over 20 MB, and no
    conversation over 64 MB. Where there is no git program, `commit` makes none and says so once in the log.
    Commits are never lost: each knows the state that it began with and the newest before it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._git = Git(root / FOLDER)
        self._state = State(root)
        self._base: tuple[str, dict[str, Entry]] | None = None
        self._available: bool | None = None
        self._lock = threading.Lock()

    @property
    def left_out(self) -> int:
        """How many files the last commit had to leave out."""
        return self._state.left_out

    def commit(self, message: str) -> str | None:
        """The commit that has the workspace as it is: a new one, or the present one if nothing changed. None
        without git. Raises VersionsFailed.
        """
        if not self._usable():
            return None
        with self._lock:
            try:
                return self._commit(message)
            except (GitFailed, OSError) as error:
                self._state.forget()
                self._base = None
                raise VersionsFailed(f"The version could not be made: {error}.") from error

    def checkout(self, commit: str) -> None:
        """Make the versioned files what they were at `commit`; all others stay. Raises VersionsFailed, with
        the workspace between the two states if git or the disk gave up midway.
        """
        if not self._usable():
            raise VersionsFailed("There is no git program, and so there are no versions to go back to.")
        with self._lock:
            try:
                entries = self._tree(commit)
                with Descent(self._root) as at:
                    Checkout(self._git, at).make(self._state.look(), entries)
                self._git.run("update-ref", _NOW, commit)
                self._base = commit, entries
            except (GitFailed, OSError) as error:
                self._base = None
                raise VersionsFailed(f"The version could not be brought back: {error}.") from error
            finally:
                self._state.forget()

    def difference(self, since: str | None, commit: str) -> Difference:
        """What changed from `since` (None: from nothing) to `commit`. Raises VersionsFailed."""
        pair = (since or _EMPTY, commit)
        try:
            named = self._git.run("diff-tree", "-r", "-z", "--no-renames", "--name-status", *pair, *_USERS)
            words = os.fsdecode(named).split("\0")[:-1]
            changes = [
                Change(path=_plain(path)[:4096], change=_CHANGES.get(kind, "modified"))
                for kind, path in zip(words[: 2 * _FILES : 2], words[1 : 2 * _FILES : 2], strict=True)
            ]
            return Difference(changes, len(words) // 2, self._diff(pair) if words else "")
        except (GitFailed, OSError) as error:
            raise VersionsFailed(f"The versions could not be compared: {error}.") from error

    def present(self) -> str | None:
        """The commit that the workspace began with, as far as is known."""
        return self._named(_NOW) if self._usable() and (self._root / FOLDER).is_dir() else None

    def tidy(self) -> None:
        """Pack what has become much: of a conversation, each version holds all of it until then. Not while an
        archive is made: it might miss some.
        """
        if not self._usable() or not (self._root / FOLDER).is_dir():
            return
        with self._lock, suppress(GitFailed, OSError):
            for cut_off in ("objects/pack/tmp_*", "objects/*/tmp_obj_*", "fast_import_crash_*"):
                for path in (self._root / FOLDER).glob(cut_off):
                    path.unlink(missing_ok=True)
            counted = self._git.run("count-objects", "-v").decode().splitlines()
            about = {name: int(number) for name, _, number in (line.partition(": ") for line in counted)}
            if about["count"] > _LOOSE or about["size"] > _LOOSE_KB or about["packs"] > _PACKS:
                self._git.run("repack", "-a", "-d", "-k", "-l", "-q")

    def forget(self) -> None:
        """Forget all versions and the agent's conversations. Raises OSError."""
        with self._lock, Descent(self._root) as at:
            self._base = None
            self._state.forget()
            for path in (FOLDER, CONVERSATION):
                *folders, name = path.split("/")
                try:
                    at.go(folders)
                    removal.remove(at, name)
                except (FileNotFoundError, NotADirectoryError):
                    continue

    def _usable(self) -> bool:
        if self._available is None:
            self._available = Git.available()
            if not self._available:
                log.warning("There is no git program: archives are made without versions")
        return self._available

    def _commit(self, message: str) -> str:
        base, newest = self._opened()
        before = base[1] if base else {}
        here = set(before.values())
        with self._git.running("fast-import", "--quiet", "--force", "--done", "--date-format=raw") as command:

            def read(entry: Entry, data: bytes) -> None:
                if entry not in here:
                    here.add(entry)
                    command.given.write(b"blob\ndata %d\n%b\n" % (len(data), data))

            now = self._state.look(read)
            if base is not None and now == before:
                return base[0]
            parents = list(dict.fromkeys(parent for parent in (base and base[0], newest) if parent))
            for line in _commands(message, parents, before, now):
                command.given.write(line)
            commit = command.finish().decode().strip()
        self._base = commit, now
        if self.left_out:
            log.info("The version lacks %d files that are too large or cannot be read", self.left_out)
        return commit

    def _opened(self) -> tuple[tuple[str, dict[str, Entry]] | None, str | None]:
        """The state that the workspace began with, and the newest commit. What is not there is made, and what
        is broken is left aside.
        """
        with Descent(self._root) as at:
            stand(at, FOLDER.split("/"))
        for lock in [*(self._root / FOLDER).glob("*.lock"), *(self._root / FOLDER).glob("refs/heads/*.lock")]:
            lock.unlink(missing_ok=True)
        newest = self._named(_NEWEST)
        if newest is None:
            self._git.run("init", "--bare", "--quiet", "--template=", "--object-format=sha1")
        now = self._named(_NOW)
        if now is not None and (self._base is None or self._base[0] != now):
            self._state.forget()
            try:
                self._base = now, self._tree(now)
            except GitFailed as error:
                log.warning("The versions before this one are not readable: %s", error)
                return None, None
        return (self._base if now is not None else None), newest

    def _named(self, ref: str) -> str | None:
        try:
            return self._git.run("rev-parse", "--quiet", "--verify", f"{ref}^{{commit}}").decode().strip()
        except GitFailed:
            return None

    def _tree(self, commit: str) -> dict[str, Entry]:
        """What a commit holds, by path."""
        entries = {}
        for line in self._git.run("ls-tree", "-r", "-z", commit).split(b"\0")[:-1]:
            about, _, path = line.partition(b"\t")
            mode, _, sha = about.decode().split(" ")
            entries[os.fsdecode(path)] = Entry(mode, sha)
        return entries

    def _diff(self, pair: tuple[str, str]) -> str:
        words = ("diff-tree", "-r", "-p", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv")
        with self._git.running(*words, *pair, *_USERS, config=TEXTS) as command:
            text = command.said.read(DIFF_BYTES + 1).decode("utf-8", "replace").encode()
        if len(text) <= DIFF_BYTES:
            return text.decode()
        return text[: DIFF_BYTES - len(_CUT)].rpartition(b"\n")[0].decode("utf-8", "ignore") + _CUT


def _commands(
    message: str, parents: Iterable[str], before: dict[str, Entry], now: dict[str, Entry]
) -> Iterable[bytes]:
    """A commit in the words of `git fast-import`, which answers with its name."""
    text = _plain(message).encode()
    who = f"committer opensessions <opensessions@localhost> {int(time.time())} +0000"
    yield f"commit {_NEWEST}\nmark :1\n{who}\ndata {len(text)}\n".encode() + text + b"\n"
    for word, parent in zip(("from", "merge"), parents, strict=False):
        yield f"{word} {parent}\n".encode()
    for path in before.keys() - now.keys():
        yield b"D " + _quoted(path) + b"\n"
    for path, entry in now.items():
        if before.get(path) != entry:
            yield f"M {entry.mode} {entry.sha} ".encode() + _quoted(path) + b"\n"
    yield f"\nreset {_NOW}\nfrom :1\n\nget-mark :1\ndone\n".encode()


def _quoted(path: str) -> bytes:
    raw = os.fsencode(path).replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + raw + b'"'


def _plain(text: str) -> str:
    """Text that JSON can hold, from a name that need not be UTF-8."""
    return os.fsencode(text).decode("utf-8", "replace")
