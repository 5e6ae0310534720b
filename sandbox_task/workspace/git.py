"""The git program, told nothing by its surroundings: no configuration, hook, attribute, filter of others."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

_SECONDS = 120.0
"""How long git may take for one thing."""
_CONFIG: Final = {
    "core.hooksPath": "/dev/null",
    "core.fsync": "none",  # what counts is the archive
    "core.compression": "1",
    "core.bigFileThreshold": "32m",  # no deltas of larger ones
    "core.protectNTFS": "false",
    "core.protectHFS": "false",
    "core.quotePath": "false",
    "pack.threads": "1",
    "pack.window": "3",
    "pack.windowMemory": "100m",
}
TEXTS: Final = {**_CONFIG, "core.bigFileThreshold": "1m"}
"""The configuration for diffs, which take larger files for binary ones."""
_WHO = {"NAME": "opensessions", "EMAIL": "opensessions@localhost"}


class GitFailed(Exception):
    """Git could not do it; the text is what it said."""


class Running:
    """A git command under way."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None and process.stdout is not None
        self._name, self._process = name, process
        self.given: IO[bytes] = process.stdin
        self.said: IO[bytes] = process.stdout

    def finish(self, given: bytes = b"") -> bytes:
        """Give it the rest of its input, and have the rest of what it says. Raises GitFailed."""
        said, complaint = self._process.communicate(given)
        if self._process.returncode != 0:
            raise GitFailed(f"git {self._name}: {complaint.decode('utf-8', 'replace').strip()[-500:]}")
        return said


class Git:
    """Git on the bare repository `folder`. Blocking; everything raises GitFailed and OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def available() -> bool:
        """Whether there is a git program."""
        return shutil.which("git") is not None

    def run(self, *words: str, given: bytes = b"") -> bytes:
        """What a command says."""
        with self.running(*words) as command:
            return command.finish(given)

    @contextmanager
    def running(self, *words: str, config: Mapping[str, str] = _CONFIG) -> Iterator[Running]:
        """A command while it runs; killed on the way out if it still does, and when it takes too long."""
        options = [part for name, value in config.items() for part in ("-c", f"{name}={value}")]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            ["git", *options, *words], stdin=pipe, stdout=pipe, stderr=pipe, cwd="/", env=self._environment()
        ) as process:
            watchdog = threading.Timer(_SECONDS, process.kill)
            watchdog.daemon = True
            watchdog.start()
            try:
                yield Running(words[0], process)
            except BrokenPipeError:
                raise GitFailed(f"git {words[0]} ended too early") from None
            finally:
                watchdog.cancel()
                process.kill()

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
            "LC_ALL": "C",
            "HOME": "/nonexistent",
            "GIT_DIR": str(self._folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            **{f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _WHO.items()},
        }
