"""The one thread that starts sandboxes, from mounts of its own.

One thread, because bubblewrap's `--die-with-parent` follows the *thread* that started it: a sandbox that a
pool's thread started would die with that thread, minutes later. This one lives as long as the server.

Mounts of its own, because bubblewrap runs as an unprivileged user and finds what it binds by path, while the
data directory, and often the interpreter, lie in folders that only root may enter. So, as root, the thread
covers /sys, for itself alone, with an empty file system, binds each source there, and starts bubblewrap with
those paths. /sys always exists, everybody may enter it, and nothing that a sandbox needs is in it. As a plain
user bubblewrap runs as that user, who can reach the sources anyway, and nothing is staged.

Compared with `unshare` and `setpriv` in front of every bubblewrap this takes no extra program, a
millisecond instead of a shell with eight mounts, and leaves the host's mounts alone; when the server
dies, however it dies, the kernel takes the mounts away.
"""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

from opensessions.local.walls import bubblewrap, mounts, seccomp
from opensessions.local.walls.bubblewrap import Bind, Recipe
from opensessions.local.walls.limits import Limits

T = TypeVar("T")
_STAGE = Path("/sys")


class Spawner:
    """Starts bubblewrap. Safe to call from many threads; ends with `close()`.

    `etc`, path inside to content, comes on top of the files that every sandbox gets. Raises OSError on
    construction when it is root but may not make mounts.
    """

    def __init__(self, program: str, limits: Limits, etc: Mapping[str, str] | None = None) -> None:
        self._program = program
        self._limits = limits
        self._etc = {**bubblewrap.synthetic_etc(), **(etc or {})}
        self._staged = os.geteuid() == 0
        self._names = count(1)
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._closing, self._closed = Lock(), False
        self._thread = Thread(target=self._run, name="sandbox-spawner", daemon=True)
        self._thread.start()
        try:
            self._call(self._prepare)
        except OSError:
            self.close()
            raise

    def start(self, recipe: Recipe, uid: int | None, keep: Sequence[int] = ()) -> "subprocess.Popen[bytes]":
        """Start bubblewrap by `recipe` as `uid`, with pipes at its standard streams (both outputs are one)
        and the descriptors `keep`. Its binds may be unstaged with `settle` once it has made its mounts.
        """
        return self._call(lambda: self._start(recipe, uid, keep))

    def settle(self, process: "subprocess.Popen[bytes]") -> None:
        """Take away what was staged for a process that runs, or has failed. Idempotent."""
        self._call(lambda: self._unstage(process.pid))

    def close(self) -> None:
        """Start nothing any more: the kernel ends what still runs. Idempotent; all else raises OSError."""
        with self._closing:
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _call(self, function: Callable[[], T]) -> T:
        future: Future[T] = Future()

        def job() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        with self._closing:
            if self._closed:
                raise OSError("The server of sandboxes is closed.")
            self._jobs.put(job)
        return future.result()

    def _prepare(self) -> None:
        self._stages: dict[int, list[Path]] = {}
        if self._staged:
            mounts.part_from_host()
            mounts.empty(_STAGE)

    def _start(self, recipe: Recipe, uid: int | None, keep: Sequence[int]) -> "subprocess.Popen[bytes]":
        targets: list[Path] = []
        descriptors: list[int] = []
        try:
            binds = (
                tuple(self._stage(bind, targets) for bind in recipe.binds) if self._staged else recipe.binds
            )
            options = self._options(replace(recipe, binds=binds), descriptors)
            descriptors.append(_spill("options", "\0".join(options).encode()))
            words = [self._program, "--args", str(descriptors[-1]), "--", *recipe.command]
            process = subprocess.Popen(words, pass_fds=[*descriptors, *keep], **_PLAIN, **_as_user(uid))
        except BaseException:
            self._remove(targets)
            raise
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._stages[process.pid] = targets
        return process

    def _options(self, recipe: Recipe, descriptors: list[int]) -> list[str]:
        etc = {path: _spill(path, text.encode()) for path, text in self._etc.items()}
        filter_ = _spill("seccomp", seccomp.program())
        descriptors += [*etc.values(), filter_]
        known = bubblewrap.known_options(self._program)
        return bubblewrap.options(recipe, self._limits, filter_, etc, known)

    def _stage(self, bind: Bind, targets: list[Path]) -> Bind:
        target = _STAGE / str(next(self._names))
        if bind.source.is_dir():
            target.mkdir()
        else:
            target.touch()
        targets.append(target)
        mounts.bind(bind.source, target)
        return replace(bind, source=target)

    def _unstage(self, pid: int) -> None:
        self._remove(self._stages.pop(pid, []))

    def _remove(self, targets: Sequence[Path]) -> None:
        for target in targets:
            with suppress(OSError):
                mounts.detach(target)
            if target.is_dir():
                target.rmdir()
            else:
                target.unlink()


# No environment: bubblewrap's process 1 would show it inside. A session of its own: Ctrl-C in the server's
# terminal is the server's to handle.
_PLAIN: dict[str, Any] = {
    "env": {},
    "cwd": "/",
    "umask": 0o022,
    "stdin": subprocess.PIPE,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.STDOUT,
    "bufsize": 0,
    "start_new_session": True,
}


def _as_user(uid: int | None) -> dict[str, Any]:
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}


def _spill(name: str, content: bytes) -> int:
    """A descriptor of a nameless file in memory that holds `content`."""
    descriptor = os.memfd_create(name)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
