"""The other side of `sandbox_host`: starts one, as root or as a plain user, and talks with it."""

import json
import os
import queue
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

REPOSITORY = Path(__file__).parents[2]
PLAIN_UID = 54321
MODES = ("root", "plain")
PATIENCE = 30.0
AT_TERMINAL = """
import fcntl, os, runpy, termios
os.setsid()
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
runpy.run_module("tests.local.sandbox_host", run_name="__main__")
"""


class Inside:
    """A running sandbox, reached through its door."""

    def __init__(self, host: "Host", sandbox_id: str) -> None:
        self.host, self.id = host, sandbox_id
        self.door = host.call("dial", sandbox_id, 3000)

    def run(self, script: str, seconds: float = PATIENCE) -> tuple[int, str]:
        """Exit status and output of a bash script."""
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(seconds)
            door.connect(self.door)
            door.sendall(script.encode())
            door.shutdown(socket.SHUT_WR)
            with door.makefile("rb") as stream:
                answer = stream.read().decode(errors="replace")
        status, _, output = answer.partition("\n")
        assert status, "the sandbox ended"
        return int(status), output

    def python(self, program: str) -> tuple[int, str]:
        return self.run(f"python3 - <<'END'\n{program}\nEND")

    @property
    def processes(self) -> list[psutil.Process]:
        """Bubblewrap's own on the host, process 1 inside, and so on; parents first."""
        for monitor in psutil.Process(self.host.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                family = [monitor, *monitor.children(recursive=True)]
                if any(_environment(each).get("SANDBOX_ID") == self.id for each in family):
                    return family
        return []


class Host:
    """A server of sandboxes. `environment` is its environment, which no sandbox may see; `terminal` a
    terminal's descriptor that it is started from.
    """

    def __init__(self, mode: str, folder: Path, terminal: int | None = None, **config: Any) -> None:
        self.mode, self.folder = mode, folder
        plain = mode == "plain" and os.geteuid() == 0
        if plain and not all(
            above.stat().st_mode & 0o005 == 0o005 for above in (REPOSITORY, *REPOSITORY.parents)
        ):
            pytest.skip(f"needs a checkout that other users can read; {REPOSITORY} is closed to them")
        if plain:
            os.chown(folder, PLAIN_UID, PLAIN_UID)
        user: dict[str, Any] = {"user": PLAIN_UID, "group": PLAIN_UID, "extra_groups": []} if plain else {}
        environment = {"PATH": os.environ["PATH"], **config.pop("environment", {})}
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-B",
                *(["-c", AT_TERMINAL] if terminal else ["-m", "tests.local.sandbox_host"]),
            ],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=terminal,
            text=True,
            **user,
        )
        self.stopped: queue.Queue[list[Any]] = queue.Queue()
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        defaults = {"folder": str(folder), "venv": sys.prefix, "limits": {}, "command": None}
        self._send({**defaults, **config})
        assert "ready" in self._answers.get(timeout=PATIENCE)

    def call(self, name: str, *arguments: Any) -> Any:
        """A method of the LocalSandboxes in there. Raises RuntimeError with the error's name and text."""
        self._send({"call": name, "arguments": arguments})
        answer = self._answers.get(timeout=PATIENCE)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["answer"]

    def launch(self, sandbox_id: str | None = None, number: int = 1, token: str = "token") -> Inside:
        sandbox_id = sandbox_id or new_id()
        self.call("launch", sandbox_id, number, token)
        return Inside(self, sandbox_id)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self._reader.join()
        self.process.stdout.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _send(self, order: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            news = json.loads(line)
            if "stopped" in news:
                self.stopped.put(news["stopped"])
            else:
                self._answers.put(news)
        self._answers.put({"error": "the host ended"})


@contextmanager
def hosting(mode: str, **config: Any) -> Iterator[Host]:
    """A host in a short, closed folder: the address of a Unix socket has 108 bytes."""
    if mode == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    folder = Path(tempfile.mkdtemp(prefix="os-", dir="/tmp"))
    host = None
    try:
        host = Host(mode, folder, **config)
        yield host
    finally:
        if host is not None:
            host.close()
        shutil.rmtree(folder)


def new_id() -> str:
    return f"sb-{secrets.token_hex(16)}"


def eventually(condition: Any, seconds: float = PATIENCE) -> None:
    """Wait for a thing that nothing announces."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}
