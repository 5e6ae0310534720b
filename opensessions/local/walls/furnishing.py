"""What a sandbox finds inside: where it comes from on the host, and what the worker is told of it."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opensessions.errors import LaunchFailed
from opensessions.local.walls.bubblewrap import WORKSPACE, Bind, Recipe
from opensessions.local.walls.limits import Limits, confining
from opensessions.local.walls.venv import VENV, interpreter_binds

CODE = "/opt/opensessions"
_WORKER = f"import sys; sys.path.append('{CODE}'); from sandbox_task.worker import main; main()"
_BACKLOG = 256


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are on the host. Absolute paths.

    `run` is a folder for the sandboxes' doors, which no one else can enter; `workspaces` holds a folder per
    sandbox, as long as it runs. `gateway` and `egress` are the gateway's Unix sockets for sandboxes; if the
    server is root they are made connectable by every user who can reach them, so their folder must be
    closed to others. `venv` is the Python environment of the worker. `code` maps a path beneath
    /opt/opensessions to the file or folder that is seen there.
    """

    run: Path
    workspaces: Path
    gateway: Path
    egress: Path
    venv: Path
    code: Mapping[str, Path] = field(default_factory=dict)

    def door(self, sandbox_id: str) -> Path:
        return self.run / f"{sandbox_id}.sock"


def worker_command(places: Places) -> tuple[str, ...]:
    """The worker, in a Python that takes no code from its folder, its home or its environment."""
    return (f"{VENV}/bin/python", "-I", "-c", _WORKER)


def recipe(
    places: Places, workspace: Path, command: Sequence[str], environment: Mapping[str, str], limits: Limits
) -> Recipe:
    """A sandbox that runs `command` under the limits, without a way to the gateway."""
    code = [Bind(source, f"{CODE}/{name}") for name, source in places.code.items()]
    work = Bind(workspace, WORKSPACE, writable=True)
    binds = (work, *interpreter_binds(places.venv), *code)
    return Recipe(binds, (*confining(limits), *command), environment)


def gateway_binds(places: Places, uid: int | None) -> tuple[Bind, ...]:
    """The gateway's sockets, made connectable for another user. Raises LaunchFailed when one is missing."""
    for path in (places.gateway, places.egress):
        if not path.is_socket():
            raise LaunchFailed(f"The gateway does not listen yet: {path} is no socket.")
        if uid is not None:
            path.chmod(0o666)
    return (Bind(places.gateway, "/run/gateway.sock"), Bind(places.egress, "/run/egress.sock"))


def environment(places: Places, sandbox_id: str, door: int) -> Mapping[str, str]:
    """All the variables there are inside; none is a secret. `door` is the inherited listening socket."""
    return {
        "PATH": f"{WORKSPACE}/home/.local/bin:/usr/local/bin:/usr/bin:/bin:{VENV}/bin",
        "HOME": f"{WORKSPACE}/home",
        "USER": "agent",
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "SANDBOX_ID": sandbox_id,
        "GATEWAY_URL": "unix:/run/gateway.sock",
        "EGRESS_URL": "unix:/run/egress.sock",
        "DOOR_FD": str(door),
    }


def listen(path: Path) -> socket.socket:
    """A listening Unix socket at `path`, in the place of an old one."""
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX)
    try:
        door.bind(str(path))
        path.chmod(0o600)
        door.listen(_BACKLOG)
    except OSError:
        door.close()
        raise
    return door
