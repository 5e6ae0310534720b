"""The servers that the agent left running: remembered while they listen, and started again."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from opensessions.archives import Server
from sandbox_task.workspace.checkout import stand
from sandbox_task.workspace.descent import Descent
from sandbox_task.workspace.listeners import Origin, listeners, origin

log = logging.getLogger(__name__)
LOGS = "home/.local/state/servers"
"""The folder of what restarted servers print, a file for each port."""
_MOST = 16
_GRACE = 10.0
"""Seconds for which a port that fell silent still counts: a dev server that reloads is away for a moment."""
_VARIABLES = 64
_OTHERS = ("CLAUDE", "ANTHROPIC", "npm_")
_NOT_KEPT = frozenset(("_", "PWD", "OLDPWD", "SHLVL", "TMPDIR", "TMP", "TEMP"))
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Servers:
    """`environment` is the agent's own, with which servers are started; nothing of it and none of `secrets`
    is ever part of a `Server`. `own` are the worker's ports. `start_command` is a shell's, and stands for
    whatever was seen; it runs in `cwd`.
    """

    def __init__(
        self,
        root: Path,
        own: set[int],
        environment: Mapping[str, str],
        secrets: Iterable[str],
        cwd: Path,
        start_command: str | None = None,
    ) -> None:
        self._root, self._own, self._cwd, self._start_command = root, own, cwd, start_command
        self._environment = {**os.environ, **environment}
        self._secrets = [secret for secret in secrets if secret]
        self._agents = frozenset(environment) - {"PATH"}
        self._known: dict[int, tuple[int, float, Server | None]] = {}
        self._lock = threading.Lock()
        self._started: list[asyncio.subprocess.Process] = []

    def look(self) -> None:
        """Take in who listens now. Blocking, thread-safe, and quick where nothing has changed."""
        with self._lock:
            now = time.monotonic()
            for port, pid in listeners(self._own).items():
                known = self._known.get(port)
                same = known is not None and known[0] == pid
                self._known[port] = pid, now, known[2] if known and same else self._server(port, pid)
            self._known = {port: of for port, of in self._known.items() if now - of[1] <= _GRACE}

    def seen(self) -> list[Server]:
        """What listens now or did a moment ago, by port: what to start to have it again. Blocking."""
        self.look()
        with self._lock:
            found = [server for _, (_, _, server) in sorted(self._known.items()) if server is not None]
        return found[:_MOST]

    async def start(self, servers: Iterable[Server]) -> None:
        """Start these, or the start command in their place, each in a session of its own. One that listens on
        several ports is started once. What cannot be started is said in the log.
        """
        self._started = [process for process in self._started if process.returncode is None]
        if self._start_command is not None:
            await self._run(["sh", "-c", self._start_command], self._cwd, {}, "start_command")
            return
        begun: list[tuple[list[str], str, dict[str, str]]] = []
        for server in servers:
            what = server.command, server.cwd, server.environment
            if what not in begun:
                begun.append(what)
                await self._run(server.command, self._root / server.cwd, server.environment, str(server.port))

    async def _run(self, words: list[str], cwd: Path, more: Mapping[str, str], name: str) -> None:
        environment = {**self._environment, **more, "PWD": str(cwd)}
        try:
            with self._log(f"{name}.log") as output:
                process = await asyncio.create_subprocess_exec(
                    *words, cwd=cwd, env=environment, start_new_session=True,
                    stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=asyncio.subprocess.STDOUT,
                )  # fmt: skip
            self._started.append(process)
        except (OSError, ValueError) as error:
            log.warning("The server of %s could not be started again: %s", name, error)

    def _log(self, name: str) -> IO[bytes]:
        with Descent(self._root) as at:
            stand(at, LOGS.split("/"))
            return os.fdopen(os.open(name, _CREATE, 0o644, dir_fd=at.fd), "wb")

    def _server(self, port: int, pid: int) -> Server | None:
        found = origin(pid)
        cwd = os.path.normpath(found.cwd) if found else ""
        if found is None or not Path(cwd).is_relative_to(self._root) or self._tells(*found.words):
            log.info("What listens on port %d cannot be started again", port)
            return None
        try:
            return Server(
                port=port,
                command=found.words,
                cwd="/".join(Path(cwd).relative_to(self._root).parts),
                environment=self._beyond(found),
            )
        except ValidationError:
            return None

    def _beyond(self, found: Origin) -> dict[str, str]:
        """What an environment has beside the agent's."""
        extra = {
            name: value
            for name, value in sorted(found.environment.items())
            if name not in self._agents | _NOT_KEPT
            and not name.startswith(_OTHERS)
            and not name.lower().endswith("_proxy")
            and self._environment.get(name) != value
            and len(name) <= 256
            and len(value) <= 4096
            and not self._tells(value)
        }
        return dict(sorted(extra.items(), key=lambda pair: pair[0] != "PATH")[:_VARIABLES])

    def _tells(self, *texts: str) -> bool:
        """Whether one of our tokens is in it, or what is no text."""
        return any(word in text for text in texts for word in (*self._secrets, "\ufffd"))
