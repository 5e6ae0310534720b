"""The product as a user runs it: `python -m opensessions.local.server`, over real sockets."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from tests.e2e.target import DOCUMENTED, Target, until

__all__ = ["DOCUMENTED", "KEY", "REPO", "Server", "until"]

REPO = Path(__file__).parents[2]
KEY = "osb_test_key_of_the_end_to_end_suite"


@dataclass
class Server(Target):
    """A running server. `user` is the uid it runs as, None for the test's own."""

    data: Path
    user: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    key: str = KEY
    module: str = "opensessions.local.server"
    told: set[str] = field(default_factory=set)

    def start(self) -> "Server":
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data),
            "PORT": str(self.port),
            "OPENSESSIONS_API_KEY": KEY,
        }
        self.told |= {value for name, value in self.environment.items() if name.endswith("_KEY")}
        own |= {"OPENSESSIONS_DATA_DIR": str(self.data / "data"), **self.environment}
        log = (self.data / "server.log").open("ab", buffering=0)
        self._began = log.tell()
        if self.user is not None:
            os.chown(self.data, self.user, self.user)
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            cwd=REPO, env=own, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            user=self.user, group=self.user, extra_groups=None if self.user is None else [],
        )  # fmt: skip
        log.close()
        self.url = self.front = until(self._announced)
        self.port = int(self.url.rsplit(":", 1)[1])
        self.http = httpx2.Client(base_url=self.url, headers={"X-API-Key": KEY}, timeout=30)
        return self

    def new_key(self, name: str, scopes: str = "admin", account: str | None = None) -> str:
        of = ("--account", account) if account else ()
        return self._keys("create", "--name", name, "--scopes", scopes, *of).strip()

    def good_keys(self, name: str) -> list[str]:
        lines = [line.split() for line in self._keys("list").splitlines()]
        return [line[0] for line in lines if line[1] == name]

    def revoke_key(self, key_id: str) -> None:
        self._keys("revoke", key_id)

    def _keys(self, *words: str) -> str:
        environment = {"PATH": os.environ["PATH"], "OPENSESSIONS_DATA_DIR": str(self.data / "data")}
        command = [sys.executable, "-m", "opensessions.local.keys", *words]
        return subprocess.run(
            command, cwd=REPO, env=environment, stdout=subprocess.PIPE, check=True, text=True,
            user=self.user, group=self.user, extra_groups=None if self.user is None else [],
        ).stdout  # fmt: skip

    def _announced(self) -> str | None:
        over = self.process.poll() is not None
        text = (self.data / "server.log").read_bytes()[self._began :].decode(errors="replace")
        assert not over, text
        found = re.findall(r"http://127\.0\.0\.1:\d+", text)
        return found[0] if found else None

    def log(self) -> str:
        return (self.data / "server.log").read_text(errors="replace")

    def preview_url(self, sandbox: str, port: int = 3000) -> str:
        return f"http://{sandbox}-p{port}.preview.localhost:{self.port}"

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.http.close()
        self.process.send_signal(how)
        status = self.process.wait(10)
        self.keep_secrets()
        return status
