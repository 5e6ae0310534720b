"""How much of the machine a sandbox may take, and the part of it that the kernel enforces per process."""

import resource
from dataclasses import dataclass

MB = 1024 * 1024
GB = 1024 * MB


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one sandbox; bytes unless said otherwise. The defaults let a coding agent (250 MB) run a
    package manager, a bundler and a dev server beside it.

    `memory` counts what lies in /tmp too, which is RAM. `processes` counts threads, as the kernel does: a
    node process has eleven, and a build starts a process per core. `disk` is what the workspace may hold,
    and the size of its largest file. `inodes` are files and folders there. The reserves are the machine's:
    when less than that is free, the largest sandbox ends, and no new one starts.
    """

    memory: int = 4 * GB
    processes: int = 1024
    disk: int = 4 * GB
    inodes: int = 1_000_000
    open_files: int = 4096
    tmp: int = 512 * MB
    shm: int = 64 * MB
    run: int = 4 * MB
    memory_reserve: int = 256 * MB
    disk_reserve: int = GB
    inode_reserve: int = 20_000
    niceness: int = 10


def confining(limits: Limits) -> tuple[str, ...]:
    """A command prefix that puts the limits of single processes on what follows.

    Run it inside the sandbox: there its processes are counted apart from everybody else's, and a server in
    a container, root or not, may be unable to set the limits of another process. No RLIMIT_AS: WebAssembly
    reserves more than anybody has.
    """
    bounds = {
        "nproc": (resource.RLIMIT_NPROC, limits.processes),
        "nofile": (resource.RLIMIT_NOFILE, limits.open_files),
        "fsize": (resource.RLIMIT_FSIZE, limits.disk),
        "data": (resource.RLIMIT_DATA, limits.memory),
        "memlock": (resource.RLIMIT_MEMLOCK, 64 * 1024),
        "msgqueue": (resource.RLIMIT_MSGQUEUE, 0),
        "core": (resource.RLIMIT_CORE, 0),
        "rtprio": (resource.RLIMIT_RTPRIO, 0),
    }
    words = [f"--{name}={_at_most(which, value)}" for name, (which, value) in bounds.items()]
    return ("/usr/bin/nice", "-n", str(limits.niceness), "/usr/bin/prlimit", *words)


def _at_most(which: int, wanted: int) -> int:
    """Nobody can raise a limit that the server itself is under."""
    _, hard = resource.getrlimit(which)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
