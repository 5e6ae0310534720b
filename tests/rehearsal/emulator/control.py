"""The emulator's own endpoint, for the tests: what AWS has no call for."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from tests.rehearsal.emulator.containers import Container
from tests.rehearsal.emulator.knobs import Knobs
from tests.rehearsal.emulator.roles import credentials

Body = dict[str, Any]
Call = Callable[[Body], Any]


class Docker(Protocol):
    """A client, as far as it is used here."""

    @property
    def calls(self) -> Mapping[str, Call]: ...

    def list(self, **options: Any) -> Sequence[Container]: ...


class Control:
    """POST a JSON object to

    - `/knobs` `{knob: times}` (see `Knobs`) → how often each is still to act,
    - `/kill` `{"sandbox", "signal"}`: of the worker in a sandbox's container,
    - `/sandboxes` `{}` → `[{"sandbox", "id", "address", "status", "said", "environment"}]`, all there ever
      were; the id is the container's,
    - `/credentials` `{"role", "name"}` → the variables for a process that runs as a role,
    - and what `docker.calls` has besides.
    """

    def __init__(self, port: int, knobs: Knobs, docker: Docker) -> None:
        self._knobs, self._docker = knobs, docker
        calls: Mapping[str, Call] = {
            "/knobs": self._turn,
            "/kill": self._kill,
            "/sandboxes": self._sandboxes,
            "/credentials": lambda body: credentials(body["role"], body["name"]),
            **docker.calls,
        }
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler(calls))
        threading.Thread(target=server.serve_forever, name="control", daemon=True).start()

    def _turn(self, body: Body) -> dict[str, int]:
        self._knobs.turn(**body)
        return self._knobs.left()

    def _kill(self, body: Body) -> None:
        for container in self._docker.list():
            if container.environment.get("SANDBOX_ID") == body["sandbox"]:
                container.kill(body.get("signal", 9))

    def _sandboxes(self, body: Body) -> list[Body]:
        found = [each for each in self._docker.list(all=True) if "SANDBOX_ID" in each.environment]
        return [
            {
                "sandbox": each.environment["SANDBOX_ID"],
                "id": each.id,
                "address": each.attrs["NetworkSettings"]["Networks"]["rehearsal"]["IPAddress"],
                "status": each.status,
                "said": each.logs().decode(errors="replace"),
                "environment": dict(each.environment),
            }
            for each in found
        ]


def _handler(calls: Mapping[str, Call]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            try:
                status, answer = 200, calls[self.path](body)
            except (KeyError, ValueError, OSError) as error:
                status, answer = 400, {"error": repr(error)}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    return Handler
