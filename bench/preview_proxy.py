"""The preview proxy beside nginx with `auth_request` and a variable upstream, in front of the same app.

Rounds take turns, in reversed order every other time; a ratio is the median of the ratios of single rounds.
The proxies share one core, the load, the app and the door have the other, where there are two.
"""

import argparse
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product as pairs

from bench.figures import heading, median, table
from bench.preview_servers import (
    HOST,
    PAGES,
    Server,
    nginx_app,
    nginx_proxy,
    on_core,
    own_proxy,
    sandbox_door,
)

_NGINX, _OWN, _DOOR = "nginx", "ours", "ours, through the door"
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Round:
    """One run of the load: requests a second, seconds that 99% of them stay under, processor seconds each."""

    rate: float
    p99: float
    cpu: float


def load(server: Server, page: str, connections: int, seconds: int) -> Round:
    """Load one page of a proxy. Raises when an answer is not 200 or a connection fails."""
    url = f"http://127.0.0.1:{server.port}/{PAGES[page][0]}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "--latency"]
    before = server.cpu()
    output = subprocess.run(
        on_core(1, [*command, "-H", f"Host: {HOST}", url]), capture_output=True, text=True, check=True
    ).stdout
    spent = server.cpu() - before
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"The load met errors:\n{output}")
    rate = re.search(r"Requests/sec: +([0-9.]+)", output)
    count = re.search(r"(\d+) requests in", output)
    p99 = re.search(r"99% +([0-9.]+)(us|ms|s|m)\b", output)
    assert rate and count and p99, output
    return Round(float(rate[1]), float(p99[1]) * _UNITS[p99[2]], spent / int(count[1]))


@contextmanager
def contenders() -> Iterator[dict[str, Server]]:
    with (
        nginx_app(1) as app,
        nginx_proxy(0, app) as nginx,
        own_proxy(0, app) as own,
        sandbox_door(1) as path,
        own_proxy(0, app, path) as behind_door,
    ):
        yield {_NGINX: nginx, _OWN: own, _DOOR: behind_door}


def compare(
    servers: dict[str, Server], page: str, connections: int, rounds: int, seconds: int
) -> list[list[str]]:
    """The rows of one page and number of connections."""
    results: dict[str, list[Round]] = {name: [] for name in servers}
    for i in range(rounds):
        for name in list(servers)[:: -1 if i % 2 else 1]:
            results[name].append(load(servers[name], page, connections, seconds))
    base = results[_NGINX]
    return [_row(f"{page}, {connections}: {name}", base, results[name]) for name in servers]


def _row(label: str, base: list[Round], own: list[Round]) -> list[str]:
    rates = [o.rate / b.rate for o, b in zip(own, base, strict=True)]
    p99s = [o.p99 / b.p99 for o, b in zip(own, base, strict=True)]
    ratios = [f"{median(r):.2f} ({min(r):.2f}-{max(r):.2f})" for r in (rates, p99s)]
    rate, p99, cpu = (median([getattr(o, name) for o in own]) for name in ("rate", "p99", "cpu"))
    return [
        label,
        f"{rate:,.0f}/s",
        ratios[0] if own is not base else "",
        f"{p99 * 1000:.1f} ms",
        ratios[1] if own is not base else "",
        f"{cpu * 1e6:.0f} us",
    ]


def idle_memory(server: Server, connections: int) -> float:
    """Bytes that one more idle keep-alive connection costs. Each was served once."""
    request = f"GET /{PAGES['2 KB'][0]} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    opened: list[socket.socket] = []
    try:
        _open(server, request, opened, 200)  # what is allocated once is not counted
        before = server.memory()
        _open(server, request, opened, connections)
        return (server.memory() - before) / connections
    finally:
        for connection in opened:
            connection.close()


def _open(server: Server, request: bytes, opened: list[socket.socket], count: int) -> None:
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", server.port), 5)
        opened.append(connection)
        connection.sendall(request)
        left = PAGES["2 KB"][1]
        _, _, body = connection.recv(65536).partition(b"\r\n\r\n")
        left -= len(body)
        while left > 0:
            left -= len(connection.recv(65536))
    time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.preview_proxy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (default 3)")
    parser.add_argument("--seconds", type=int, default=5, help="seconds of a round (default 5)")
    parser.add_argument("--connections", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--pages", nargs="+", choices=list(PAGES), default=list(PAGES))
    parser.add_argument("--idle", type=int, default=800, help="idle connections to open (default 800)")
    options = parser.parse_args()
    heading(
        "Preview proxy",
        "Ratios are to nginx (auth_request, cached; variable upstream) in the same round: median (range).",
    )
    with contenders() as servers:
        for name in (_NGINX, _OWN):  # before any load: the heap that a load leaves behind would be used again
            print(f"  An idle connection costs {name} {idle_memory(servers[name], options.idle):,.0f} bytes.")
        rows = [["page, connections", "requests", "ratio", "p99", "ratio", "CPU/request"]]
        for page, connections in pairs(options.pages, options.connections):
            rows += compare(servers, page, connections, options.rounds, options.seconds)
        table(rows)


if __name__ == "__main__":
    main()
