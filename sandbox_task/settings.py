"""What the worker is told at its start. The environment is read once, and then emptied, because the agent
inherits it.
"""

import ctypes
import json
import os
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_DUMPABLE = 4
_INHERITED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")


@dataclass(frozen=True)
class Paths:
    """The folders of a sandbox."""

    root: Path = Path("/workspace")

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def agent(self) -> Path:
        """Where the caller's skills and files are put."""
        return self.root / "agent"

    def inside(self, cwd: str) -> Path:
        """The agent's working folder: `cwd` as the wire names it, beneath `/workspace`. Raises ValueError."""
        path = Path(os.path.normpath(cwd))
        if not path.is_relative_to("/workspace"):
            raise ValueError(f"cwd {cwd!r} is not beneath /workspace.")
        return self.root / path.relative_to("/workspace")


@dataclass(frozen=True)
class Settings:
    """`gateway_url` and `egress_url` are `unix:<path>` or `http://host:port`. The door is an inherited socket
    (`door_fd`) or a port on all addresses (`door_port`). Where there is a `ticket`, the token is yet to be
    had for it (`sandbox_task.boot`).
    """

    sandbox_id: str
    gateway_url: str
    egress_url: str
    token: str = field(repr=False)
    ticket: str = field(default="", repr=False)
    door_fd: int | None = None
    door_port: int | None = None


def undumpable() -> None:
    """Close this process's memory, environment and descriptors to other processes of the same user."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed; the token would not be safe")


def settings(environ: MutableMapping[str, str], read_line: Callable[[], bytes]) -> Settings:
    """The settings from the environment and, without a BOOT_TICKET, the line that comes by standard input.

    Leaves in `environ` only what the agent may inherit. Raises SystemExit naming what is missing.
    """
    missing = [name for name in ("SANDBOX_ID", "GATEWAY_URL", "EGRESS_URL") if name not in environ]
    if not ({"DOOR_FD", "DOOR_PORT"} & environ.keys()):
        missing.append("DOOR_FD or DOOR_PORT")
    if missing:
        sys.exit(f"The worker's environment lacks {', '.join(missing)}.")
    ticket = environ.get("BOOT_TICKET", "")
    given = Settings(
        sandbox_id=environ["SANDBOX_ID"],
        gateway_url=environ["GATEWAY_URL"],
        egress_url=environ["EGRESS_URL"],
        token="" if ticket else _token(read_line()),
        ticket=ticket,
        door_fd=int(environ["DOOR_FD"]) if "DOOR_FD" in environ else None,
        door_port=int(environ["DOOR_PORT"]) if "DOOR_PORT" in environ else None,
    )
    for name in [name for name in environ if name not in _INHERITED]:
        del environ[name]
    return given


def _token(line: bytes) -> str:
    try:
        return str(json.loads(line)["token"])
    except (ValueError, KeyError, TypeError):
        sys.exit('Standard input must begin with one line of JSON, {"token": …}.')


def first_line(fd: int) -> bytes:
    """The bytes up to the first line end, read one by one so that nothing stays in a buffer."""
    line = bytearray()
    while (byte := os.read(fd, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)
