"""A cloud for one test: moto for DynamoDB and secrets, and a stand-in for Lambda's Invoke that runs the
callback by Mangum, as `functions/callback.py` does.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex
from typing import Any

import boto3
import httpx2
from botocore.config import Config
from mangum import Mangum
from moto.server import ThreadedMotoServer

from opensessions.aws.audit import DynamoAudit
from opensessions.aws.dynamodb import DynamoStore
from opensessions.aws.hooks import DynamoHooks
from opensessions.aws.keyring import DynamoKeyring
from opensessions.aws.passes import DynamoPasses
from opensessions.aws.s3 import S3Blobs
from opensessions.aws.table import create_table
from opensessions.http import callback
from tests.fakes import World

REPOSITORY = Path(__file__).parents[2]
MASTER = "ab" * 32
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}


class Lambdas(ThreadingHTTPServer):
    """`fail` makes the next so many invocations answer 429, as a throttled function does. One runs at a time:
    moto's transactions do not shut each other out, and one would write over what another has committed.
    """

    daemon_threads = True

    def __init__(self, app: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Invoke)
        self.app, self.fail = app, 0
        self.turn = threading.Lock()
        self.signed: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Invoke(BaseHTTPRequestHandler):
    server: Lambdas

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.signed.append(self.headers["Authorization"])
        if self.server.fail:
            self.server.fail -= 1
            self._answer(429, {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded"})
        else:
            # Mangum wants the thread to have a loop, or leaves one behind.
            with self.server.turn, asyncio.Runner() as runner:
                asyncio.set_event_loop(runner.get_loop())
                answering: Any = Mangum(self.server.app, lifespan="off")
                self._answer(200, answering(event, None))

    def _answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@dataclass
class Task:
    """One running gateway."""

    process: subprocess.Popen[str]
    public: str
    inside: str
    egress: str
    said: list[str] = field(default_factory=list)


@dataclass
class Cloud:
    """`name` is in the names of what this one has: all emulators of a process share one account."""

    name: str
    endpoint: str
    lambdas: Lambdas
    here: World
    client: Any

    def environment(self, **more: str) -> dict[str, str]:
        """What a gateway task is told; `more` on top."""
        return {
            "PATH": os.environ["PATH"],
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_LAMBDA": self.lambdas.url,
            "TABLE_NAME": self.name,
            "BUCKET_NAME": self.name,
            "PREVIEW_URL": "https://{sandbox}-p{port}.preview.test",
            "CALLBACK_FUNCTION": "callback",
            "MASTER_KEY_SECRET": f"{self.name}-master",
            "MODEL_SECRET": f"{self.name}-model",
            "MODEL": "anthropic",
            "PREVIEWS": "domain",
            "BIND_HOST": "127.0.0.1",
            **more,
        }

    @contextmanager
    def gateway(self, ports: tuple[int, int, int] | None = None, **more: str) -> Iterator[Task]:
        """A gateway task, once it answers."""
        public, inside, egress = ports or (free_port(), free_port(), free_port())
        told = {"PORT": str(public), "SANDBOX_PORT": str(inside), "EGRESS_PORT": str(egress)}
        process = subprocess.Popen(
            [sys.executable, "-m", "opensessions.aws.server"],
            env=self.environment(**told, **more), cwd=REPOSITORY, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        at = "http://127.0.0.1:{}".format
        task = Task(process, at(public), at(inside), at(egress))
        reading = threading.Thread(target=lambda: task.said.extend(process.stdout or ()))
        reading.start()
        try:
            _await(task)
            yield task
        finally:
            process.kill()
            process.wait()
            reading.join()
            assert process.stdout
            process.stdout.close()


@contextmanager
def cloud(folder: Path) -> Iterator[Cloud]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    name = f"cloud-{token_hex(4)}"
    account = boto3.Session("test", "test", region_name="us-east-1")
    client = account.client("dynamodb", endpoint_url=endpoint)
    create_table(client, name)
    secrets = account.client("secretsmanager", endpoint_url=endpoint)
    for kind, value in (("master", MASTER), ("model", "sk-canary-of-the-model-key")):
        secrets.create_secret(Name=f"{name}-{kind}", SecretString=value)
    objects = account.client("s3", endpoint_url=endpoint, config=Config(signature_version="s3v4"))
    objects.create_bucket(Bucket=name)
    beside: dict[str, Any] = {"blobs": S3Blobs(objects, name), "passes": DynamoPasses(name, client)}
    beside["hooks"] = DynamoHooks(name, client)
    beside["keyring"], beside["audit"] = DynamoKeyring(name, client), DynamoAudit(name, client)
    here = World(DynamoStore(name, client), folder, **beside)
    here.clock.now = datetime.now(UTC)
    lambdas = Lambdas(callback.create_app(here.testimony))
    serving = threading.Thread(target=lambdas.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield Cloud(name, endpoint, lambdas, here, client)
    finally:
        lambdas.shutdown()
        lambdas.server_close()
        serving.join()
        server.stop()


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        port: int = sock.getsockname()[1]
        return port


def _await(task: Task) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if task.process.poll() is not None:
            raise AssertionError(f"The gateway ended: {''.join(task.said)}")
        try:
            if httpx2.get(f"{task.public}/healthz", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise AssertionError("The gateway does not answer.")
