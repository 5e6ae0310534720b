"""A model provider that does what the newest prompt says, and remembers by which keys it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.sandbox_task.model import answer


class Models(ThreadingHTTPServer):
    """While `open` is not set, it takes calls and does not answer them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Messages)
        self.keys: list[str] = []
        self.asked, self.open = threading.Event(), threading.Event()
        self.open.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Messages(BaseHTTPRequestHandler):
    server: Models

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.keys.append(self.headers["X-API-Key"])
        self.server.asked.set()
        self.server.open.wait(30)
        said = answer(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def models() -> Iterator[Models]:
    with Models() as made:
        serving = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield made
        finally:
            made.open.set()
            made.shutdown()
            serving.join()
