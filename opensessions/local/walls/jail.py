"""One running sandbox: its start behind a gate, its output, and its end.

The first thing that runs inside is four lines of shell of ours, which say that the walls stand and then wait
for a line on standard input. Until it comes nothing of the sandbox's own has run, so the host can put the
processes under their limits without a race; and if the server dies meanwhile, the line never comes.
"""

import os
import select
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Lock, Thread

from opensessions.errors import LaunchFailed
from opensessions.local.walls import processes
from opensessions.local.walls.bubblewrap import Recipe
from opensessions.local.walls.output import Output
from opensessions.local.walls.spawner import Spawner

_GATE = """echo up; read -r go || exit 125
echo 1000 >/proc/self/oom_score_adj  # out of memory, the kernel ends this before the server
mkdir -p "$HOME"; exec "$@"
"""
_PATIENCE = 20.0


class Jail:
    """A sandbox whose gate is still closed. `open` lets it run; `end` or `discard` it must see in any case.

    `init` is the host's number of the sandbox's process 1, `gate` of the one that becomes the worker.
    """

    def __init__(self, spawner: Spawner, recipe: Recipe, uid: int | None, keep: Sequence[int] = ()) -> None:
        """Raises LaunchFailed with bubblewrap's own words when the walls do not stand in 20 seconds."""
        command = ("/usr/bin/sh", "-c", _GATE, "sh", *recipe.command)
        self._process = spawner.start(replace(recipe, command=command), uid, keep)
        assert self._process.stdin and self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._pidfd = -1
        self._lock = Lock()
        self._reader: Thread | None = None
        self.output = Output(self._stdout.fileno())
        self.verdict: str | None = None
        try:
            if not self.output.read_until(b"up\n", _PATIENCE):
                raise LaunchFailed(
                    f"bubblewrap could not start a sandbox: {self.output.tail() or 'no output'}"
                )
            self._find_processes()
        except BaseException:
            self.discard()
            raise
        finally:
            spawner.settle(self._process)

    def _find_processes(self) -> None:
        family = list(processes.descendants(self._process.pid, processes.table()))
        if len(family) != 2:
            raise LaunchFailed("bubblewrap started a sandbox and it ended at once.")
        self.init, self.gate = (process.pid for process in family)
        self._pidfd = os.pidfd_open(self.init)

    def open(self, line: bytes, on_end: Callable[[], None]) -> None:
        """Let the command run and give it `line` on standard input, which then stays open.

        When the sandbox ends, for whatever reason, and nothing of it is left, `on_end` is called from a
        thread of the jail's own.
        """
        with suppress(BrokenPipeError):
            self._stdin.write(b"go\n" + line)
        self._reader = Thread(target=self._watch, args=(on_end,), name=f"sandbox-{self.init}", daemon=True)
        self._reader.start()

    def running(self) -> bool:
        return self._process.returncode is None and self._process.poll() is None

    def condemn(self, verdict: str) -> None:
        """Begin to end the sandbox, for a reason that its end will be explained with."""
        self.verdict = self.verdict or verdict
        self._kill()

    def end(self) -> None:
        """End the sandbox; on return no process of it is left and `on_end` has been called. Idempotent."""
        self._kill()
        if self._reader is not None:
            self._reader.join()

    def discard(self) -> None:
        """End a sandbox whose gate was never opened."""
        self._process.kill()
        self.output.drain()
        self._close()

    def status(self) -> str:
        """How the worker ended, in words."""
        code = self._process.returncode
        number = -code if code < 0 else code - 128
        with suppress(ValueError):
            return f"was killed ({signal.Signals(number).name})"
        return f"ended with status {code}"

    def _watch(self, on_end: Callable[[], None]) -> None:
        self.output.drain()
        # Output can be closed long before the end. And bubblewrap's own process ends with the worker, while
        # others may still run inside: process 1 takes them along, and is gone only when they are.
        self._process.wait()
        self._kill()
        self._close()
        on_end()

    def _kill(self) -> None:
        with self._lock, suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _close(self) -> None:
        if self._pidfd >= 0:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            poll.poll()
        with self._lock:
            if self._pidfd >= 0:
                os.close(self._pidfd)
            self._pidfd = -1
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        self._stdin.close()
        self._stdout.close()
