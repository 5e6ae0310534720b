"""Who listens on the sandbox's ports, and what to run to have it again."""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sandbox_task import ports, processes

_SHELLS = frozenset(("sh", "bash", "dash", "zsh"))
_PACKAGERS = frozenset(("npm", "pnpm", "yarn", "bun"))
_WRAPPER = "shell-snapshots"
"""What the command line of a shell has in it that the agent's program runs commands by."""
_LIMIT = 256 * 1024


@dataclass(frozen=True)
class Process:
    """A process as it was started. `cwd` is where it was then, as far as can be told; `words` are None for
    one that has put a title in the place of its command line.
    """

    pid: int
    title: str
    words: list[str] | None
    cwd: Path
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Origin:
    """What to run, where and with which environment."""

    words: list[str]
    cwd: Path
    environment: Mapping[str, str] = field(repr=False)


def listeners(own: Collection[int], proc: Path = Path("/proc")) -> dict[int, int]:
    """The process that listens on each chosen port but our `own`, among those below this one. Of several that
    share a port it is the one that was there first.
    """
    chosen = ports.chosen() - set(own)
    wanted = {f"socket:[{inode}]": port for inode, port in ports.sockets().items() if port in chosen}
    found: dict[int, int] = {}
    for pid in processes.descendants(os.getpid()) if wanted else ():
        with suppress(OSError):
            for descriptor in os.listdir(proc / str(pid) / "fd"):  # noqa: PTH208
                with suppress(OSError):
                    name = os.readlink(proc / str(pid) / "fd" / descriptor)  # noqa: PTH115
                    if name in wanted:
                        found.setdefault(wanted[name], pid)
    return {port: pid for port, pid in found.items() if port >= 1024}


def origin(pid: int) -> Origin | None:
    """What a listener came from: the outermost of the processes above it, below the agent's own, that can be
    started again. None if there is none.
    """
    chain = list(_chain(pid))
    for index in range(len(chain) - 1, -1, -1):
        process, child = chain[index], chain[index - 1] if index else None
        if process.words is not None:
            if _runs(process.words[0], process):
                return Origin(process.words, process.cwd, process.environment)
        elif child is not None and (found := _packaged(process, child)) is not None:
            return found
    return None


def _chain(pid: int) -> Iterator[Process]:
    """A process and those above it, up to the agent's own or this one."""
    above = processes.parents()
    while pid != os.getpid() and pid in above:
        process = _process(pid)
        if process is None or _WRAPPER in process.title or processes.is_agent(pid):
            return
        yield process
        pid = above[pid][0]


def _process(pid: int, proc: Path = Path("/proc")) -> Process | None:
    folder = proc / str(pid)
    try:
        line = _read(folder / "cmdline").rstrip("\0")
        pairs = [pair.partition("=") for pair in _read(folder / "environ").split("\0")]
        environment = {name: value for name, _, value in pairs if name}
        here = (folder / "cwd").readlink()
    except OSError:
        return None
    words = line.split("\0")
    titled = len(words) == 1 and " " in line
    # A shell's script goes elsewhere by itself, and would do so again from there.
    shell = not titled and Path(words[0]).name.lstrip("-") in _SHELLS
    was = environment.get("PWD", "")
    cwd = Path(was) if shell and was.startswith("/") and Path(was).is_dir() else here
    return Process(pid, line.replace("\0", " "), None if titled else words, cwd, environment)


def _read(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(_LIMIT).decode("utf-8", "replace")


def _runs(program: str, process: Process) -> bool:
    """Whether there is such a program: if not, it is a title."""
    if "/" in program:
        return os.access(process.cwd / program, os.X_OK)
    return shutil.which(program, path=process.environment.get("PATH", os.defpath)) is not None


def _packaged(process: Process, child: Process) -> Origin | None:
    """What to run for the title of npm and its like ("npm run dev"). It leaves out what began with a dash,
    and where the package is; the environment of the script tells the latter.
    """
    tool, *words = process.title.split()
    if tool not in _PACKAGERS or not words:
        return None
    rest = ["--"] if tool == "npm" else []
    package = child.environment.get("npm_package_json", "")
    script = child.environment.get("npm_lifecycle_event", "")
    if not script or script not in words[:2] or words[0] == "exec":
        return Origin([tool, words[0], *rest, *words[1:]], process.cwd, process.environment)
    more = words[words.index(script) + 1 :]
    command = [tool, "run", script, *((*rest, *more) if more else ())]
    cwd = Path(package).parent if package.startswith("/") else process.cwd
    return Origin(command, cwd, process.environment)
