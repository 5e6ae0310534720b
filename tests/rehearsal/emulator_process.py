"""The emulator as a process of the tests: started clean, spoken to by HTTP, and gone at the end."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import boto3
import httpx2

from tests.e2e.server import REPO, until

PYTHON = REPO / ".venv-rehearsal" / "bin" / "python"
REGION = "us-east-1"
ACCOUNT = "000000000000"
_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); from tests.rehearsal.emulator.main import main; main()"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Emulator:
    """`environment` is what an AWS client needs to speak to it as the account's root. With a `model`, where
    that is, tasks are containers; see `emulator.podman`.
    """

    def __init__(self, log: Path, auth: bool = True, model: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="osr-", dir="/tmp"))
        self.folder.chmod(0o711)
        self.log = log
        self.port, control = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "AUTH": str(auth).lower(),
            "REHEARSAL_FOLDER": str(self.folder),
            "REHEARSAL_CONTROL_PORT": str(control),
            "REHEARSAL_REPOSITORY": str(REPO),
            "REHEARSAL_MODEL": model,
        }
        with log.open("wb", buffering=0) as out:
            self.process = subprocess.Popen(
                [str(PYTHON), "-I", "-c", _START, str(REPO)],
                cwd=self.folder, env=own, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self._control = httpx2.Client(base_url=f"http://127.0.0.1:{control}", timeout=30)
        until(self._is_up, 60)

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-3000:]
        try:
            return httpx2.get(f"{self.url}/_ministack/health", timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False

    def tell(self, path: str, **body: Any) -> Any:
        """A call of `tests.rehearsal.emulator.control`."""
        answer = self._control.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def sandboxes(self, status: str = "running") -> list[dict[str, Any]]:
        return [each for each in self.tell("/sandboxes") if each["status"] == status]

    def client(self, service: str) -> Any:
        """A client of the account's root."""
        return _client(service, self.environment)

    def client_as(self, role: str, service: str) -> Any:
        """A client that has the rights of a role."""
        return _client(service, self.environment | self.tell("/credentials", role=role, name="test"))

    def stop(self) -> None:
        self._control.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)  # containers are ended
        finally:
            assert self.process.stdin
            self.process.stdin.close()
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(5)
            shutil.rmtree(self.folder, ignore_errors=True)


def _client(service: str, environment: dict[str, str]) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=REGION,
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=environment.get("AWS_SESSION_TOKEN"),
    )
