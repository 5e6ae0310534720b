"""The processes that are measured: the product's server and the demo model."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

REPOSITORY = Path(__file__).parents[1]
KEY = "osb_" + "k" * 32
USER = "user_bench"
_DEMO = """
import socket, sys, uvicorn
from opensessions.local.demo_model import create_demo_model
sock = socket.create_server(("127.0.0.1", 0))
print(f"http://127.0.0.1:{sock.getsockname()[1]}", flush=True)
config = uvicorn.Config(create_demo_model(pace=0), log_level="warning", lifespan="off")
uvicorn.Server(config).run([sock])
"""


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="opensessions-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def demo_model() -> Iterator[str]:
    """The demo model without its pauses, on a TCP port of the loopback: its URL."""
    command = [sys.executable, "-c", _DEMO]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)


@dataclass(frozen=True)
class Product:
    """A running server, by its public API. `http` keeps its connection, as a caller's backend would."""

    url: str
    pid: int
    http: httpx2.Client
    data: Path

    def create(self, prompt: str, **agent_config: Any) -> dict[str, Any]:
        body = {"prompt": prompt, "user_id": USER, "agent_config": agent_config}
        return self._sent("/v1/sessions", body, 201)

    def send(self, session_id: str, message: str) -> dict[str, Any]:
        body = {"message": message, "user_id": USER}
        return self._sent(f"/v1/sessions/{session_id}/messages", body, 200)

    def _sent(self, path: str, body: dict[str, Any], status: int) -> dict[str, Any]:
        answer = self.http.post(path, json=body)
        if answer.status_code != status:
            raise RuntimeError(f"POST {path} was answered {answer.status_code}: {answer.text}")
        return answer.json()  # type: ignore[no-any-return]

    def delete(self, session_id: str) -> None:
        self.http.delete(f"/v1/sessions/{session_id}").raise_for_status()

    def events(self, session_id: str, after: int = 0) -> Iterator[tuple[float, dict[str, Any]]]:
        """The session's stream: each event with the time at which it was here."""
        path, params = f"/v1/sessions/{session_id}/events", {"after": after}
        with self.http.stream("GET", path, params=params, timeout=120) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    yield time.time(), json.loads(line[6:])


@contextmanager
def product(
    model_url: str | None = None,
    module: str = "opensessions.local.server",
    words: Sequence[str] = (),
    **variables: str,
) -> Iterator[Product]:
    """`make run` with a new data directory and these variables, or another `module` that serves the same."""
    with folder() as data:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(data),
            "PORT": "0",
            "OPENSESSIONS_API_KEY": KEY,
            "OPENSESSIONS_DATA_DIR": str(data / "data"),
            **({"OPENSESSIONS_MODEL_URL": model_url} if model_url else {}),
            **variables,
        }
        log = data / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            url = _announced(process, log)
            with httpx2.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=30) as http:
                yield Product(url, process.pid, http, data / "data")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def _announced(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return found[0]
        time.sleep(0.05)
    raise RuntimeError(f"The server did not start:\n{log.read_text()}")
