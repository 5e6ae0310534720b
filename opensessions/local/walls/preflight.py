"""Whether this machine can hold sandboxes, and what to do when it cannot. Never a run without walls."""

import os
import platform
import shutil
from pathlib import Path

from opensessions.errors import LaunchFailed
from opensessions.local.walls import bubblewrap, seccomp
from opensessions.local.walls.workspaces import UidRange

# A Unix socket's address has 108 bytes, and a door's name is 41 with its slash.
_LONGEST_FOLDER = 107 - 41
AS_USER = "Run the server as a plain user instead, or give the container CAP_SYS_ADMIN."
_RESTRICTED = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_REFUSALS = ("namespace", "uid map", "gid map", "loopback")
_NEEDED = ("--args", "--die-with-parent", "--size", "--perms", "--ro-bind-data", "--seccomp", "--cap-drop")


def bubblewrap_program() -> str:
    """The path of bubblewrap. Raises LaunchFailed when there is none, or one that is too old."""
    program = shutil.which("bwrap")
    if program is None:
        raise LaunchFailed(
            "Sandboxes need bubblewrap, and there is no bwrap on the PATH. Install it: "
            "`sudo apt install bubblewrap` (Debian, Ubuntu) or `sudo dnf install bubblewrap` (Fedora)."
        )
    missing = [name for name in _NEEDED if name not in bubblewrap.known_options(program)]
    if missing:
        raise LaunchFailed(
            f"{program} is too old: it lacks {', '.join(missing)}. Install bubblewrap 0.6 or later."
        )
    return program


def require_machine() -> None:
    """Raises LaunchFailed on anything but Linux on x86-64 or arm64."""
    if platform.system() != "Linux" or platform.machine() not in seccomp.ARCHITECTURES:
        raise LaunchFailed(
            f"Sandboxes run on Linux on x86_64 and aarch64, not on {platform.system()} {platform.machine()}."
        )


def require_uids(uids: UidRange, process: Path = Path("/proc/self")) -> None:
    """Raises LaunchFailed when root here cannot become the users of the sandboxes."""
    for name in ("uid_map", "gid_map"):
        rows = [[int(word) for word in line.split()] for line in (process / name).read_text().splitlines()]
        if not any(
            start <= uids.first and uids.first + uids.count <= start + count for start, _, count in rows
        ):
            raise LaunchFailed(
                f"The server runs as root, so each sandbox gets a user of its own, from {uids.first} to "
                f"{uids.first + uids.count - 1}; but this container has no such users ({process / name}). "
                "Run the server as a plain user instead, or give the container all of the host's user ids."
            )


def require_short(run: Path) -> None:
    """Raises LaunchFailed when sockets in a folder would have an address that is too long."""
    if len(os.fsencode(run)) > _LONGEST_FOLDER:
        raise LaunchFailed(
            f"The path of {run} is too long for sockets in it ({_LONGEST_FOLDER} bytes at most): "
            "choose a shorter data directory."
        )


def explain(words: str) -> str:
    """What to do about bubblewrap's complaint; "" when nothing is known."""
    if not any(text in words for text in _REFUSALS):
        return ""
    if _RESTRICTED.exists() and _RESTRICTED.read_text().strip() != "0":
        return (
            "This system's AppArmor refuses user namespaces to programs without a profile. Allow them: "
            "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
        )
    return (
        "This system refuses user namespaces. Allow them: `sudo sysctl -w user.max_user_namespaces=65536` "
        "(older Debian: `kernel.unprivileged_userns_clone=1`); a container needs a seccomp profile that "
        "allows them."
    )
