"""What bubblewrap is told: the walls of one sandbox, as a list of its options.

Pure but for looking at which folders and options this machine has. The options travel by a file descriptor
and no secret is ever among them: whatever bubblewrap is given, the processes inside can read from its
process 1.
"""

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from opensessions.local.walls.limits import Limits

WORKSPACE = "/workspace"
UID = 1000

# Of the host's /etc only what programs need to find libraries, commands and certificates.
_ETC = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
)
_SYNTHETIC_ETC: Mapping[str, str] = {
    "/etc/passwd": f"agent:x:{UID}:{UID}:agent:{WORKSPACE}/home:/bin/bash\n",
    "/etc/group": f"agent:x:{UID}:\n",
    "/etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
# They tell about the machine, not about the sandbox.
_HIDDEN_PROC = (
    "cmdline", "config.gz", "consoles", "devices", "diskstats", "interrupts", "iomem", "ioports", "kallsyms",
    "kcore", "key-users", "keys", "locks", "modules", "partitions", "sched_debug", "schedstat", "slabinfo",
    "softirqs", "swaps", "sysrq-trigger", "timer_list", "vmallocinfo",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bind:
    """`source` on the host is seen at `inside`."""

    source: Path
    inside: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """`binds` come in order, after the system's own. `capabilities` hold inside the sandbox's user namespace
    alone, and only commands of ours ever get one. `command` starts in `WORKSPACE`.
    """

    binds: tuple[Bind, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()


def options(
    recipe: Recipe, limits: Limits, seccomp: int, etc: Mapping[str, int], known: frozenset[str]
) -> list[str]:
    """The options, without program and command. `seccomp` and the values of `etc` are descriptors that
    bubblewrap reads; `known` are the options that the installed version has.
    """
    walls = ["--unshare-user", "--unshare-all", "--uid", str(UID), "--gid", str(UID), "--cap-drop", "ALL"]
    if "--disable-userns" in known:  # since 0.8; the seccomp filter holds without it
        walls.append("--disable-userns")
    walls += [word for capability in recipe.capabilities for word in ("--cap-add", capability)]
    walls += ["--die-with-parent", "--new-session", "--hostname", "sandbox"]
    contents = [word for path, fd in etc.items() for word in ("--ro-bind-data", str(fd), path)]
    return [
        *walls,
        *_system(),
        *contents,
        *_own_file_systems(limits),
        *[word for bind in recipe.binds for word in _bind(bind)],
        *("--remount-ro", "/", "--chdir", WORKSPACE, "--clearenv"),
        *[word for pair in recipe.environment.items() for word in ("--setenv", *pair)],
        *("--seccomp", str(seccomp)),
    ]


def synthetic_etc() -> Mapping[str, str]:
    """Path inside and content of the files that every sandbox gets instead of the host's."""
    return _SYNTHETIC_ETC


def _bind(bind: Bind) -> Iterable[str]:
    return ("--bind" if bind.writable else "--ro-bind", str(bind.source), bind.inside)


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in _ETC:
        if Path(name).exists():
            yield from ("--ro-bind", name, name)


def _own_file_systems(limits: Limits) -> Iterator[str]:
    """/proc, /dev and the folders in memory: each bounded, as half of the RAM is the default of every one."""
    yield from ("--proc", "/proc")
    for name in _HIDDEN_PROC:
        if Path("/proc", name).exists():
            yield from ("--ro-bind", "/dev/null", f"/proc/{name}")
    yield from ("--dev", "/dev", "--perms", "1777", "--size", str(limits.shm), "--tmpfs", "/dev/shm")
    yield from ("--remount-ro", "/dev")
    yield from ("--perms", "1777", "--size", str(limits.tmp), "--tmpfs", "/tmp")
    yield from ("--size", str(limits.run), "--tmpfs", "/run")


@cache
def known_options(program: str) -> frozenset[str]:
    """The options that `bwrap --help` lists."""
    text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    return frozenset(word for word in text.split() if word.startswith("--"))
