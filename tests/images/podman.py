"""Podman with a storage of this checkout's own, so that it gets into nobody's way."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CACHE = REPOSITORY / ".cache" / "images"
PACKAGES = ("podman", "runc", "debootstrap", "catatonit")

_STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{cache}/storage"\nrunroot = "{run}"\n'
_CONTAINERS = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
tmp_dir = "{run}/libpod"
"""


AS_A_TASK = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=all")
"""What the task definitions say: nothing but volumes is written to, and there is no capability."""


class Unbuilt(Exception):
    """An image could not be built; the text says why."""


@cache
def environment() -> Mapping[str, str]:
    """What Podman and tools like it need in their environment to find the images. Writes the files for it.

    Podman's sockets must have short names, so they cannot lie in the checkout.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    run = Path("/run") / f"opensessions-{hashlib.sha256(bytes(CACHE)).hexdigest()[:8]}"
    given = {}
    for name, text in (("CONTAINERS_STORAGE_CONF", _STORAGE), ("CONTAINERS_CONF", _CONTAINERS)):
        given[name] = str(file := CACHE / f"{name.lower()}.conf")
        Path(file).write_text(text.format(cache=CACHE, run=run))
    return {**given, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}


def podman(*words: str, check: bool = True) -> str:
    """What a command prints to standard output. Raises Unbuilt with the end of what went wrong."""
    return tool("podman", *words, check=check)


def said(container: str) -> str:
    """What a container has printed, to standard output and to standard error."""
    done = _run(("podman", "logs", "--tail=500", container))
    return done.stdout + done.stderr


def inside(image: str, *command: str, options: Sequence[str] = (), check: bool = True) -> str:
    """What a command in a container of its own prints: as a task, and without any network."""
    return podman("run", "--rm", "--network=none", *AS_A_TASK, *options, image, *command, check=check)


def tool(*words: str, check: bool = True) -> str:
    done = _run(words)
    if check and done.returncode:
        raise Unbuilt(f"`{' '.join(words)[:200]}` failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def _run(words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words, env={**os.environ, **environment()}, cwd=REPOSITORY, capture_output=True, text=True
    )


def prepared(**more: str) -> None:
    """See that what is needed is installed, or say what to do. `more` programs: by name, the package of each.
    Raises Unbuilt.
    """
    if os.geteuid() != 0:
        raise Unbuilt("Images are built as root here: run it by sudo, or in a virtual machine.")
    path = environment()["PATH"]
    programs = {**dict(zip(PACKAGES, PACKAGES, strict=True)), **more}
    missing = [package for name, package in programs.items() if not shutil.which(name, path=path)]
    if missing and not shutil.which("apt-get"):
        raise Unbuilt(f"Please install {', '.join(missing)}; with an engine of your own, use its `build`.")
    if missing:
        print(f"Installing the system packages {', '.join(missing)}")
        tool("apt-get", "update", "-qq")
        tool("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
