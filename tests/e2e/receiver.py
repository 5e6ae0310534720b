"""A receiver of webhooks on this machine, and the public library that judges what it got."""

import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[2]
LIBRARY = REPO / ".cache" / "webhooks" / "node_modules"
VERIFY = Path(__file__).with_name("verify_webhooks.cjs")


@dataclass(frozen=True)
class Delivery:
    """What came to a path, and when, by the monotonic clock."""

    path: str
    headers: Mapping[str, str]
    body: str
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> dict[str, Any]:
        return json.loads(self.body)["data"]  # type: ignore[no-any-return]


Answer = Callable[[Delivery, int], tuple[int, dict[str, str]]]
"""The answer to a delivery, by how many came to its path before it."""


def taken(delivery: Delivery, before: int) -> tuple[int, dict[str, str]]:
    return 204, {}


@dataclass
class Receiver:
    """`answers` are by path; who has none takes everything."""

    answers: dict[str, Answer] = field(default_factory=dict)
    got: list[Delivery] = field(default_factory=list)

    def of(self, path: str) -> list[Delivery]:
        return [delivery for delivery in list(self.got) if delivery.path == path]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def receive(self, delivery: Delivery) -> tuple[int, dict[str, str]]:
        with self._lock:
            before = len(self.of(delivery.path))
            self.got.append(delivery)
        return self.answers.get(delivery.path, taken)(delivery, before)

    def start(self, context: ssl.SSLContext | None = None) -> None:
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = False
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def receiver(context: ssl.SSLContext | None = None, **answers: Answer) -> Iterator[Receiver]:
    """Over TLS, if there is a context."""
    running = Receiver({f"/{name}": answer for name, answer in answers.items()})
    running.start(context)
    try:
        yield running
    finally:
        running.stop()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more = receiver.receive(Delivery(self.path, headers, body, time.monotonic()))
            try:
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()
            except OSError:
                pass  # a caller that was killed, or has given up

        def log_message(self, *args: object) -> None: ...

    return Handler


def unverified(secret: str, deliveries: Sequence[Delivery]) -> list[str]:
    """What the npm package `standardwebhooks` says against these."""
    node = shutil.which("node")
    assert node and LIBRARY.is_dir(), "node and .cache/webhooks are needed: make test installs them"
    lines = [json.dumps({"secret": secret, "headers": dict(d.headers), "body": d.body}) for d in deliveries]
    told = subprocess.run(
        [node, str(VERIFY)], input="\n".join(lines), env={"NODE_PATH": str(LIBRARY)}, capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    said = told.stdout.splitlines()
    assert len(said) == len(deliveries), told.stderr
    return [line for line in said if line != "ok"]
