"""Sandboxes on this machine, walled in by bubblewrap: the runtime of local mode."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from opensessions.errors import LaunchFailed
from opensessions.local.walls import cgroups, chores, furnishing, preflight, watchdog
from opensessions.local.walls.cgroups import Cgroup
from opensessions.local.walls.disk import DiskWatch, scarce, space
from opensessions.local.walls.furnishing import Places
from opensessions.local.walls.jail import Jail
from opensessions.local.walls.limits import MB, Limits
from opensessions.local.walls.spawner import Spawner
from opensessions.local.walls.trash import Trash
from opensessions.local.walls.workspaces import UidRange, Workspaces
from opensessions.ports import Launch

__all__ = ["Limits", "LocalSandboxes", "OnStopped", "Places", "UidRange"]

OnStopped = Callable[[str, int, str], None]
_ID = re.compile(r"sb-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, eq=False)
class _Sandbox:
    """A running one; what the watches look at."""

    launch: Launch
    jail: Jail
    uid: int | None
    workspace: Path
    cgroup: Cgroup | None
    spawner: Spawner

    @property
    def init(self) -> int:
        return self.jail.init

    def condemn(self, verdict: str) -> None:
        self.jail.condemn(verdict)

    def measure(self) -> tuple[int, int]:
        return chores.measure(self.spawner, self.workspace, self.uid)

    def reason(self, limits: Limits) -> str:
        """Why it ended, for people; what it printed last is its own words."""
        if self.jail.verdict:
            return self.jail.verdict
        if self.cgroup and self.cgroup.out_of_memory():
            return f"It ran out of its {limits.memory // MB} MB of memory."
        said = self.jail.output.tail()
        return f"Its worker {self.jail.status()}" + (f", after saying: {said}" if said else ".")

    def clear(self) -> None:
        if self.cgroup:
            self.cgroup.remove()


class LocalSandboxes:
    """A SandboxRuntime. Safe to call from many threads; call `close` at the end.

    `on_stopped(sandbox_id, number, reason)` is called from a thread when a sandbox ended by itself or for a
    limit, once nothing of it is left, and never for `stop`. Making one raises LaunchFailed when this machine
    cannot hold sandboxes; `check` tries one.

    Every launch begins with an empty workspace, which is taken away as soon as the sandbox ends, whatever
    ends it, and deleted in the background; what a killed server left behind is deleted by the next one.

    Inside, the worker finds SANDBOX_ID, GATEWAY_URL, EGRESS_URL, HOME, PATH and DOOR_FD, a listening socket
    that it inherits; on standard input comes a line of JSON with its `token`, and the end of that stream is
    the end of the server. The host opens nothing that a sandbox could have put in another thing's place.
    """

    def __init__(
        self,
        places: Places,
        on_stopped: OnStopped,
        *,
        command: Sequence[str] | None = None,
        limits: Limits | None = None,
        uids: UidRange | None = None,
    ) -> None:
        self._places = places
        self._on_stopped = on_stopped
        self._command = tuple(command or furnishing.worker_command(places))
        self._limits = limits or Limits()
        is_root = os.geteuid() == 0
        users = (uids or UidRange()) if is_root else None
        self._require(users)
        self._workspaces = Workspaces(places.workspaces, users)
        self._running: dict[str, _Sandbox] = {}
        self._launched: dict[str, int] = {}
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._registry = Lock()
        self._open()

    def _require(self, users: UidRange | None) -> None:
        preflight.require_machine()
        preflight.require_short(self._places.run)
        if users is not None:
            preflight.require_uids(users)

    def _open(self) -> None:
        for folder in (self._places.run, self._places.workspaces):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        program = preflight.bubblewrap_program()
        try:
            self._spawner = Spawner(program, self._limits)
        except OSError as error:
            raise LaunchFailed(
                f"The server is root, but may not make mounts: {error}. {preflight.AS_USER}"
            ) from error
        self._cgroups = cgroups.find(self._limits)
        self._trash = Trash(self._empty)
        self._trash.add(self._workspaces.leftovers())
        self._disk = DiskWatch(self._places.workspaces, self._limits)
        self._watches = (
            watchdog.Periodic(lambda: watchdog.watch_memory(self._all(), self._limits), "sandbox-memory"),
            watchdog.Periodic(lambda: self._disk.look(self._all()), "sandbox-disk"),
        )

    def check(self) -> None:
        """Start a sandbox that does nothing, and end it. Raises LaunchFailed with what to do about it."""
        sandbox_id = f"sb-{os.urandom(16).hex()}"
        try:
            path, uid = self._workspaces.make(sandbox_id)
            try:
                recipe = furnishing.recipe(self._places, path, ("/usr/bin/true",), {}, self._limits)
                Jail(self._spawner, recipe, uid).discard()
            finally:
                path.rmdir()
        except (LaunchFailed, OSError) as error:
            raise LaunchFailed(f"{error} {preflight.explain(str(error))}".strip()) from error

    def launch(self, launch: Launch) -> None:
        """Start a sandbox; returns when its walls stand and its worker begins. Idempotent for a sandbox and
        number; a higher number ends what runs first. Raises LaunchFailed.
        """
        _require_id(launch.sandbox_id)
        with self._locks[launch.sandbox_id]:
            if launch.number <= self._launched.get(launch.sandbox_id, 0):
                return
            self._end(launch.sandbox_id)
            try:
                self._start(launch)
            except OSError as error:
                raise LaunchFailed(f"The sandbox could not be started: {error}") from error
            self._launched[launch.sandbox_id] = launch.number

    def stop(self, sandbox_id: str) -> None:
        """End a sandbox. Idempotent; on return no process of it is left, and no path to its workspace."""
        _require_id(sandbox_id)
        with self._locks[sandbox_id]:
            self._end(sandbox_id)

    def alive(self, sandbox_id: str) -> bool:
        """Whether a sandbox runs. While it is being started this waits."""
        with self._locks[sandbox_id]:
            sandbox = self._running.get(sandbox_id)
            return sandbox is not None and sandbox.jail.running()

    def running(self) -> list[str]:
        return [sandbox.launch.sandbox_id for sandbox in self._all()]

    def ended(self) -> tuple[()]:
        """Nothing: `on_stopped` is a call that cannot get lost."""
        return ()

    def dial(self, sandbox_id: str, port: int) -> str:
        """The path of the door's socket, whatever the port; nothing is there while no sandbox runs."""
        _require_id(sandbox_id)
        return str(self._places.door(sandbox_id))

    def close(self) -> None:
        """End all sandboxes; launch none afterwards. Idempotent, and `alive` and `stop` still answer."""
        for watch in self._watches:
            watch.close()
        for sandbox in self._all():
            self.stop(sandbox.launch.sandbox_id)
        self._trash.close()
        if self._cgroups:
            self._cgroups.close()
        self._spawner.close()

    def _start(self, launch: Launch) -> None:
        if scarce(space(self._places.workspaces), self._limits):
            raise LaunchFailed(f"The disk of {self._places.workspaces} is nearly full.")
        path, uid = self._workspaces.make(launch.sandbox_id)
        try:
            jail, cgroup = self._walled(launch, path, uid)
        except BaseException:
            self._trash.add(self._workspaces.discard(launch.sandbox_id))
            raise
        sandbox = _Sandbox(launch, jail, uid, path, cgroup, self._spawner)
        self._running[launch.sandbox_id] = sandbox
        token = json.dumps({"token": launch.token}).encode() + b"\n"
        jail.open(token, lambda: self._ended(sandbox))

    def _walled(self, launch: Launch, path: Path, uid: int | None) -> tuple[Jail, Cgroup | None]:
        jail = self._jail(launch.sandbox_id, path, uid)
        try:
            return jail, self._confine(f"{launch.sandbox_id}.{launch.number}", jail)
        except BaseException:
            jail.discard()
            raise

    def _jail(self, sandbox_id: str, path: Path, uid: int | None) -> Jail:
        places = self._places
        sockets = furnishing.gateway_binds(places, uid)
        with furnishing.listen(places.door(sandbox_id)) as door:
            told = furnishing.environment(places, sandbox_id, door.fileno())
            recipe = furnishing.recipe(places, path, self._command, told, self._limits)
            recipe = replace(recipe, binds=(*recipe.binds, *sockets))
            return Jail(self._spawner, recipe, uid, keep=[door.fileno()])

    def _confine(self, name: str, jail: Jail) -> Cgroup | None:
        cgroup = self._cgroups.make(name) if self._cgroups else None
        if cgroup:
            for pid in (jail.init, jail.gate):
                cgroup.add(pid)
        return cgroup

    def _all(self) -> list[_Sandbox]:
        return list(self._running.values())

    def _end(self, sandbox_id: str) -> None:
        if taken := self._take(self._running.get(sandbox_id)):
            sandbox, left = taken
            sandbox.jail.end()
            sandbox.clear()
            self._trash.add(left)

    def _ended(self, sandbox: _Sandbox) -> None:
        if taken := self._take(sandbox):
            reason = sandbox.reason(self._limits)
            sandbox.clear()
            self._trash.add(taken[1])
            self._on_stopped(sandbox.launch.sandbox_id, sandbox.launch.number, reason)

    def _take(self, sandbox: _Sandbox | None) -> tuple[_Sandbox, list[Path]] | None:
        """Take a sandbox out of the registry, its door and its workspace with it, if it is still there:
        whoever gets it here is the one who ends it, and then deletes what is left.
        """
        with self._registry:
            if sandbox is None or self._running.get(sandbox.launch.sandbox_id) is not sandbox:
                return None
            del self._running[sandbox.launch.sandbox_id]
            self._places.door(sandbox.launch.sandbox_id).unlink(missing_ok=True)
            return sandbox, self._workspaces.discard(sandbox.launch.sandbox_id)

    def _empty(self, folder: Path) -> None:
        chores.empty(self._spawner, folder, self._workspaces.owner(folder))


def _require_id(sandbox_id: str) -> None:
    if not _ID.fullmatch(sandbox_id):
        raise LaunchFailed(f"{sandbox_id!r} is no id of a sandbox.")
