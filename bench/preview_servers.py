"""What the comparison of preview proxies runs: the app, nginx as a proxy, ours, and a sandbox's door.

`python -m bench.preview_servers proxy APP_PORT [DOOR_SOCKET]` serves ours, `… door SOCKET` the door; both
print a line once they listen.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.processes import REPOSITORY, folder
from gateway.dataplane import Names, Proxy, Reply, Request, Route, tcp, tune
from gateway.door import door
from sandbox_task.door import Door

HOST = "sb-00000000000000000000000000000001-p3000.preview.localhost"
PAGES = {"2 KB": ("small", 2048), "100 KB": ("large", 102_400)}
_KEY = "ab" * 32
_COMMON = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 75s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; default_type text/html;
  {more}
}}
"""
# The app serves its pages, and says to nginx where a preview is.
_APP = """
  server {{ listen 127.0.0.1:{port} backlog=4096; root {folder};
    location = /where {{ add_header X-Upstream 127.0.0.1:{port}; return 204; }} }}
"""
# As previews have to be served: the decision per host, kept for ten seconds, and the upstream a variable.
_PROXY = """
  proxy_cache_path {folder}/cache keys_zone=decisions:1m;
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{
      auth_request /decide; auth_request_set $upstream $upstream_http_x_upstream;
      proxy_pass http://$upstream; proxy_http_version 1.1; proxy_set_header Host localhost:3000;
      proxy_set_header Connection "";
    }}
    location = /decide {{
      internal; proxy_pass http://127.0.0.1:{app}/where; proxy_pass_request_body off;
      proxy_cache decisions; proxy_cache_key $host; proxy_cache_valid 10s;
      proxy_cache_use_stale updating;
    }} }}
"""


@dataclass(frozen=True)
class Server:
    """A running server: its port and the process that does the work."""

    port: int
    pid: int

    def cpu(self) -> float:
        """Seconds of processor time, user and kernel, of all its threads so far."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def on_core(core: int, command: list[str]) -> list[str]:
    """The command held to one core, where there are two and a way to do it."""
    if (os.cpu_count() or 1) < 2 or shutil.which("taskset") is None:
        return command
    return ["taskset", "-c", str(core), *command]


@contextmanager
def _nginx(core: int, more: Callable[[Path, int], str]) -> Iterator[Server]:
    with folder() as place:
        place.chmod(0o755)
        for name, size in PAGES.values():
            (place / name).write_bytes(b"x" * size)
        port = _free_port()
        (place / "nginx.conf").write_text(_COMMON.format(folder=place, more=more(place, port)))
        command = ["nginx", "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "error.log")]
        process = subprocess.Popen(on_core(core, command))
        try:
            _await_port(process, port)
            yield Server(port, _worker_of(process))
        finally:
            process.terminate()
            process.wait(10)


def _worker_of(process: "subprocess.Popen[bytes]") -> int:
    """nginx serves in a child process, which it makes after it listens."""
    while not (children := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
        time.sleep(0.01)
    return int(children[0])


def _await_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            continue
    raise RuntimeError(f"{process.args!r} ended with {process.returncode}")


def nginx_app(core: int) -> AbstractContextManager[Server]:
    """The app behind every proxy: nginx with two static pages."""
    return _nginx(core, lambda place, port: _APP.format(folder=place, port=port))


def nginx_proxy(core: int, app: Server) -> AbstractContextManager[Server]:
    """nginx with `auth_request` (its decision cached) and a variable upstream."""
    return _nginx(core, lambda place, port: _PROXY.format(folder=place, port=port, app=app.port))


@contextmanager
def own_proxy(core: int, app: Server, door_socket: str = "") -> Iterator[Server]:
    """Ours: straight to the app, or through the door at a unix socket."""
    words = ["proxy", str(app.port), *([door_socket] if door_socket else [])]
    with _python(core, words) as (process, port):
        yield Server(port, process.pid)


@contextmanager
def sandbox_door(core: int) -> Iterator[str]:
    """The door of a sandbox on a unix socket: its path."""
    with folder() as place, _python(core, ["door", str(place / "door.sock")]):
        yield str(place / "door.sock")


@contextmanager
def _python(core: int, words: list[str]) -> "Iterator[tuple[subprocess.Popen[str], int]]":
    command = on_core(core, [sys.executable, "-m", "bench.preview_servers", *words])
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{command} did not start")
        yield process, int(line)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


async def _serve_proxy(app_port: int, door_socket: str | None) -> None:
    connect = door(lambda: door_socket, _KEY, app_port) if door_socket else tcp("127.0.0.1", app_port)
    route = Route(Names(f"http://{HOST}", 3000), connect)

    async def resolve(request: Request) -> Route | Reply:
        return route

    server = await asyncio.get_running_loop().create_server(Proxy(resolve), "127.0.0.1", 0, backlog=4096)
    tune()
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _serve_door(path: str) -> None:
    inside = Door(own=set())
    inside.key = _KEY
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1024)
    server = await inside.listen(listener.detach(), None)
    print(0, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "proxy":
        uvloop.run(_serve_proxy(int(sys.argv[2]), (*sys.argv[3:], None)[0]))
    else:
        uvloop.run(_serve_door(sys.argv[2]))
