"""What a visitor waits for an app that leaves Nagle's algorithm on and writes its answer in pieces: it sends
the second only when the first is acknowledged, which kernels put off by 40 ms.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.figures import heading, median, ms, percentile, table
from bench.preview_servers import HOST, Server, own_proxy, sandbox_door

_REQUESTS = 200
_PIECES = (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"he", b"llo")
_REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
TARGET = 0.02
"""Seconds that 99 of 100 requests stay under: half of what a kernel puts off."""


def measure() -> None:
    """Print how long requests take, one after the other on one connection: straight, by the preview proxy,
    and by the proxy and a sandbox's door.
    """
    heading("An app that answers in pieces", f"{_REQUESTS} requests in turn, to the last byte.")
    rows = [["way", "median", "p99", "slowest"]]
    with _app() as app, own_proxy(0, app) as own, sandbox_door(1) as path, own_proxy(0, app, path) as behind:
        for name, server in (("straight", app), ("proxy", own), ("proxy and door", behind)):
            taken = _exchanges(server.port)
            p99 = percentile(taken, 99)
            rows.append([name, ms(median(taken)), ms(p99), ms(max(taken))])
            if name != "straight" and p99 > TARGET:
                print(f"  {name}: p99 {ms(p99)}, over the target of {ms(TARGET)}")
    table(rows)


def _exchanges(port: int) -> list[float]:
    with socket.create_connection(("127.0.0.1", port), 5) as visitor:
        return [_exchange(visitor) for _ in range(_REQUESTS)]


def _exchange(visitor: socket.socket) -> float:
    began = time.perf_counter()
    visitor.sendall(_REQUEST)
    answer = b""
    while not answer.endswith(b"hello"):
        piece = visitor.recv(4096)
        if not piece:
            raise RuntimeError(f"The answer ended after {answer!r}.")
        answer += piece
    return time.perf_counter() - began


@contextmanager
def _app() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=_serve, args=(listener,), daemon=True)
        serving.start()
        yield Server(listener.getsockname()[1], os.getpid())
        listener.shutdown(socket.SHUT_RDWR)
        serving.join(5)


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        while connection.recv(65536):
            for piece in _PIECES:
                connection.sendall(piece)
